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
from headway_serving.core import request_trace
from headway_serving.core.access import Scope, Tokens
from headway_serving.core.request_trace import TraceContext, parse_traceparent
from headway_serving.gateway.requests.errors import Forbidden, Unauthorized
from headway_serving.gateway.requests.exchange import RequestView
from headway_serving.gateway.requests.operations import operation_of

LONGEST_ID = 128
"""Characters of a request's id that is kept."""

_REQUEST_ID = re.compile(rf"[A-Za-z0-9._:-]{{1,{LONGEST_ID}}}")
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*) *", re.IGNORECASE)


@dataclass(slots=True)
class RequestIdentity:
    """Who asks: the request's id, its span and its caller's, and the name of the token it came with, if any.

    ``received_at``: when its headers were here, in seconds on the monotonic clock. ``span_taken``: whether something
    is recorded as ``span`` already.
    """

    request_id: str
    received_at: float
    span: TraceContext | None = None
    parent: TraceContext | None = None
    caller: str | None = None
    span_taken: bool = False

    @property
    def trace_id(self) -> str | None:
        """The id of the trace that it belongs to, if any."""
        return None if self.span is None else self.span.trace_id

    def take_span(self) -> TraceContext | None:
        """Its span for the first part of it that asks, a new one below it for every other."""
        if self.span is None or not self.span_taken:
            self.span_taken = True
            return self.span
        return self.span.below()


Sample = Callable[[TraceContext | None], TraceContext | None]
"""The span of a request whose caller has this one; None for a request that belongs to no trace."""


def follow(parent: TraceContext | None) -> TraceContext | None:
    """A span of the caller's trace; without one there is no trace."""
    return None if parent is None else parent.below()


RECEIVED_AT = "headway.received_at"
"""Where the WSGI environment says when the request's headers were here; without it, that is now."""

_current: ContextVar[RequestIdentity] = ContextVar("request_identity")


def identify(environ: Mapping[str, Any], sample: Sample = follow) -> RequestIdentity:
    """Make the request of a WSGI environment the current one; see :func:`begin`."""
    received_at = environ.get(RECEIVED_AT) or time.monotonic()
    caller = parse_traceparent(environ.get("HTTP_TRACEPARENT"), environ.get("HTTP_TRACESTATE"))
    return begin(environ.get("HTTP_X_REQUEST_ID", ""), caller, received_at, sample)


def begin(wanted_id: str, caller: TraceContext | None, received_at: float, sample: Sample = follow) -> RequestIdentity:
    """Make a request the current one of this ``contextvars`` context; ``caller``: its caller's span.

    Its id is the one that the caller wants, if that is harmless, else a new one.
    """
    # An id is no secret, and asking the system for one costs a switch to another thread.
    harmless = wanted_id and _REQUEST_ID.fullmatch(wanted_id)
    identity = RequestIdentity(wanted_id if harmless else f"{random.getrandbits(128):032x}", received_at)
    identity.parent, identity.span = caller, sample(caller)
    request_trace.begin(identity.span)
    _current.set(identity)
    return identity


def current() -> RequestIdentity:
    """The request that is worked on here; one without an id outside of any request."""
    return _current.get(None) or RequestIdentity("", time.monotonic())


def standard_headers() -> list[tuple[str, str]]:
    """What every answer says."""
    identity = current()
    said = [("X-Request-Id", identity.request_id), ("X-Content-Type-Options", "nosniff")]
    if identity.span is not None:
        said.append(("traceparent", identity.span.traceparent))
    return said


def install(app: Flask, sample: Sample = follow) -> None:
    """Identify each request of ``app``, and say its id in the answer."""

    @app.before_request
    def _identify() -> None:
        identify(request.environ, sample)

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
