"""A folder by a path that no library takes for a pattern.

TensorFlow looks for a checkpoint's files by pattern: in ``models[2]/digits/1`` it finds nothing, because ``[2]`` stands
for a ``2``. Such a folder is given to it by a link of another name.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

_OF_PATTERNS = frozenset("*?[]\\")


def is_plain(path: Path) -> bool:
    """Whether every library takes the path for a name: without characters of patterns, and in UTF-8."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return _OF_PATTERNS.isdisjoint(str(path))


@contextlib.contextmanager
def plain_path(folder: Path) -> Iterator[Path]:
    """A plain path of ``folder``, good within the ``with``: itself, or a link in the folder for temporary files.

    Raises OSError where a link is needed and cannot be made.
    """
    if is_plain(folder):
        yield folder
        return
    # What TMPDIR names is no better, perhaps; the usual place always is.
    place = tempfile.gettempdir() if is_plain(Path(tempfile.gettempdir())) else "/tmp"  # noqa: S108  # mkdtemp in it
    with tempfile.TemporaryDirectory(prefix="headway-", dir=place) as links:
        link = Path(links, "folder")
        link.symlink_to(folder.absolute(), target_is_directory=True)
        yield link
