"""From a connection's bytes to a request, and from an answer to bytes."""
