"""The networks as ONNX graphs: files of them, and onnxruntime in the place of torch."""
