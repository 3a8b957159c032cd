"""The embedded model server: TensorFlow Serving's gRPC protocol, flags and version rules in one Python process."""
