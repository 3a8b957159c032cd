"""What every request gets before an endpoint sees it: an id that is safe to write anywhere."""

import re
import uuid

from flask import Flask, Response, g, request

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


def install(app: Flask) -> None:
    """Set ``g.request_id`` (the caller's, if it is harmless, else a new one) and ``g.trace_id``; answer with the id."""

    @app.before_request
    def _identify() -> None:
        wanted = request.headers.get("X-Request-Id", "")
        g.request_id = wanted if _REQUEST_ID.fullmatch(wanted) else uuid.uuid4().hex
        trace = _TRACEPARENT.fullmatch(request.headers.get("traceparent", ""))
        g.trace_id = trace.group(1) if trace else None

    @app.after_request
    def _answer(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.request_id
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response
