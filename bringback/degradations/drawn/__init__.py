"""Damage and innocent things that look like it, drawn with NumPy and OpenCV: lessons of the detector."""
