"""A file that cannot be written, by whatever library: one line that names it, the reason and what to do.

Python, TensorFlow, Keras and HDF5 say the same in different exceptions; TensorFlow's have the operating system's text.
"""

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from headway_training.errors import WriteFailed

_REASONS = {
    os.strerror(number): number
    for number in (
        errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO,
        errno.ENAMETOOLONG, errno.EMFILE, errno.ENOENT,
    )
}  # fmt: skip


@contextlib.contextmanager
def writing(title: str, place: Path) -> Iterator[None]:
    """Turn what goes wrong while ``place`` is written into :class:`WriteFailed`.

    ``place``: a file, or a folder, of which the file that was written last is named. ``title`` says what it is for.
    """
    try:
        yield
    except (OSError, tf.errors.OpError, RuntimeError) as error:
        number = _reason(error)
        if number is None:
            raise
        raise WriteFailed(
            f"{title}: {_file(place, error)} cannot be written: {os.strerror(number)}; {_remedy(number, place)}"
        ) from error


def _reason(error: Exception) -> int | None:
    """The operating system's number of what went wrong; None for what is no failure to write."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    text = str(error)
    return next((number for reason, number in _REASONS.items() if reason in text), None)


def _file(place: Path, error: Exception) -> str:
    """The file that the error names, else the one that was written last."""
    if not place.is_dir():
        return str(place)
    named = re.search(re.escape(str(place)) + r"/([^;:'\"\s]+)", str(error))
    files = {path.stat().st_mtime_ns: path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    name = named[1] if named else files[max(files)] if files else str(place)
    # While it is being written, TensorFlow gives a file another name.
    return re.sub(r"\.tmp[0-9a-f]{32}$|\.tempstate\d+$", "", name)


def _remedy(number: int, place: Path) -> str:
    if number in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(place if place.is_dir() else place.parent).free
        return f"{free:,} bytes are free; make room there, or write to another disk"
    if number == errno.EFBIG:
        return "files may not become so large here; raise the limit (ulimit -f), or write to another file system"
    return "make the place writable, or name another"
