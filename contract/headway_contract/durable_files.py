"""Files that are either there whole or not at all, also after a power cut: temporary name, fsync, rename."""

import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content``: readers see the old bytes or the new ones, never a part.

    The parent directory must exist. Raises OSError if it cannot be written; the old file then stays.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes files private; these are read by other processes' users, as a plain open() would allow.
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            # A write that fails, as on a full disk, does not say of which file.
            error.filename = str(path)
        raise
    sync_directory(path.parent)


def sync_tree(root: Path) -> None:
    """Flush every file and directory below ``root``, and ``root`` itself, to the disk."""
    for directory, _, names in os.walk(root, topdown=False):
        for name in names:
            _sync(Path(directory) / name)
        _sync(Path(directory))


def sync_directory(path: Path) -> None:
    """Flush a directory's entries, so that a rename in it survives a power cut."""
    _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
