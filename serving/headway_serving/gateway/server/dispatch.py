"""Where each request is worked on.

* One picture as the body of a ``:classify``, the most frequent request, is answered on the event loop's own thread, as
  a greenlet (``concurrency.event_loop``), and without a web framework around it: switching between threads and
  dispatch cost more than all the work on a small picture. It is read, checked and answered with the very functions
  that the Flask route uses.
* All else (forms, JSON, pages, metrics, unusual paths and headers) goes to the Flask application in threads, where code
  may block. A post keeps its thread until it is answered, and waits for one of a bounded number in a queue; pages and
  health have threads of their own, so that they are there while many wait.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from urllib.parse import parse_qsl

from werkzeug.datastructures import MultiDict

from headway_serving.concurrency import event_loop
from headway_serving.core.access import Scope
from headway_serving.core.request_queue import QueueLimits, RequestQueue
from headway_serving.core.request_trace import parse_traceparent
from headway_serving.gateway.classify.endpoints import Classify
from headway_serving.gateway.requests.cross_origin import CrossOrigin
from headway_serving.gateway.requests.errors import EmptyBody
from headway_serving.gateway.requests.exchange import Answer
from headway_serving.gateway.requests.identity import Authentication, Sample, begin, follow, standard_headers
from headway_serving.gateway.requests.pictures import EMPTY_PICTURE
from headway_serving.gateway.requests.problems import problem_answer
from headway_serving.gateway.server.intake import GatewayIntake
from headway_serving.gateway.server.reading import Request
from headway_serving.gateway.server.wsgi_calls import Application, call_wsgi

Done = Callable[[Answer], None]

_PAGE_THREADS = 32
"""For what needs no turn: health, metrics, the descriptions of models, documentation."""

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
    cross_origin: CrossOrigin = CrossOrigin()  # noqa: RUF009  # frozen
    sample: Sample = follow

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
        traceparent = headers.get("traceparent")
        caller = None if traceparent is None else parse_traceparent(traceparent, headers.get("tracestate"))
        begin(headers.get("x-request-id") or "", caller, post.request.received_at, self.sample)
        try:
            self.authentication.check(post, Scope.CLASSIFY)
            answer = self.endpoint.by_one(post, post.model, post.version, post.label, post.pictures)
        except Exception as error:
            answer = problem_answer(error)
        said = self.cross_origin.headers(headers.get("origin"))
        return Answer(answer.status, [*answer.headers, *standard_headers(), *said], answer.body)


class Dispatcher:
    """Has requests answered. For one event loop, whose thread alone may use it."""

    def __init__(
        self,
        application: Application,
        posts: PicturePosts,
        limits: QueueLimits,
        intake: GatewayIntake,
        address: tuple[str, int],
    ) -> None:
        """``limits``: how many posts ``application`` answers at a time, and how others may wait for it.

        ``address``: where the server listens.
        """
        self._application, self._posts = application, posts
        self._for_posts = ThreadPoolExecutor(limits.most, thread_name_prefix="request")
        self._for_pages = ThreadPoolExecutor(_PAGE_THREADS, thread_name_prefix="page")
        self._queue = RequestQueue(limits, time.monotonic())
        self._address = address
        self.intake = intake

    def begin(self, loop: asyncio.AbstractEventLoop, request: Request, done: Done) -> None:
        """Begin to answer a request; ``done`` gets the answer, on the loop."""
        post = self._posts.recognized(request)
        if post is not None:
            event_loop.start(loop, partial(self._posts.answer, post), done)
        elif request.method == b"POST":
            self._wait_for_thread(loop, request, done)
        else:
            self._call(loop, self._for_pages, request, done)

    def _wait_for_thread(self, loop: asyncio.AbstractEventLoop, request: Request, done: Done) -> None:
        now = time.monotonic()
        time_left = self.intake.body_seconds(request) - (now - request.received_at)
        ticket, refused = self._queue.arrive(1, time_left, 1.0, now)

        def left(answer: Answer) -> None:
            done(answer)
            for other in self._queue.leave(ticket, time.monotonic()):
                other.called()

        def called() -> None:
            if alarm is not None:
                alarm.cancel()
            if ticket.refused:
                done(self.intake.refused(request, self._queue.overloaded("threads")))
            else:
                self._call(loop, self._for_posts, request, left)

        def give_up() -> None:
            self._queue.give_up(ticket)
            done(self.intake.refused(request, self._queue.overloaded("threads")))

        alarm = None
        if ticket.started or ticket.refused:
            called()
        else:
            ticket.called = called
            alarm = loop.call_later(max(0.0, time_left), give_up)
        for other in refused:
            other.called()

    def _call(self, loop: asyncio.AbstractEventLoop, threads: Executor, request: Request, done: Done) -> None:
        try:
            called = loop.run_in_executor(threads, call_wsgi, self._application, request, self._address)
        except RuntimeError as error:  # no further thread can be started
            done(self.intake.answer_to(error))
            return
        called.add_done_callback(partial(self._called, done))

    def _called(self, done: Done, called: "asyncio.Future[Answer]") -> None:
        if called.cancelled():
            return
        error = called.exception()
        # The application answers its own errors: this is one of the code around it.
        if isinstance(error, Exception):
            done(self.intake.answer_to(error))
        else:
            done(called.result())
