"""The most frequent request, one picture as the body of a ``:classify``, answered without a web framework around it.

It is read, checked and answered with the very functions that the Flask route uses; everything else (other bodies and
methods, unusual paths and headers, bodies too large or of unknown length) is left to that route. What this saves is
dispatch, which costs more than all the work on a small picture. Answering never blocks an event loop that it is called
on: what waits or takes long in it asks :mod:`headway_serving.concurrency.event_loop`.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response

from headway_serving.core.access import Scope
from headway_serving.gateway.classify.endpoints import OneModel
from headway_serving.gateway.requests.authentication import Authentication
from headway_serving.gateway.requests.identity import begin, standard_headers
from headway_serving.gateway.requests.problems import problem_response

_TARGET = re.compile(
    rb"(/v1/models/([A-Za-z0-9._-]+)(?:/versions/([0-9]+)|/labels/([A-Za-z0-9._-]+))?:classify)(?:\?([!\"$-~]*))?"
)
_JSON = ("content-type", "application/json")


class PostHeaders:
    """The headers of a request by name, in any case."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[bytes, bytes]) -> None:
        self._values = values

    def get(self, name: str) -> str | None:
        """The value, or None."""
        value = self._values.get(name.lower().encode())
        return None if value is None else value.decode("latin-1")


@dataclass(slots=True)
class PicturePost:
    """A request without its body, of ``length`` bytes: what it asks for, as werkzeug's requests say it too."""

    path: str
    model: str
    version: str | None
    label: str | None
    query_string: bytes
    headers: PostHeaders
    length: int
    received_at: float = field(default_factory=time.monotonic)

    @property
    def args(self) -> "MultiDict[str, str]":
        """The parameters of the path."""
        return MultiDict(parse_qsl(self.query_string.decode(), keep_blank_values=True, errors="werkzeug.url_quote"))


@dataclass(frozen=True, slots=True)
class PostAnswer:
    """``headers`` are all but the length of the body."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes


@dataclass(frozen=True)
class PicturePosts:
    """Reads and answers picture posts."""

    endpoint: OneModel
    authentication: Authentication
    max_body_bytes: int

    def opened(self, method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> PicturePost | None:
        """The post that a request with these headers (names in lower case) begins; None: it is left to Flask."""
        if method != b"POST":
            return None
        found = _TARGET.fullmatch(target)
        if found is None:
            return None
        values = dict(headers)
        if len(values) != len(headers):
            return None
        kind, length = values.get(b"content-type", b""), values.get(b"content-length", b"")
        if not (kind.startswith(b"image/") or kind == b"application/octet-stream"):
            return None
        if not (length.isdigit() and len(length) <= 18 and 0 < int(length) <= self.max_body_bytes):
            return None
        path, model, version, label, query = found.groups()
        return PicturePost(
            path.decode(),
            model.decode(),
            None if version is None else version.decode(),
            None if label is None else label.decode(),
            query or b"",
            PostHeaders(values),
            int(length),
        )

    def answer(self, post: PicturePost, read: Callable[[], bytes]) -> PostAnswer:
        """Answer it. ``read`` gives the picture and may raise what is wrong with the body."""
        headers = post.headers
        begin(headers.get("x-request-id") or "", headers.get("traceparent"), post.received_at)
        try:
            self.authentication.check(post, Scope.CLASSIFY)
            answer = self.endpoint.answer(post, post.model, post.version, post.label, lambda: [read()])
        except Exception as error:
            answer = problem_response(error)
        if isinstance(answer, Response):
            said = [(name, value) for name, value in answer.headers if name.lower() != "content-length"]
            return PostAnswer(answer.status_code, [*said, *standard_headers()], answer.get_data())
        return PostAnswer(200, [_JSON, *answer.headers, *standard_headers()], answer.body)
