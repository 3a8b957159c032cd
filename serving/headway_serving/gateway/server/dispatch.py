"""Where each request is worked on.

* One picture as the body of a ``:classify``, the most frequent request, is answered on the event loop's own thread, as
  a greenlet (``concurrency.event_loop``), and without a web framework around it: switching between threads and
  dispatch cost more than all the work on a small picture. It is read, checked and answered with the very functions
  that the Flask route uses.
* All else (forms, JSON, pages, metrics, unusual paths and headers) goes to the Flask application in a pool of threads,
  where code may block.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cache, partial
from urllib.parse import parse_qsl

from werkzeug.datastructures import MultiDict

from headway_serving.concurrency import event_loop
from headway_serving.core.access import Scope
from headway_serving.gateway.classify.endpoints import Classify
from headway_serving.gateway.requests.errors import EmptyBody
from headway_serving.gateway.requests.exchange import Answer
from headway_serving.gateway.requests.identity import Authentication, begin, standard_headers
from headway_serving.gateway.requests.pictures import EMPTY_PICTURE
from headway_serving.gateway.requests.problems import problem_answer
from headway_serving.gateway.server.intake import GatewayIntake, is_classification
from headway_serving.gateway.server.reading import Request
from headway_serving.gateway.server.wsgi_calls import Application, call_wsgi

Done = Callable[[Answer], None]

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
        image = self.request.read()
        if not image:
            raise EmptyBody(EMPTY_PICTURE)
        return [image]


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
        kind = values.get(b"content-type", b"")
        if not (kind.startswith(b"image/") or kind == b"application/octet-stream"):
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


class Dispatcher:
    """Has requests answered. For one event loop, whose thread alone may use it."""

    def __init__(
        self,
        application: Application,
        posts: PicturePosts,
        threads: Executor,
        intake: GatewayIntake,
        address: tuple[str, int],
    ) -> None:
        """``threads``: where ``application`` is called. ``address``: where the server listens."""
        self._application, self._posts, self._threads = application, posts, threads
        self._address = address
        self.intake = intake

    def begin(self, loop: asyncio.AbstractEventLoop, request: Request, done: Done) -> None:
        """Begin to answer a request; ``done`` gets the answer, on the loop."""
        post = self._posts.recognized(request)
        if post is not None or is_classification(request):
            self.intake.under_way += 1
            done = partial(self._classified, done)
        if post is not None:
            event_loop.start(loop, partial(self._posts.answer, post), done)
        else:
            called = loop.run_in_executor(self._threads, call_wsgi, self._application, request, self._address)
            called.add_done_callback(partial(self._called, done))

    def _classified(self, done: Done, answer: Answer) -> None:
        self.intake.under_way -= 1
        done(answer)

    def _called(self, done: Done, called: "asyncio.Future[Answer]") -> None:
        if called.cancelled():
            return
        error = called.exception()
        # The application answers its own errors: this is one of the code around it.
        if isinstance(error, Exception):
            done(self.intake.answer_to(error))
        else:
            done(called.result())
