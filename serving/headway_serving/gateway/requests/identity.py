"""Who asks: the request's id, which is safe to write anywhere, and the holder of its token.

Tokens are bearer tokens (RFC 6750), checked from the headers before anything of the body is read. Without a tokens file
everyone may call everything, as behind a proxy that does this work.
"""

import random
import re
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from flask import Flask, Response, current_app, request

from headway_serving.adapters.metrics.prometheus import PrometheusMetrics
from headway_serving.core.access import Scope, Tokens
from headway_serving.gateway.requests.errors import Forbidden, Unauthorized
from headway_serving.gateway.requests.exchange import RequestView
from headway_serving.gateway.requests.operations import operation_of

LONGEST_ID = 128
"""Characters of a request's id that is kept."""

_REQUEST_ID = re.compile(rf"[A-Za-z0-9._:-]{{1,{LONGEST_ID}}}")
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*) *", re.IGNORECASE)
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


class Authentication:
    """Checks what a request may do. ``tokens`` gives the tokens of this moment; None: nobody is asked for one."""

    def __init__(self, tokens: Callable[[], Tokens] | None, metrics: PrometheusMetrics) -> None:
        self._tokens, self._metrics = tokens, metrics

    def check(self, http: RequestView, needed: Scope | None) -> None:
        """Note the caller's name with the current request. Raises :class:`Unauthorized` or :class:`Forbidden`."""
        if self._tokens is None or needed is None:
            return
        try:
            current().caller = _caller(http, self._tokens(), needed)
        except (Unauthorized, Forbidden) as error:
            self._metrics.refuse_caller(error.code)
            raise


def install_authentication(app: Flask, authentication: Authentication) -> None:
    """Refuse requests of ``app`` that the caller's token does not allow."""

    @app.before_request
    def _authenticate() -> None:
        # OPTIONS tells the methods of a path and nothing else.
        authentication.check(request, None if request.method == "OPTIONS" else _scope_needed())


def _scope_needed() -> Scope | None:
    # A path that leads nowhere: its 404 or 405 tells nothing that /openapi.json does not.
    if request.endpoint is None:
        return None
    operation = operation_of(current_app, request.endpoint)
    return Scope.ADMIN if operation is None else operation.scope


def _caller(http: RequestView, tokens: Tokens, needed: Scope) -> str:
    header = http.headers.get("Authorization")
    if header is None:
        raise Unauthorized("this gateway asks for a token; send Authorization: Bearer TOKEN")
    sent = _BEARER.fullmatch(header)
    holder = tokens.holder_of(sent.group(1)) if sent else None
    if holder is None:
        raise Unauthorized("the token is not known here, or Authorization is not of the form: Bearer TOKEN", sent=True)
    if needed not in holder.scopes:
        raise Forbidden(f"token {holder.name} does not have the scope {needed} that {http.path} needs", scope=needed)
    return holder.name
