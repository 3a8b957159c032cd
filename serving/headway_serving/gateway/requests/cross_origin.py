"""Which pages of other origins a browser lets call this gateway: CORS (Fetch standard, 3.2), off by default.

A page's token goes in ``Authorization``, which it may send; cookies are no part of this gateway.
"""

from dataclasses import dataclass

from flask import Flask, Response, request

from headway_serving.gateway.requests.exchange import Answer, Headers, HeaderValues, to_flask

ANY_ORIGIN = "*"
_METHODS = "GET, HEAD, POST"
_REQUEST_HEADERS = (
    "Authorization, Content-Type, Inference-Header-Content-Length, X-Request-Id, X-Request-Timeout-Ms, X-Routing-Key, "
    "traceparent"
)
_ANSWER_HEADERS = (
    "Inference-Header-Content-Length, Retry-After, Server-Timing, WWW-Authenticate, X-Request-Id, X-Route-Reason"
)
_PREFLIGHT_SECONDS = "600"


@dataclass(frozen=True)
class CrossOrigin:
    """The origins whose pages may call, as they write themselves; ``*`` among them: all."""

    origins: frozenset[str] = frozenset()

    def headers(self, origin: str | None) -> Headers:
        """What an answer says to the page that asked, if any did; nothing unless it may read the answer."""
        if not self.origins:
            return ()
        if ANY_ORIGIN in self.origins:
            allowed: Headers = [("Access-Control-Allow-Origin", ANY_ORIGIN)]
        elif origin in self.origins and origin is not None:
            allowed = [("Access-Control-Allow-Origin", origin), ("Vary", "Origin")]
        else:
            return [("Vary", "Origin")]
        return [*allowed, ("Access-Control-Expose-Headers", _ANSWER_HEADERS)] if origin else allowed

    def preflight(self, headers: HeaderValues) -> Answer | None:
        """The answer to a browser that asks first whether a page may send its request; None for any other OPTIONS."""
        origin = headers.get("Origin")
        if not self.origins or origin is None or headers.get("Access-Control-Request-Method") is None:
            return None
        said = [
            ("Access-Control-Allow-Methods", _METHODS),
            ("Access-Control-Allow-Headers", _REQUEST_HEADERS),
            ("Access-Control-Max-Age", _PREFLIGHT_SECONDS),
        ]
        may = ANY_ORIGIN in self.origins or origin in self.origins
        # What this answer itself says of the origin, every answer does.
        return Answer(204, said if may else [], b"")


def install(app: Flask, allowed: CrossOrigin) -> None:
    """Answer the preflights of ``app``, and have its answers say which page may read them."""

    @app.before_request
    def _preflight() -> Response | None:
        answer = allowed.preflight(request.headers) if request.method == "OPTIONS" else None
        return None if answer is None else to_flask(answer)

    @app.after_request
    def _allow(response: Response) -> Response:
        for name, value in allowed.headers(request.headers.get("Origin")):
            response.headers.add(name, value)
        return response
