"""What is around the process: its container's memory limit, and what the supervisor says of its children."""

import json
from pathlib import Path

from headway_serving.adapters.metrics.families import Samples

_LIMIT_FILES = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Of control groups, version 2 and version 1."""

_NO_LIMIT = 2**60
"""What version 1 says, a very large number, where there is none."""


def memory_limit(files: tuple[Path, ...] = _LIMIT_FILES) -> Samples:
    """The bytes that the container may use; nothing where it has no limit."""
    for file in files:
        try:
            limit = int(file.read_text())
        except (OSError, ValueError):
            continue  # no such file, or "max"
        return [((), float(limit))] if limit < _NO_LIMIT else []
    return []


class Supervision:
    """The file in which ``headway serve`` says how its children do, read at each scrape."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def up(self) -> Samples:
        """Whether each child runs."""
        return [((name,), float(child["up"])) for name, child in self._children().items()]

    def restarts(self) -> Samples:
        """How often each child was started again."""
        return [((name,), float(child["restarts"])) for name, child in self._children().items()]

    def _children(self) -> dict[str, dict[str, float]]:
        try:
            children: dict[str, dict[str, float]] = json.loads(self._path.read_bytes())["children"]
        except (OSError, ValueError, KeyError):
            return {}
        return children
