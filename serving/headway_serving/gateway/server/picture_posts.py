"""The most frequent request, one picture as the body of a ``:classify``, answered without a web framework around it.

It is read, checked and answered with the very functions that the Flask route uses; everything else (other bodies and
methods, unusual paths and headers) is left to that route. What this saves is dispatch, which costs more than all the
work on a small picture. Answering never blocks the event loop that it is called on: what waits or takes long in it
asks :mod:`headway_serving.concurrency.event_loop`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from urllib.parse import parse_qsl

from werkzeug.datastructures import MultiDict

from headway_serving.core.access import Scope
from headway_serving.gateway.classify.endpoints import Classify
from headway_serving.gateway.requests.answer import Answer
from headway_serving.gateway.requests.authentication import Authentication
from headway_serving.gateway.requests.identity import begin, standard_headers
from headway_serving.gateway.requests.pictures import is_picture_type, refuse_an_empty_one
from headway_serving.gateway.requests.problems import problem_answer
from headway_serving.gateway.server.decisions import Request

_TARGET = re.compile(
    rb"(/v1/models/([A-Za-z0-9._-]+)(?:/versions/([0-9]+)|/labels/([A-Za-z0-9._-]+))?:classify)(?:\?([!\"$-~]*))?"
)


@cache
def _as_sent(name: str) -> bytes:
    """A header's name as it stands in a request; those that endpoints ask for are few."""
    return name.lower().encode()


class PostHeaders:
    """The headers of a request by name, in any case."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[bytes, bytes]) -> None:
        self._values = values

    def get(self, name: str) -> str | None:
        """The value, or None."""
        value = self._values.get(_as_sent(name))
        return None if value is None else value.decode("latin-1")


@dataclass(slots=True)
class PicturePost:
    """A request with one picture: what it asks for, as werkzeug's requests have it too."""

    request: Request
    path: str
    model: str
    version: str | None
    label: str | None
    query_string: bytes
    headers: PostHeaders

    @property
    def args(self) -> "MultiDict[str, str]":
        """The parameters of the path."""
        return MultiDict(parse_qsl(self.query_string.decode(), keep_blank_values=True, errors="werkzeug.url_quote"))

    def pictures(self) -> list[bytes]:
        """The picture. Raises what is wrong with the body."""
        images = [self.request.read()]
        refuse_an_empty_one(images)
        return images


@dataclass(frozen=True)
class PicturePosts:
    """Recognizes and answers picture posts."""

    endpoint: Classify
    authentication: Authentication

    def recognized(self, request: Request) -> PicturePost | None:
        """The request as a picture post; None: it is left to Flask."""
        if request.method != b"POST":
            return None
        found = _TARGET.fullmatch(request.target)
        if found is None:
            return None
        values = request.values
        # Of a header that comes twice, Flask makes one value.
        if len(values) != len(request.headers):
            return None
        kind = values.get(b"content-type")
        if kind is None or not is_picture_type(kind.decode("latin-1")):
            return None
        path, model, version, label, query = found.groups()
        return PicturePost(
            request,
            path.decode(),
            model.decode(),
            None if version is None else version.decode(),
            None if label is None else label.decode(),
            query or b"",
            PostHeaders(values),
        )

    def answer(self, post: PicturePost) -> Answer:
        """The answer; never raises."""
        headers = post.headers
        begin(headers.get("x-request-id") or "", headers.get("traceparent"), post.request.received_at)
        try:
            self.authentication.check(post, Scope.CLASSIFY)
            answer = self.endpoint.by_one(post, post.model, post.version, post.label, post.pictures)
        except Exception as error:
            answer = problem_answer(error)
        return Answer(answer.status, [*answer.headers, *standard_headers()], answer.body)
