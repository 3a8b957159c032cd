"""Predict over a Unix socket (:mod:`headway_serving.wire.local_frames`), on an event loop."""

import asyncio
from pathlib import Path
from typing import cast

from headway_serving.wire.local_frames import ANSWER, MOST_BYTES, REQUEST

Answer = tuple[int, bytes]
"""The status code, and the message's bytes or, where the code is not 0, what went wrong."""


class LocalCalls:
    """Calls to the server at ``path``. Each takes a connection alone; they are kept for the next ones."""

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop) -> None:
        self._path, self._loop = path, loop
        self._idle: list[_Connection] = []

    def call(self, message: bytes, timeout: float, trace: bytes = b"") -> "asyncio.Future[Answer]":
        """Send a PredictRequest, in the trace that ``trace`` says.

        The future raises OSError if the server is away, TimeoutError if it takes too long.
        """
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open():
                return connection.call(message, timeout, trace)
        return self._loop.create_task(self._connect_and_call(message, timeout, trace))

    async def _connect_and_call(self, message: bytes, timeout: float, trace: bytes) -> Answer:
        _, connection = await self._loop.create_unix_connection(
            lambda: _Connection(self._loop, self._idle), str(self._path)
        )
        return await connection.call(message, timeout, trace)

    def close_soon(self) -> None:
        """Close what is idle, on the loop; for any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.close)

    def close(self) -> None:
        """Close what is idle."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()


class _Connection(asyncio.Protocol):
    """One connection; between calls it stands in ``idle``."""

    _transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop, idle: list["_Connection"]) -> None:
        self._loop, self._idle = loop, idle
        self._received = bytearray()
        self._answered: asyncio.Future[Answer] | None = None
        self._alarm: asyncio.TimerHandle | None = None

    def is_open(self) -> bool:
        return not self._transport.is_closing()

    def close(self) -> None:
        self._transport.close()

    def call(self, message: bytes, timeout: float, trace: bytes) -> "asyncio.Future[Answer]":
        self._answered = self._loop.create_future()
        self._alarm = self._loop.call_later(timeout, self._end, TimeoutError())
        self._transport.write(REQUEST.pack(len(message), timeout, len(trace)) + trace + message)
        return self._answered

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The server has accepted it."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """A part of an answer, or all of it."""
        self._received += data
        if len(self._received) < ANSWER.size:
            return
        size, code = ANSWER.unpack_from(self._received)
        if size > MOST_BYTES or self._answered is None:
            self._end(ConnectionResetError("the model server sent what is no answer"))
        elif len(self._received) >= ANSWER.size + size:
            answered, answer = self._answered, bytes(self._received[ANSWER.size :])
            self._forget()
            if len(answer) > size:
                self._transport.abort()
                answer = answer[:size]
            else:
                self._idle.append(self)
            if not answered.done():
                answered.set_result((code, answer))

    def connection_lost(self, _: Exception | None) -> None:
        """The server has gone, or we have closed it."""
        self._end(ConnectionResetError("the model server has closed the connection"))

    def _end(self, error: Exception) -> None:
        """Fail the call that is under way; its answer would be taken for the next one's."""
        answered = self._answered
        self._forget()
        self._transport.abort()
        if answered is not None and not answered.done():
            answered.set_exception(error)

    def _forget(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._answered = self._alarm = None
        self._received.clear()
