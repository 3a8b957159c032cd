"""TensorFlow Serving's gRPC and REST ports behind the core's protocols."""
