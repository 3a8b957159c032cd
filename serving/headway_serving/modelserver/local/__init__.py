"""Predict over a Unix socket, for a gateway on the same machine; not in TensorFlow Serving."""
