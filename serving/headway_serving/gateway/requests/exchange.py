"""What every endpoint reads of a request and what it gives back, whichever server the request came through."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from flask import Response

Headers = Sequence[tuple[str, str]]


class HeaderValues(Protocol):
    """The headers of a request."""

    def get(self, name: str, /) -> str | None:
        """The value of a header, whatever the case of its name, or None."""
        ...


class RequestView(Protocol):
    """What an endpoint reads of a request beside its body; werkzeug's ``Request`` has it, and a picture post."""

    @property
    def headers(self) -> HeaderValues:
        """Its headers."""
        ...

    @property
    def path(self) -> str:
        """Its path, decoded, without parameters."""
        ...

    @property
    def query_string(self) -> bytes:
        """Its parameters as they were sent; empty without any."""
        ...

    @property
    def args(self) -> Mapping[str, str]:
        """Its parameters by name."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. ``headers`` are all but the body's length and what every answer says; no client can break a line."""

    status: int
    headers: Headers
    body: bytes


def to_flask(answer: Answer) -> Response:
    """The answer as Flask sends it."""
    return Response(answer.body, answer.status, headers=list(answer.headers))
