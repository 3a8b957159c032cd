"""Which versions are aspired, loaded and served."""
