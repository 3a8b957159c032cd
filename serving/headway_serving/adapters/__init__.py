"""The core's protocols, kept by real things: gRPC, Prometheus, files."""
