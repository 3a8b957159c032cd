"""TensorFlow Serving's REST `:predict`, passed on with the gateway's routing."""
