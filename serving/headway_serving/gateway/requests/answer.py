"""What every endpoint gives back, whichever server the request came through."""

from collections.abc import Sequence
from dataclasses import dataclass

from flask import Response

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. ``headers`` are all but the body's length and what every answer says; no client can break a line."""

    status: int
    headers: Headers
    body: bytes


def to_flask(answer: Answer) -> Response:
    """The answer as Flask sends it."""
    return Response(answer.body, answer.status, headers=list(answer.headers))
