"""Plain blocking code on an event loop."""
