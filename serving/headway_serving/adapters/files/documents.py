"""A document in a file: a lock beside it lets one change run at a time, and it is replaced atomically."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from headway_contract.durable_files import write_atomically
from headway_contract.regular_files import read_regular_file
from headway_serving.adapters.files.locks import locked
from headway_serving.core.documents import Change, Document, Unreadable

Place = Path | Document
"""Where a document is: a path is that of its file."""


@dataclass(frozen=True)
class FileDocument:
    """The content of a file, see :class:`Document`. All who change it must be on file systems that honour ``flock``."""

    path: Path
    poll_seconds: float = 0.1

    def __str__(self) -> str:
        return str(self.path)

    def read(self) -> bytes | None:
        """The content; None if there is no such file. Raises :class:`Unreadable`."""
        try:
            return read_regular_file(self.path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unreadable(error.strerror or str(error)) from error

    def change(self, change: Change) -> None:
        """Replace the content; one such change runs at a time. Raises OSError, and what ``change`` raises."""
        with locked(self.path):
            before = self.read()
            after = change(before)
            if after is not None and after != before:
                write_atomically(self.path, after)

    @contextmanager
    def reserved(self, name: str, *, wait: bool) -> Iterator[None]:
        """Hold the lock of that name; it ends with the process, however it ends. Raises BlockingIOError."""
        with locked(self.path.with_name(f"{self.path.name}.{name}"), wait=wait):
            yield

    def is_reserved(self, name: str) -> bool:
        """Whether another process holds the lock of that name."""
        try:
            with self.reserved(name, wait=False):
                return False
        except BlockingIOError:
            return True

    def beside(self, suffix: str) -> "FileDocument":
        """Another file in the folder: ``removed`` is ``routes.removed.json`` beside ``routes.json``."""
        return FileDocument(self.path.with_name(f"{self.path.stem}.{suffix}{self.path.suffix}"))


def document_at(place: Place) -> Document:
    """The document in a place."""
    return FileDocument(place) if isinstance(place, Path) else place
