"""The one error of the model server: a canonical status code and the text the client reads.

    StatusError    every refusal and every failed run, with the code gRPC sends
      TooManyRows  a request is larger than a batch may be

Codes are the canonical ones that gRPC, TensorFlow and TensorFlow Serving share, so an error of the TensorFlow
runtime passes through unchanged.
"""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """Canonical status codes; names and numbers equal those of ``grpc.StatusCode`` and ``tensorflow.error.Code``."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class StatusError(Exception):
    """A request, a load or a configuration failed with ``code`` and ``message``; ``str()`` gives ``CODE: message``."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


class TooManyRows(StatusError):
    """A request has more rows than a batch may have; INVALID_ARGUMENT."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.INVALID_ARGUMENT, message)


MAX_MESSAGE_CHARACTERS = 1024


def text_for_client(error: StatusError) -> str:
    """Return the error's text, cut after 1024 characters."""
    message = error.message
    return message if len(message) <= MAX_MESSAGE_CHARACTERS else f"{message[:MAX_MESSAGE_CHARACTERS]}...TRUNCATED"


def unforeseen(error: Exception) -> StatusError:
    """Return what a client gets where our own code failed. What failed is for the log, which the caller writes."""
    if isinstance(error, MemoryError):
        return StatusError(
            Code.RESOURCE_EXHAUSTED,
            "The model server has too little memory for this request; send fewer rows",
        )
    return StatusError(Code.INTERNAL, "The model server failed in its own code; its log says where")


def invalid_argument(message: str) -> StatusError:
    """Return a ``StatusError`` of code INVALID_ARGUMENT, by far the most frequent one."""
    return StatusError(Code.INVALID_ARGUMENT, message)
