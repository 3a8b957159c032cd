"""The grammar of a request: one function for each rule, asked by every endpoint and by the HTTP server.

==========================  =========================================  ===========================================
what                        what is read                               what else is answered
==========================  =========================================  ===========================================
target                      ``/path?query``, ``http://host/path``      400
header names                those without ``_``                        others are dropped: WSGI, and so every
                                                                       application behind it, writes ``-`` as ``_``
``Content-Length``          digits                                     400; over the limit: 413
``Transfer-Encoding``       ``chunked``                                400
``Content-Encoding``        none, ``identity``                         415, wherever a body is read
``Upgrade``                 ignored (RFC 9110, 7.8)
``Expect``                  ``100-continue``                           ignored
``X-Request-Timeout-Ms``    whole milliseconds, 1 to the limit         400, wherever a model is asked
version in a path           digits, at most 18                         400
==========================  =========================================  ===========================================

``tests/integration/gateway/test_request_grammar.py`` asks every endpoint for every row.
"""

import re
from dataclasses import dataclass

from headway_serving.core.errors import InvalidRequest
from headway_serving.core.requests import Deadline
from headway_serving.core.routing import Pin, Route, RouteTable
from headway_serving.gateway.requests.errors import UnsupportedMediaType
from headway_serving.gateway.requests.exchange import RequestView
from headway_serving.gateway.requests.identity import current

_MOST_DIGITS = 18
"""A number of so many digits fits 64 bits; Python refuses to read one of thousands."""

_ABSOLUTE = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)


@dataclass(frozen=True)
class RequestLimits:
    """What one request may ask for.

    ``max_body_bytes``: of its body; ``max_images``: pictures in it; ``timeout_ms``: milliseconds that it gets if it
    names none, ``max_timeout_ms`` the most that it may name. ``max_rows``: rows of a ``:predict``, of which
    ``max_batch_rows`` are sent to the model server at a time; ``max_answer_bytes``: of what is answered to it.
    """

    max_body_bytes: int
    max_images: int
    timeout_ms: int
    max_timeout_ms: int
    max_rows: int = 4096
    max_batch_rows: int = 32
    max_answer_bytes: int = 32 * 1024 * 1024


def whole_number(text: str) -> int | None:
    """The number that ASCII digits write, at most 18 of them after leading zeros; None for anything else."""
    if not (text.isascii() and text.isdecimal()):
        return None
    digits = text.lstrip("0") or "0"
    return int(digits) if len(digits) <= _MOST_DIGITS else None


def origin_form(target: bytes) -> bytes | None:
    """A request's target as ``/path?query``, without a fragment; None if it is of another form.

    RFC 9112, 3.2: a server takes the absolute form too.
    """
    if target.startswith(b"/"):
        # Nearly always there is no fragment.
        return target.partition(b"#")[0] if b"#" in target else target
    found = _ABSOLUTE.match(target)
    if found is None:
        return None
    rest = target[found.end() :].partition(b"#")[0]
    return rest if rest.startswith(b"/") else b"/" + rest


def timeout_ms(text: str, limits: RequestLimits) -> int | None:
    """The milliseconds that ``X-Request-Timeout-Ms`` asks for; None if it is no number of 1 to the limit."""
    asked = whole_number(text) if len(text) <= _MOST_DIGITS else None
    return asked if asked is not None and 1 <= asked <= limits.max_timeout_ms else None


def deadline_of(http: RequestView, limits: RequestLimits) -> Deadline:
    """The moment that ``X-Request-Timeout-Ms`` asks for, or the usual one. Raises :class:`InvalidRequest`."""
    text, since = http.headers.get("X-Request-Timeout-Ms"), current().received_at
    if text is None:
        return Deadline(limits.timeout_ms / 1000, since)
    asked = timeout_ms(text, limits)
    if asked is None:
        raise InvalidRequest(f"X-Request-Timeout-Ms must be whole milliseconds from 1 to {limits.max_timeout_ms}")
    return Deadline(asked / 1000, since)


def routing_key(http: RequestView) -> str:
    """``X-Routing-Key``, else the name of the caller's token, else the request's id, which spreads over the arms."""
    identity = current()
    return http.headers.get("X-Routing-Key") or identity.caller or identity.request_id


def described_version(table: RouteTable, model: str, version: str | None, label: str | None = None) -> Route:
    """The version that a path names, the stable one by default. Raises what is wrong with it."""
    number = version_number(version)
    return table.choose(model, Pin(label=label or "stable") if number is None else Pin(number), "")


def version_number(text: str | None) -> int | None:
    """The version that a path names, or None if it names none. Raises :class:`InvalidRequest`."""
    if text is None:
        return None
    number = whole_number(text) if len(text) <= _MOST_DIGITS else None
    if number is None:
        raise InvalidRequest(f"version {text[:40]!r} is not a version number; write a number, as in /versions/3")
    return number


def refuse_content_encoding(http: RequestView) -> None:
    """Raise :class:`UnsupportedMediaType` for a compressed body: what it grows to is only known when it has grown."""
    encoding = http.headers.get("Content-Encoding")
    if encoding is not None and encoding.strip().lower() not in ("", "identity"):
        raise UnsupportedMediaType(
            f"Content-Encoding {encoding[:40]!r} is not read; send the body as it is, without Content-Encoding "
            "(pictures are compressed already)"
        )
