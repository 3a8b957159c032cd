"""The files that say how to behave: routes and tokens."""
