"""Log lines: what they look like, where they go, and how many of the same there may be."""
