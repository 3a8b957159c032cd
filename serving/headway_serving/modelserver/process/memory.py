"""How much memory this process may use."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def memory_of_process(read: Callable[[Path], str] = Path.read_text) -> int:
    """Return the bytes of memory that this process may use: the machine's, or its container's limit if that is less."""
    found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in _CGROUP_LIMITS:
        try:
            text = read(path).strip()
        except OSError:
            continue
        if text.isdigit():
            found = min(found, int(text))
    return found
