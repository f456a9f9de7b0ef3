"""Export networks to ONNX files, or run them by onnxruntime instead of torch."""
