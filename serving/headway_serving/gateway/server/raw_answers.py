"""Whole HTTP answers as bytes, for what the HTTP server writes itself."""

from collections.abc import Iterable
from http import HTTPStatus

from headway_serving.gateway.requests.identity import standard_headers

_STATUS_LINES = {int(status): f"HTTP/1.1 {int(status)} {status.phrase}\r\n" for status in HTTPStatus}


def raw_answer(status: int, headers: Iterable[tuple[str, str]], body: bytes) -> bytes:
    """The answer; ``headers`` are all but its length, and hold nothing that a client could break a line with."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
    return f"{_STATUS_LINES[status]}{lines}content-length: {len(body)}\r\n\r\n".encode("latin-1") + body


def raw_problem(status: int, body: str, *headers: tuple[str, str]) -> bytes:
    """The answer with a problem's JSON text; it carries the id of the request that is the current one."""
    return raw_answer(
        status, [("content-type", "application/problem+json"), *headers, *standard_headers()], body.encode()
    )
