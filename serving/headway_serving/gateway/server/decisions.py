"""What passes between a connection without I/O and the server around it: requests, and what is to be done."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from headway_serving.gateway.requests.answer import Answer


@dataclass(slots=True)
class Request:
    """One request. ``target``: ``/path?query``; ``headers``: names in lower case, without those that have ``_``.

    ``values``: a header's value by its name, the last one where it came twice. ``received_at``: when its head was here,
    seconds on the monotonic clock. ``error``: why there is no whole body. ``is_last``: none follows on its connection.
    ``held``: the bytes of its body, counted until it is answered.
    """

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    values: Mapping[bytes, bytes]
    received_at: float
    is_last: bool = False
    body: bytes = b""
    error: Exception | None = None
    held: int = 0

    def read(self) -> bytes:
        """The body. Raises why there is none."""
        if self.error is not None:
            raise self.error
        return self.body


@dataclass(frozen=True, slots=True)
class Ready:
    """An answer that waits for its turn and needs no work; without one, ``data`` is sent as it is."""

    answer: Answer | None = None
    is_last: bool = False
    to_head: bool = False
    data: bytes = b""


@dataclass(slots=True)
class Body:
    """What has come of a body, and how many trailers behind it."""

    pieces: list[bytes] = field(default_factory=list)
    size: int = 0
    trailers: int = 0


class Intake(Protocol):
    """What is decided about a request from its head, and where bodies are counted."""

    @property
    def max_body_bytes(self) -> int:
        """How large one body may be."""
        ...

    def refusal(self, request: Request, /) -> Answer | None:
        """The answer to a request that is refused before its body is read, or None."""
        ...

    def problem(self, status: int, detail: str) -> Answer:
        """The answer to what is no request that an endpoint could see."""
        ...

    def body_seconds(self, request: Request, /) -> float:
        """How long its body may take."""
        ...

    def hold(self, size: int) -> bool:
        """Count so many bytes of a body; False, and nothing is counted, if there is no room for them."""
        ...

    def release(self, size: int) -> None:
        """So many bytes of a body are needed no more."""
        ...


@dataclass(frozen=True, slots=True)
class Send:
    """Write these bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Work:
    """Have this request answered, then call ``Connection.answered``."""

    request: Request


class Control(Enum):
    """What else is to be done: with reading, with the writing side, and with the connection."""

    PAUSE = "read no more for now"
    RESUME = "read again"
    END_WRITING = "nothing more will be sent"
    CLOSE = "close, when all is written"
    ABORT = "close at once"


Decision = Send | Work | Control
