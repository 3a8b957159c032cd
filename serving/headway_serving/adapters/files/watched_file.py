"""A file that says how to behave, kept current while the process runs: believed whole or not at all."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from headway_contract.regular_files import read_regular_file

T = TypeVar("T")

_log = logging.getLogger(__name__)


def read_whole(path: Path, parse: Callable[[bytes], T], refusal: type[Exception], what: str) -> T:
    """What ``parse`` makes of a file. Raises ``refusal`` naming the file and what is wrong; ``what``: ``routes``."""
    try:
        return parse(read_regular_file(path))
    except OSError as error:
        raise refusal(f"{what} file {path} cannot be read: {error.strerror}") from error
    except refusal as error:
        raise refusal(f"{what} file {path} is refused: {error}") from error


class WatchedFile(Generic[T]):
    """What a file holds; a thread looks every ``poll_seconds`` whether it was replaced.

    A new content that cannot be used is reported, and the last good one stays in force.
    """

    def __init__(
        self, path: Path, poll_seconds: float, *, read: Callable[[Path], T], refusal: type[Exception], what: str
    ) -> None:
        """Read the file with ``read``. Raises what it raises, ``refusal``: there is no last good content to keep yet.

        ``what`` names the content in the log, in the plural: ``routes``.
        """
        self._path, self._poll_seconds, self._read = path, poll_seconds, read
        self._refusal, self._what = refusal, what
        self._stamp = _stamp(path)
        self._content, self._read_at = read(path), time.time()
        self._problem: str | None = None
        self._followers: list[Callable[[T], None]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"{what}-file", daemon=True)

    def content(self) -> T:
        """The last good content."""
        return self._content

    @property
    def read_at(self) -> float:
        """When the last good content was read, Unix time."""
        return self._read_at

    def problem(self) -> str | None:
        """Why the file as it is now was refused, or None if it is in force."""
        return self._problem

    def standing(self) -> Mapping[str, Any]:
        """Where the content comes from, for people: a file is looked at whatever happens."""
        return {"from": str(self._path), "followed": True, "trouble": None}

    def follow(self, take: Callable[[T], None]) -> None:
        """Have ``take`` called with every new good content, by the thread that watches; it must return at once."""
        self._followers.append(take)

    def watch(self) -> None:
        """Begin to follow changes."""
        self._thread.start()

    def close(self) -> None:
        """Stop following changes."""
        self._stopping.set()

    def _watch(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            stamp = _stamp(self._path)
            # A file that could not be used is tried again even if it looks the same: a right to read it, or a disk that
            # answers again, change no time of writing.
            if stamp != self._stamp or self._problem is not None:
                self._stamp = stamp
                self._reload()

    def _reload(self) -> None:
        try:
            content = self._read(self._path)
        except self._refusal as error:
            self._refuse(str(error))
        # Whatever else goes wrong must not end the following: a token that is revoked later would stay good.
        except Exception as error:
            self._refuse(f"{self._what} file {self._path} is refused: {error!r}")
        else:
            self._problem, self._content, self._read_at = None, content, time.time()
            _log.info("new %s were read from %s", self._what, self._path)
            self._hand_on(content)

    def _refuse(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            _log.error("%s; the last good %s stay in force", problem, self._what)

    def _hand_on(self, content: T) -> None:
        for take in self._followers:
            try:
                take(content)
            except Exception:
                _log.exception("new %s from %s were read, and could not be taken up", self._what, self._path)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when the file is replaced or rewritten; a ConfigMap's switched symlink is followed."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_size)
