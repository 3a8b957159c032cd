"""How many connections may be open: each takes a file descriptor, and so does all else that the process has open."""

import resource
from pathlib import Path

_RESERVE = 64
"""Descriptors left for what is opened while the gateway runs: the model server, watched files, clients refused."""

_LEAST = 4


def most_connections() -> int:
    """Raise the limit of open files as far as it may be raised; how many connections then find room beside the rest."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):
            # Some systems take no limit as large as the one they tell; the old one holds.
            pass
    in_use = sum(1 for _ in Path("/proc/self/fd").iterdir()) if Path("/proc/self/fd").is_dir() else _RESERVE
    if soft == resource.RLIM_INFINITY:
        soft = 2**20
    return max(_LEAST, soft - in_use - _RESERVE)
