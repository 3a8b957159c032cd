"""The process: its command line, its small configuration files, and how it ends."""
