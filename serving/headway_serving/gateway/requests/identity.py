"""What every request gets before an endpoint sees it: an id that is safe to write anywhere."""

import random
import re
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from flask import Flask, Response, request

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(slots=True)
class RequestIdentity:
    """Who asks: the request's id, the id of the trace it belongs to, and the name of the token it came with, if any.

    ``received_at``: when its headers were here, in seconds on the monotonic clock.
    """

    request_id: str
    received_at: float
    trace_id: str | None = None
    caller: str | None = None


RECEIVED_AT = "headway.received_at"
"""Where the WSGI environment says when the request's headers were here; without it, that is now."""

_current: ContextVar[RequestIdentity] = ContextVar("request_identity")


def identify(environ: Mapping[str, Any]) -> RequestIdentity:
    """Make the request of a WSGI environment the current one; see :func:`begin`."""
    received_at = environ.get(RECEIVED_AT) or time.monotonic()
    return begin(environ.get("HTTP_X_REQUEST_ID", ""), environ.get("HTTP_TRACEPARENT"), received_at)


def begin(wanted_id: str, traceparent: str | None, received_at: float) -> RequestIdentity:
    """Make a request the current one of this ``contextvars`` context.

    Its id is the one that the caller wants, if that is harmless, else a new one.
    """
    # An id is no secret, and asking the system for one costs a switch to another thread.
    harmless = wanted_id and _REQUEST_ID.fullmatch(wanted_id)
    identity = RequestIdentity(wanted_id if harmless else f"{random.getrandbits(128):032x}", received_at)
    if traceparent is not None:
        trace = _TRACEPARENT.fullmatch(traceparent)
        identity.trace_id = trace.group(1) if trace else None
    _current.set(identity)
    return identity


def current() -> RequestIdentity:
    """The request that is worked on here; one without an id outside of any request."""
    return _current.get(None) or RequestIdentity("", time.monotonic())


def standard_headers() -> list[tuple[str, str]]:
    """What every answer says."""
    return [("X-Request-Id", current().request_id), ("X-Content-Type-Options", "nosniff")]


def install(app: Flask) -> None:
    """Identify each request of ``app``, and say its id in the answer."""

    @app.before_request
    def _identify() -> None:
        identify(request.environ)

    @app.after_request
    def _answer(response: Response) -> Response:
        response.headers.update(standard_headers())
        return response
