"""Reads files that somebody else may have replaced: a pipe or a device in such a place is refused and never waited for.

``open()`` of a named pipe waits until somebody writes to it, and reading a terminal or ``/dev/zero`` need never end.
Whoever follows a file would hang there for ever, and with it what the file is to change.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def followed(path: Path) -> Path:
    """The absolute path of what ``path`` leads to, which need not be there. Raises OSError for a link to itself."""
    found = Path(os.path.realpath(path))
    if found.is_symlink():
        raise OSError(errno.ELOOP, "a link that leads to itself", str(path))
    return found


def open_regular_file(path: Path) -> BinaryIO:
    """Open a regular file for reading, links followed. Raises OSError, also for anything else; never waits for it."""
    # The kind is asked of what was opened, so that nothing can be put into its place between the two.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular_file(path: Path) -> bytes:
    """The content of a regular file. Raises OSError as :func:`open_regular_file` does."""
    with open_regular_file(path) as stream:
        return stream.read()
