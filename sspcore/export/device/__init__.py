"""What goes into a bundle and runs on the device: Python with NumPy and TensorRT (or onnxruntime), without sspcore."""
