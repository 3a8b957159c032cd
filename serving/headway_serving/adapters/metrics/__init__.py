"""Prometheus: what this process counts, and reading what others have counted."""
