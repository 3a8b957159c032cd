"""What a store needs of the one that it takes a version from."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol


class VersionSource(Protocol):
    """A store that versions are copied from."""

    def fetch(self, model: str, version: int, into: Path, progress: Callable[[int], None]) -> None:
        """Copy a version's listed files into an empty folder; ``progress`` is called with each file's bytes."""

    def at(self, model: str, version: int) -> contextlib.AbstractContextManager[Path]:
        """The version in a folder of this machine, checked against its checksum list."""
