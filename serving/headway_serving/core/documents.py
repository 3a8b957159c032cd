"""Small texts that several processes read and change: a file on one machine, a key of an API object on a cluster.

Who changes one gives a function from the old content to the new: it may be called again with a newer content, so that
nobody's change is lost, and must therefore do nothing but return.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

Change = Callable[[bytes | None], bytes | None]
"""From the content, None if there is none, to the new one; None: it stays as it is. May raise, and then it stays."""


class Unreadable(OSError):
    """There is a content, and it cannot be read; ``why``: in words."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class ReservationLost(Exception):
    """Another process has taken over what this one had reserved, because it was not heard of for too long."""


class Document(Protocol):
    """One such text. ``str()`` names it for people. All raise OSError if the content cannot be had or written."""

    @property
    def poll_seconds(self) -> float:
        """How often it may be looked at."""
        ...

    def read(self) -> bytes | None:
        """The content; None if there is none. Raises :class:`Unreadable`, which is an OSError."""
        ...

    def change(self, change: Change) -> None:
        """Replace the content, whole and at once, by what ``change`` makes of it. Raises what ``change`` raises.

        Raises :class:`ReservationLost` if this object had reserved something and has lost it: then nothing is written.
        """
        ...

    def reserved(self, name: str, *, wait: bool) -> AbstractContextManager[None]:
        """Be the only one that has ``name`` reserved until the block ends; it ends with the process as well.

        Raises BlockingIOError if another has it and this is not to ``wait`` for its end.
        """
        ...

    def is_reserved(self, name: str) -> bool:
        """Whether another has it reserved now."""
        ...

    def beside(self, suffix: str) -> "Document":
        """Another text in the same place: ``removed`` is ``routes.removed.json`` beside ``routes.json``."""
        ...
