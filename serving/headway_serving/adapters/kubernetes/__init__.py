"""The Kubernetes API: documents in ConfigMaps, read, changed and watched."""
