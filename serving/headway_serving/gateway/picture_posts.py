"""The most frequent request, one picture as the body of a ``:classify``, answered without a web framework around it.

A WSGI layer in front of the Flask application: it reads, checks and answers with the very functions that the Flask
route uses, and leaves everything else (other bodies and methods, unusual paths, bodies too large or of unknown length)
to that route. What it saves is dispatch, which costs more than all the work on a small picture. It never blocks an
event loop that it is called on: what waits or takes long in it asks :mod:`headway_serving.adapters.event_loop`.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from werkzeug.exceptions import ClientDisconnected
from werkzeug.wrappers import Request, Response

from headway_serving.adapters.token_file import Scope
from headway_serving.gateway.authentication import Authentication
from headway_serving.gateway.classify_endpoints import OneModel
from headway_serving.gateway.error_responses import problem_response
from headway_serving.gateway.request_context import identify, standard_headers

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]

_PATH = re.compile(
    r"/v1/models/(?P<model>[A-Za-z0-9._-]+)(/versions/(?P<version>\d+)|/labels/(?P<label>[A-Za-z0-9._-]+))?:classify"
)
_JSON = ("Content-Type", "application/json")


@dataclass(frozen=True)
class PicturePosts:
    """The layer; ``application`` gets what is not a picture post."""

    application: Application
    endpoint: OneModel
    authentication: Authentication
    max_body_bytes: int

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request."""
        path = _path_of_post(environ, self.max_body_bytes)
        if path is None:
            return self.application(environ, start_response)
        length = int(environ["CONTENT_LENGTH"])
        identify(environ)
        # In the environment it would be a cycle, and keep the picture until Python looks for those.
        http = Request(environ, populate_request=False)
        try:
            self.authentication.check(http, Scope.CLASSIFY)
            model, version, label = path.group("model", "version", "label")
            answer = self.endpoint.answer(http, model, version, label, lambda: _body(http, length))
        except Exception as error:
            answer = problem_response(error)
        if isinstance(answer, Response):
            answer.headers.update(standard_headers())
            return answer(environ, start_response)
        body = answer.body
        start_response("200 OK", [_JSON, ("Content-Length", str(len(body))), *answer.headers, *standard_headers()])
        # A list: the server then sends it in one piece.
        return [body]


def is_picture_post(environ: dict[str, Any], max_body_bytes: int) -> bool:
    """Whether :class:`PicturePosts` answers a request itself."""
    return _path_of_post(environ, max_body_bytes) is not None


def _path_of_post(environ: dict[str, Any], max_body_bytes: int) -> re.Match[str] | None:
    if environ["REQUEST_METHOD"] != "POST":
        return None
    kind = environ.get("CONTENT_TYPE", "")
    if not (kind.startswith("image/") or kind == "application/octet-stream"):
        return None
    length = environ.get("CONTENT_LENGTH", "")
    if not (length.isascii() and length.isdecimal() and len(length) <= 18 and 0 < int(length) <= max_body_bytes):
        return None
    return _PATH.fullmatch(environ["PATH_INFO"])


def _body(http: Request, length: int) -> list[bytes]:
    body = http.environ["wsgi.input"].read(length)
    if len(body) < length:
        raise ClientDisconnected
    return [body]
