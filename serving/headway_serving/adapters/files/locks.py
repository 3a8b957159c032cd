"""Locks beside a file: one command at a time reads, changes and replaces it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Be the only one that holds the lock of ``path``; the lock ends with the process, however it ends.

    Raises BlockingIOError if another holds it and ``wait`` is false.
    """
    # A file of its own: the file itself is replaced at every change, and with it a lock on it.
    # For reading too: opening a pipe only for writing would wait for somebody who reads it.
    lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(lock)
