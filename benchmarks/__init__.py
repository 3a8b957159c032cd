"""What serving costs, measured beside the plain services that one would otherwise write; see ``docs/benchmarks.md``."""
