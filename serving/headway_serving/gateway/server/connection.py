"""uvicorn as the gateway's HTTP server, with bounds on what comes before a body, and a short way for pictures.

A picture that comes in one piece with its headers is answered from here, without what ASGI asks for each request (a
task, a scope, an event, two messages and two writes): that costs more than all else about a small picture. Whatever is
not of that kind (more than one piece, an answer before it still under way, a client that does not read) goes uvicorn's
way, through the :class:`~headway_serving.gateway.server.asgi.FrontDoor`.
"""

import asyncio
import json
import time
from collections.abc import Sized
from functools import partial
from typing import Any

import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from headway_serving.concurrency import event_loop
from headway_serving.gateway.requests.identity import begin
from headway_serving.gateway.requests.problems import http_problem
from headway_serving.gateway.server.asgi import BODY_IS_HERE, FrontDoor
from headway_serving.gateway.server.picture_posts import PicturePost, PostAnswer
from headway_serving.gateway.server.raw_answers import raw_answer, raw_problem

_MOST_HEAD_BYTES = 64 * 1024
_MOST_HEADERS = 100
_HEAD_SECONDS = 10.0
"""How large a request's line and headers may be, how many headers there may be, and how long all that may take."""

_KEEP_ALIVE_SECONDS = 75
"""How long an idle connection stays open: longer than the pools of usual clients and proxies keep theirs."""

_DETAILS = {
    400: "this is not an HTTP request",
    414: f"the request line has more than {_MOST_HEAD_BYTES:,} bytes",
    431: f"the request has more than {_MOST_HEADERS} headers, or {_MOST_HEAD_BYTES:,} bytes of them",
}


class _HeadTooLarge(Exception):
    pass


class _PipelineFirst(FlowControl):
    """Reads on only when all requests that are here are answered, or begun: else a client could fill the memory.

    uvicorn reads on after every answer, however many requests wait that were sent without waiting for it.
    """

    def __init__(self, transport: asyncio.Transport, pipeline: Sized) -> None:
        super().__init__(transport)
        self._pipeline = pipeline

    def resume_reading(self) -> None:
        """Read on, if it is time."""
        if not self._pipeline:
            super().resume_reading()


class _NobodyWaits:
    """In the place of an event that nobody waits for."""

    def set(self) -> None:
        """Say that something has happened."""


class _PictureCycle:
    """A picture that is being answered, as far as uvicorn's protocol asks its requests."""

    message_event = _NobodyWaits()

    def __init__(self) -> None:
        self.keep_alive = True
        self.disconnected = self.response_complete = False


class GatewayProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which answers whole pictures itself.

    A request's line and headers are bounded in size and in time, and refused with problems.
    """

    def __init__(self, door: FrontDoor, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._refusals, self._posts, self._bodies = door.refusals, door.posts, door.bodies
        self._counts = self._counted = self._refused = self._ended_here = False
        self._post: PicturePost | None = None
        self._pieces: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._head_bytes = 0
        self._head_since: float | None = time.monotonic()
        self._refusal = 400
        super().connection_made(transport)  # type: ignore[arg-type]  # so asyncio declares it
        self.flow = _PipelineFirst(self.transport, self.pipeline)

    def data_received(self, data: bytes) -> None:
        """A client has sent something."""
        self._ended_here = False
        super().data_received(data)
        if self._post is not None and not self.transport.is_closing():
            self._leave_to_uvicorn()
        # Of what came behind the end of another request nobody knows how much is head: what comes next is counted.
        if self._head_since is not None and not (self._ended_here or self.transport.is_closing()):
            self._head_bytes += len(data)
            if self._head_bytes > _MOST_HEAD_BYTES:
                self._refusal = 431 if self.headers else 414
                self.send_400_response()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._head_since = time.monotonic()
        # Most requests are pictures, which need no scope: uvicorn's method makes one for those that do.
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header is complete. Raises: the parser then ends the request."""
        if len(self.headers) == _MOST_HEADERS:
            self._refusal = 431
            raise _HeadTooLarge
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """All before the body is here."""
        if len(self.url) > _MOST_HEAD_BYTES:
            self._refusal = 414
            raise _HeadTooLarge
        self._head_since, self._head_bytes = None, 0
        answers_next = self.cycle is None or self.cycle.response_complete
        method, parser = self.parser.get_method(), self.parser
        self._counts = answers_next and self._refusals.concern(method, self.url)
        # Without the body that it waits to be asked for, as the last request, or before what the client does not read:
        # rare, and goes uvicorn's way.
        plain = not (self.expect_100_continue or self.flow.write_paused or parser.should_upgrade())
        if self._counts and plain and parser.should_keep_alive():
            refusal = self._refusals.refusal(self.url, self.headers)
            if refusal is not None:
                self._refused = True
                self.transport.write(refusal)
                return
            self._post = self._posts.opened(method, self.url, self.headers)
            if self._post is not None:
                return
        self._begin_for_uvicorn()

    def on_body(self, body: bytes) -> None:
        """A piece of a body is here; that of a request that was refused is left."""
        if self._post is not None:
            self._pieces.append(body)
        elif not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is here as a whole."""
        self._ended_here = True
        if self._refused:
            self._refused = False
            self.on_response_complete()
            return
        if self._post is not None:
            if self._bodies.hold(self._post.length):
                self._answer(self._post)
                return
            self._leave_to_uvicorn()
        super().on_message_complete()
        self.scope["extensions"] = {BODY_IS_HERE: {}}
        if self._counts:
            self._count()

    def _begin_for_uvicorn(self) -> None:
        """Let uvicorn's protocol see what it would have seen from the first line to the end of the headers."""
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect
        self.headers += headers
        super().on_headers_complete()

    def _leave_to_uvicorn(self) -> None:
        """Of the picture that has begun not all is here, or there is no room for it."""
        pieces, self._post, self._pieces = self._pieces, None, []
        self._begin_for_uvicorn()
        for piece in pieces:
            super().on_body(piece)

    def _answer(self, post: PicturePost) -> None:
        """Answer the picture that is here."""
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._post, self._pieces = None, []
        cycle = _PictureCycle()
        self.cycle = cycle  # type: ignore[assignment]  # it has what is asked of one
        self._count()
        work = partial(self._posts.answer, post, lambda: body)
        event_loop.start(self.loop, work, partial(self._answered, cycle, post.length))

    def _answered(self, cycle: _PictureCycle, held: int, answer: PostAnswer) -> None:
        self._bodies.release(held)
        cycle.response_complete = True
        if cycle.disconnected or self.transport.is_closing():
            return
        headers = [*self._usual_headers(), *answer.headers]
        if not cycle.keep_alive:
            headers.append(("connection", "close"))
        self.transport.write(raw_answer(answer.status, headers, answer.body))
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _usual_headers(self) -> list[tuple[str, str]]:
        return [(name.decode(), value.decode()) for name, value in self.server_state.default_headers]

    def on_response_complete(self) -> None:
        """A request is answered."""
        self._count_no_more()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, or the server has closed the connection."""
        self._count_no_more()
        super().connection_lost(exc)

    def _count(self) -> None:
        self._counted = True
        self._refusals.under_way += 1

    def _count_no_more(self) -> None:
        # Nor what comes later of a body whose request was answered without it.
        self._counts = False
        if self._counted:
            self._counted = False
            self._refusals.under_way -= 1

    def send_400_response(self, _: str = "") -> None:
        """Refuse what cannot be read as a request, and end the connection."""
        if self.cycle is not None and not self.cycle.response_complete:
            # Answers come in the order of the requests: the one before it is still to be answered, and is the last.
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            return
        self.transport.write(_refusal(self._refusal))
        self.transport.close()

    def end_if_stalled(self, now: float) -> None:
        """Close the connection if a request has begun on it and its headers do not come, or if none ever begins."""
        patience = _KEEP_ALIVE_SECONDS if self.headers is None else _HEAD_SECONDS
        if self._head_since is None or now - self._head_since < patience:
            return
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


def _refusal(status: int) -> bytes:
    request_id = begin("", None, time.monotonic()).request_id
    body = json.dumps({**http_problem(status, _DETAILS[status]), "request_id": request_id})
    return raw_problem(status, body, ("Connection", "close"))


class GatewayServer(uvicorn.Server):
    """Serves the application until SIGTERM or SIGINT, then finishes the requests in flight."""

    def __init__(self, application: FrontDoor, host: str, port: int, drain_seconds: int) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                host=host,
                port=port,
                loop="uvloop",
                http=partial(GatewayProtocol, application),  # type: ignore[arg-type]  # it is called as a class is
                ws="none",
                interface="asgi3",
                lifespan="off",
                log_config=None,
                # A warning for each request that is none would be lines that anybody can have written.
                log_level="error",
                access_log=False,
                server_header=False,
                # Nothing here asks where a request came from.
                proxy_headers=False,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=drain_seconds,
            )
        )

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if counter % 10 == 0:
            now = time.monotonic()
            for connection in list(self.server_state.connections):
                if isinstance(connection, GatewayProtocol):
                    connection.end_if_stalled(now)
        return await super().on_tick(counter)
