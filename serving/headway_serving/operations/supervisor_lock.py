"""One ``headway serve`` for one ``models.config``: two would start two model servers and write the same files."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headway_contract.running_pair import Pair, lock_path

_TRIES, _PAUSE_SECONDS = 5, 0.05


class SupervisedElsewhere(Exception):
    """Another supervisor runs a model server by this configuration; the text says which."""


@contextmanager
def supervising(models_config: Path, pair: Pair) -> Iterator[None]:
    """Be the only supervisor of the file, and say in the lock which pair that is.

    The lock ends with the process, however it ends. Where nothing can be written there is nothing to keep apart, and no
    lock. Raises :class:`SupervisedElsewhere`.
    """
    path = lock_path(models_config)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError:
        yield
        return
    try:
        if not _taken(descriptor):
            other = Pair.from_json(path.read_bytes())
            who = "another headway serve" if other is None else f"headway serve (process {other.process}, {other.url})"
            raise SupervisedElsewhere(
                f"{who} serves by {models_config} already; use that one, stop it, or give this one --routes and "
                "--models-config of its own"
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, pair.to_json(), 0)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    """Take the lock if nobody keeps it. Who only looks whether it is held has it for an instant."""
    for _ in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE_SECONDS)
        else:
            return True
    return False
