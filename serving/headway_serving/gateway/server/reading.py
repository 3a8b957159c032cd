"""A connection's bytes become requests, without I/O (as h11 does it).

Theory of operation. One request at a time goes through these states, driven by llhttp's events. What is complete, and
the answer to what never will be, is put on a queue, from which :mod:`.connection` takes it.

========  ================  ===================  ====================  ====================  =======================
state     head begins       head complete        body complete         time is over          input ends
========  ================  ===================  ====================  ====================  =======================
IDLE      HEAD                                                         close                 CLOSED
HEAD                        BODY, or SKIP if                           close                 400, CLOSED
                            it is refused now or
                            too large
BODY                                             queue it, IDLE        408, CLOSED           400, CLOSED
SKIP      (of a refused request)                 IDLE                  CLOSED                CLOSED
CLOSED    nothing more is taken for a request; when all is answered, the connection is closed
========  ================  ===================  ====================  ====================  =======================

A request that says ``Connection: close`` leads to CLOSED when it is complete. What llhttp cannot read leads there from
every state, with 400, 414 or 431. ``Upgrade`` is ignored, as a server may (RFC 9110, 7.8): the parser, which would take
what follows for another protocol, gets the head once more without it.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

import httptools

from headway_serving.core.errors import InvalidRequest, Overloaded
from headway_serving.gateway.requests.errors import PayloadTooLarge, RequestTimeout
from headway_serving.gateway.requests.exchange import Answer
from headway_serving.gateway.requests.grammar import origin_form, whole_number
from headway_serving.gateway.server.answer_bytes import CONTINUE

MOST_HEAD_BYTES = 64 * 1024
MOST_HEADERS = 100
HEAD_SECONDS = 10.0
"""How large a request's line and headers may be, how many headers there may be, and how long all that may take."""

KEEP_ALIVE_SECONDS = 75.0
"""How long an idle connection stays open: longer than the pools of usual clients and proxies keep theirs. A client that
takes nothing of its answer for so long is gone."""

_DETAILS: Mapping[int, str] = {
    400: "this is not an HTTP/1.1 request",
    414: f"the request line has more than {MOST_HEAD_BYTES:,} bytes",
    431: f"the request has more than {MOST_HEADERS} headers, or {MOST_HEAD_BYTES:,} bytes of them",
}


@dataclass(slots=True)
class Request:
    """One request. ``target``: ``/path?query``; ``headers``: names in lower case, without those that have ``_``.

    ``values``: a header's value by its name, the last one where it came twice. ``received_at``: when its head was here,
    seconds on the monotonic clock. ``error``: why there is no whole body. ``is_last``: none follows on its connection.
    ``held``: the bytes of its body, counted until it is answered.
    """

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    values: Mapping[bytes, bytes]
    received_at: float
    is_last: bool = False
    body: bytes = b""
    error: Exception | None = None
    held: int = 0

    def read(self) -> bytes:
        """The body. Raises why there is none."""
        if self.error is not None:
            raise self.error
        return self.body


@dataclass(frozen=True, slots=True)
class Ready:
    """An answer that waits for its turn and needs no work; without one, ``data`` is sent as it is."""

    answer: Answer | None = None
    is_last: bool = False
    to_head: bool = False
    data: bytes = b""


@dataclass(slots=True)
class Body:
    """What has come of a body, and how many trailers behind it."""

    pieces: list[bytes] = field(default_factory=list)
    size: int = 0
    trailers: int = 0


class Intake(Protocol):
    """What is decided about a request from its head, and where bodies are counted."""

    @property
    def max_body_bytes(self) -> int:
        """How large one body may be."""
        ...

    def refusal(self, request: Request, /) -> Answer | None:
        """The answer to a request that is refused before its body is read, or None."""
        ...

    def problem(self, status: int, detail: str) -> Answer:
        """The answer to what is no request that an endpoint could see."""
        ...

    def body_seconds(self, request: Request, /) -> float:
        """How long its body may take."""
        ...

    def count_answer(self, status: int, /) -> None:
        """An answer of this status is sent."""
        ...

    def hold(self, size: int) -> bool:
        """Count so many bytes of a body; False, and nothing is counted, if there is no room for them."""
        ...

    def release(self, size: int) -> None:
        """So many bytes of a body are needed no more."""
        ...


class Reading(Enum):
    """What is read next; see the table above."""

    IDLE = "idle"
    HEAD = "head"
    BODY = "body"
    SKIP = "skip"
    CLOSED = "closed"


_VERSIONS = ("1.1", "1.0")


class _Malformed(Exception):
    """Raised within a callback of the parser, which then stops."""


class RequestReader:
    """Puts requests on ``queue``. ``now`` is the time on the monotonic clock, seconds.

    ``state``: see the table. ``read_by``: when the time of the state is over. ``unread``: whether the client may still
    be sending though nothing more is taken. ``draining``: whether the next request is the last.
    """

    state: Reading
    read_by: float | None
    _request: Request
    _body: Body
    _headers: list[tuple[bytes, bytes]]
    _line_ended: bool
    _upgrade_ignored: bool

    def __init__(self, intake: Intake, queue: deque[Request | Ready], now: float) -> None:
        self._intake, self._queue, self._now = intake, queue, now
        self._parser = httptools.HttpRequestParser(self)
        self.unread = self.draining = self._completed_here = False
        self._await_head()

    # What happens to it.

    def received(self, data: bytes, now: float) -> None:
        """The client has sent something."""
        self._now = now
        if self.state is Reading.CLOSED:
            return
        self._completed_here = False
        if self.state is not Reading.BODY and not self._line_ended:
            self._line_ended = b"\n" in data.lstrip(b"\r\n")
        try:
            self._feed(data)
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, _Malformed):
                raise
            self._malformed()
        except httptools.HttpParserError:
            self._malformed()
        else:
            self._bound(data)

    def input_ended(self, now: float) -> None:
        """The client sends no more."""
        self._now = now
        if self.state is Reading.HEAD:
            self._refuse(400)
        elif self.state is Reading.BODY:
            self._fail_body(InvalidRequest("the connection ended before the body did; send all of it"))
        self.state, self.unread = Reading.CLOSED, False

    def expired(self, now: float) -> None:
        """The time of the state is over."""
        self._now = now
        if self.state is Reading.BODY:
            seconds = self._intake.body_seconds(self._request)
            self._fail_body(
                RequestTimeout(
                    f"the body did not arrive within the request's {seconds:g} s; send less, or allow more time with "
                    "X-Request-Timeout-Ms"
                )
            )
        self.unread = self.unread or self.state is Reading.SKIP
        self.state = Reading.CLOSED

    def allow_time(self, now: float) -> None:
        """Let the time of the state begin now."""
        if self.state is Reading.IDLE:
            self.read_by = now + KEEP_ALIVE_SECONDS
        elif self.state is Reading.HEAD:
            self.read_by = now + HEAD_SECONDS
        elif self.state in (Reading.BODY, Reading.SKIP):
            self.read_by = now + self._intake.body_seconds(self._request)

    def lost(self) -> None:
        """The connection is gone."""
        self._intake.release(self._body.size)
        self.state, self._body = Reading.CLOSED, Body()
        # It refers to this object.
        del self._parser

    # What the parser finds. It calls these from within feed_data.

    def on_message_begin(self) -> None:
        """A request begins."""
        if self.state is Reading.IDLE:
            self.state, self.read_by = Reading.HEAD, self._now + HEAD_SECONDS

    def on_url(self, piece: bytes) -> None:
        """A piece of the target."""
        self._target += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or behind a chunked body a trailer."""
        if self.state is Reading.HEAD:
            if len(self._headers) == MOST_HEADERS:
                self._refusal = 431
                raise _Malformed
            # WSGI writes both - and _ as _: one name could be taken for the other.
            if b"_" not in name:
                self._headers.append((name.lower(), value))
        else:
            self._body.trailers += 1
            if self._body.trailers > MOST_HEADERS:
                raise _Malformed

    def on_headers_complete(self) -> None:
        """All before the body is here."""
        if self.state is not Reading.HEAD:
            return
        if len(self._target) > MOST_HEAD_BYTES:
            self._refusal = 414
            raise _Malformed
        target, headers, parser = origin_form(self._target), self._headers, self._parser
        if target is not None and parser.should_upgrade():
            self._upgrade_ignored = True
            return
        values = dict(headers)
        chunked = b"transfer-encoding" in values
        if target is None or parser.get_http_version() not in _VERSIONS or (chunked and not _only_chunked(headers)):
            raise _Malformed
        request = Request(parser.get_method(), target, headers, values, self._now)
        request.is_last = self.draining or not parser.should_keep_alive()
        self._request, self.state, self.read_by = request, Reading.BODY, None
        written = values.get(b"content-length")
        length = 0 if written is None else whole_number(written.decode("latin-1"))
        self._begin_body(request, length, has_body=chunked or length != 0)

    def on_body(self, piece: bytes) -> None:
        """A piece of a body."""
        if self.state is not Reading.BODY:
            return
        body = self._body
        if not self._intake.hold(len(piece)):
            self._fail_body(
                Overloaded("the bodies of the requests that are under way fill the gateway's memory", 1.0, "bytes")
            )
            return
        body.size += len(piece)
        body.pieces.append(piece)
        if body.size > self._intake.max_body_bytes:
            self._fail_body(self._too_large())

    def on_message_complete(self) -> None:
        """A request is here as a whole."""
        if self.state is Reading.CLOSED or self._upgrade_ignored:
            return
        request, body = self._request, self._body
        if self.state is Reading.BODY:
            request.body = body.pieces[0] if len(body.pieces) == 1 else b"".join(body.pieces)
            request.held = body.size
            self._queue.append(request)
        self._completed_here = True
        self._await_head()
        if request.is_last:
            self.state = Reading.CLOSED

    # Steps of reading.

    def _await_head(self) -> None:
        self.state, self.read_by = Reading.IDLE, self._now + KEEP_ALIVE_SECONDS
        self._target, self._headers, self._body = b"", [], Body()
        self._refusal, self._head_bytes = 400, 0
        self._line_ended = self._upgrade_ignored = False

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
                self._parser = httptools.HttpRequestParser(self)
            else:
                return

    def _head_without_upgrade(self) -> bytes:
        method, version, target = self._parser.get_method(), self._parser.get_http_version(), self._target
        lines = [b"%b: %b" % pair for pair in self._headers if pair[0] != b"upgrade"]
        self._await_head()
        return b"\r\n".join([b"%b %b HTTP/%b" % (method, target, version.encode()), *lines, b"", b""])

    def _bound(self, data: bytes) -> None:
        """Refuse a head that is already too large, and give a body that is not here its time."""
        if self.state is Reading.HEAD:
            if self._completed_here:
                # Where in this piece the head begins is not known: only what comes next is counted.
                self._line_ended = bool(self._target) and b"\n" in data[data.rfind(self._target) :]
                return
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self._refusal = 431 if self._line_ended else 414
                self._malformed()
        elif self.state in (Reading.BODY, Reading.SKIP) and self.read_by is None:
            self.read_by = self._now + self._intake.body_seconds(self._request)

    def _begin_body(self, request: Request, length: int | None, *, has_body: bool) -> None:
        refusal = self._intake.refusal(request)
        too_large = length is None or length > self._intake.max_body_bytes
        expected = request.values.get(b"expect")
        asks_first = expected is not None and has_body and expected.lower() == b"100-continue"
        if refusal is None and not too_large:
            if asks_first:
                self._queue.append(Ready(data=CONTINUE))
            return
        self.state = Reading.SKIP
        if asks_first:
            # Whether such a client sends its body after a refusal cannot be known: what comes is not read.
            self.state, self.unread, request.is_last = Reading.CLOSED, True, True
        if refusal is not None:
            self._queue.append(Ready(refusal, request.is_last, request.method == b"HEAD"))
        else:
            request.error = self._too_large()
            self._queue.append(request)

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(
            f"the request has more than {self._intake.max_body_bytes:,} bytes; send fewer or smaller pictures"
        )

    def _fail_body(self, error: Exception) -> None:
        """Have the request answered without its body. That may still come, so nothing can be read behind it."""
        self._intake.release(self._body.size)
        self._body = Body()
        self._request.error, self._request.is_last = error, True
        self._queue.append(self._request)
        self.state, self.unread = Reading.CLOSED, True

    def _malformed(self) -> None:
        """What came cannot be read any further."""
        if self.state is Reading.BODY:
            self._fail_body(InvalidRequest("the body's framing is broken; send Content-Length, or whole chunks"))
        elif self.state in (Reading.IDLE, Reading.HEAD):
            self._refuse(self._refusal)
        else:
            self.state, self.unread = Reading.CLOSED, True

    def _refuse(self, status: int) -> None:
        self._queue.append(Ready(self._intake.problem(status, _DETAILS[status]), is_last=True))
        self.state, self.unread = Reading.CLOSED, True


def _only_chunked(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether ``Transfer-Encoding`` names the one coding that is read, once."""
    return [value.lower() for name, value in headers if name == b"transfer-encoding"] == [b"chunked"]
