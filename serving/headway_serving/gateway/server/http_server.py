"""The event loop's side of HTTP: sockets, time and signals around :class:`~.connection.Connection`."""

import asyncio
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import cast

import uvloop

from headway_serving.core.errors import Overloaded
from headway_serving.gateway.requests.exchange import Answer
from headway_serving.gateway.server.answer_bytes import DateLine, answer_bytes
from headway_serving.gateway.server.connection import Connection, Control, Decision, Send, Work
from headway_serving.gateway.server.dispatch import Dispatcher

_BACKLOG = 2048
_TICK_SECONDS = 0.25
_DRAIN_POLL_SECONDS = 0.05
_REFUSAL_SECONDS, _MOST_LEAVING = 0.5, 32
"""How long a connection that cannot be kept stays, so that its client can read why, and how many do."""


class ClientProtocol(asyncio.Protocol):
    """Hands what happens on a transport to its connection, and does what that decides."""

    _transport: asyncio.Transport

    def __init__(self, server: "HttpServer", loop: asyncio.AbstractEventLoop) -> None:
        self._server, self._loop = server, loop
        self._state: Connection | None = None
        self._decided = deque[Decision]()
        self._carrying_out = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        # uvloop's has its methods, but not its type.
        self._transport = transport = cast("asyncio.Transport", transport)
        if self._server.stopping:
            # Accepted in the moment of the stop, and nothing of it read: the client may ask another gateway.
            transport.close()
            return
        if self._server.is_full():
            self._server.refuse(transport)
            return
        self._state = Connection(self._server.dispatcher.intake, self._server.date, time.monotonic())
        self._server.protocols.add(self)

    def data_received(self, data: bytes) -> None:
        """A client has sent something."""
        if self._state is not None:
            self._carry_out(self._state.received(data, time.monotonic()))

    def eof_received(self) -> bool:
        """The client has ended its side; ours stays open until all is answered."""
        if self._state is None:
            return False
        self._carry_out(self._state.input_ended(time.monotonic()))
        return True

    def pause_writing(self) -> None:
        """The client does not take what is sent."""
        self._writable(False)

    def resume_writing(self) -> None:
        """The client takes it again."""
        self._writable(True)

    def connection_lost(self, _: Exception | None) -> None:
        """The connection is closed, by whomever."""
        if self._state is not None:
            self._server.protocols.discard(self)
            self._state.lost()

    def tick(self, now: float) -> None:
        """See whether the connection's time is over."""
        state = self._state
        deadline = None if state is None else state.deadline
        if state is not None and deadline is not None and deadline <= now:
            self._carry_out(state.expired(now))

    def drain(self, now: float) -> None:
        """The server stops."""
        if self._state is not None:
            self._carry_out(self._state.drain(now))

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _writable(self, writable: bool) -> None:
        if self._state is not None:
            self._carry_out(self._state.writable(time.monotonic(), writable=writable))

    def _answered(self, answer: Answer) -> None:
        assert self._state is not None
        self._carry_out(self._state.answered(answer, time.monotonic()))

    def _carry_out(self, decisions: list[Decision]) -> None:
        """Do it all in order; what is decided meanwhile (a request may be answered at once) comes behind it."""
        self._decided += decisions
        if self._carrying_out:
            return
        self._carrying_out = True
        try:
            while self._decided:
                self._do(self._decided.popleft())
        finally:
            self._carrying_out = False

    def _do(self, decision: Decision) -> None:
        transport = self._transport
        if isinstance(decision, Work):
            self._server.dispatcher.begin(self._loop, decision.request, self._answered)
        elif transport.is_closing():
            return
        elif isinstance(decision, Send):
            transport.write(decision.data)
        elif decision is Control.PAUSE:
            transport.pause_reading()
        elif decision is Control.RESUME:
            transport.resume_reading()
        elif decision is Control.END_WRITING:
            transport.write_eof()
        elif decision is Control.CLOSE:
            transport.close()
        else:
            transport.abort()


class HttpServer:
    """Serves until SIGTERM or SIGINT, then finishes the requests in flight."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        host: str,
        port: int,
        drain_seconds: float,
        most_connections: int,
        at_start: Callable[[], Awaitable[None]],
    ) -> None:
        """``at_start`` is awaited on the loop before anybody may connect."""
        self.dispatcher = dispatcher
        self._host, self._port, self._drain_seconds = host, port, drain_seconds
        self._most_connections, self._at_start = most_connections, at_start
        self.protocols: set[ClientProtocol] = set()
        self._leaving = 0
        self.stopping = False
        self.date = DateLine()

    def run(self) -> None:
        """Serve; returns when all is finished, or after ``drain_seconds``. A second signal ends it at once."""
        uvloop.run(self._serve())

    def is_full(self) -> bool:
        """Whether no further connection can be kept: each takes a file descriptor, of which there are so many."""
        return len(self.protocols) >= self._most_connections

    def refuse(self, transport: asyncio.Transport) -> None:
        """Tell a client that it cannot be kept, and close."""
        error = Overloaded(
            f"{self._most_connections:,} connections are open, as many as there may be; try again soon",
            reason="connections",
        )
        answer = self.dispatcher.intake.answer_to(error)
        self.dispatcher.intake.count_refused_connection(answer.status)
        transport.write(answer_bytes(answer, self.date, closes=True, to_head=False))
        if self._leaving < _MOST_LEAVING:
            # Closed at once, the connection may be reset before the client has read why.
            self._leaving += 1
            transport.write_eof()
            asyncio.get_running_loop().call_later(_REFUSAL_SECONDS, self._leave, transport)
        else:
            transport.close()

    def _leave(self, transport: asyncio.Transport) -> None:
        self._leaving -= 1
        transport.close()

    async def _serve(self) -> None:
        loop, stopping, at_once = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

        def stop() -> None:
            (at_once if stopping.is_set() else stopping).set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        await self._at_start()
        listening = await loop.create_server(
            partial(ClientProtocol, self, loop), self._host, self._port, backlog=_BACKLOG
        )
        ticking = asyncio.create_task(self._tick())
        await stopping.wait()
        self.stopping = True
        listening.close()
        await self._drain(at_once)
        ticking.cancel()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            self.date.refresh()
            now = time.monotonic()
            for protocol in list(self.protocols):
                protocol.tick(now)

    async def _drain(self, at_once: asyncio.Event) -> None:
        """Let what has begun be answered."""
        now = time.monotonic()
        for protocol in list(self.protocols):
            protocol.drain(now)
        while self.protocols and not at_once.is_set() and time.monotonic() < now + self._drain_seconds:
            await asyncio.sleep(_DRAIN_POLL_SECONDS)
        for protocol in list(self.protocols):
            protocol.abort()
