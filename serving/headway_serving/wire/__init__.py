"""TensorFlow Serving's gRPC messages and method paths, without TensorFlow."""
