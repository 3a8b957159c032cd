"""Locks beside a file: one command at a time reads, changes and replaces it."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Be the only one that holds the lock of ``path``; the lock ends with the process, however it ends.

    Raises BlockingIOError if another holds it and ``wait`` is false.
    """
    # A file of its own: the file itself is replaced at every change, and with it a lock on it.
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
