"""Calls over the local socket: each on a connection alone, and none takes another's answer."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from headway_serving.adapters.model_server.local_socket import Answer, LocalCalls
from headway_serving.wire.local_frames import ANSWER, MOST_BYTES, REQUEST

Handle = Callable[[bytes, float, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Does with each message as a test says; ``connections``: how many were made."""

    def __init__(self, path: Path, handle: Handle) -> None:
        self._path, self._handle = path, handle
        self.connections = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                size, seconds, trace = REQUEST.unpack(await reader.readexactly(REQUEST.size))
                await reader.readexactly(trace)
                await self._handle(await reader.readexactly(size), seconds, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def __aenter__(self) -> "Server":
        self._server = await asyncio.start_unix_server(self._serve, str(self._path))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()


async def echo(message: bytes, seconds: float, writer: asyncio.StreamWriter) -> None:
    answer = b"%s in %.0f s" % (message, seconds)
    writer.write(ANSWER.pack(len(answer), 3 if b"bad" in message else 0) + answer)


async def told(path: Path, handle: Handle, ask: Callable[[LocalCalls, Server], Awaitable[None]]) -> None:
    async with Server(path, handle) as server:
        calls = LocalCalls(path, asyncio.get_running_loop())
        await ask(calls, server)
        calls.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


def test_one_after_the_other_they_share_a_connection_and_beside_each_other_they_do_not(path: Path) -> None:
    async def ask(calls: LocalCalls, server: Server) -> None:
        for number in range(3):
            assert await calls.call(b"%d" % number, 5) == (0, b"%d in 5 s" % number)
        assert server.connections == 1
        answers = await asyncio.gather(*[calls.call(b"%d" % number, 7) for number in range(20)])
        assert answers == [(0, b"%d in 7 s" % number) for number in range(20)]
        assert server.connections == 20
        assert await calls.call(b"bad", 5) == (3, b"bad in 5 s")
        assert server.connections == 20

    asyncio.run(told(path, echo, ask))


def test_large_messages_and_answers_in_pieces_come_whole(path: Path) -> None:
    async def handle(message: bytes, _: float, writer: asyncio.StreamWriter) -> None:
        frame = ANSWER.pack(len(message), 0) + message[::-1]
        for start in (0, 1, 5, 1000):
            writer.write(frame[start : {0: 1, 1: 5, 5: 1000}.get(start)])
            await writer.drain()
            await asyncio.sleep(0.001)

    async def ask(calls: LocalCalls, _: Server) -> None:
        message = bytes(range(256)) * 20_000
        assert await calls.call(message, 30) == (0, message[::-1])

    asyncio.run(told(path, handle, ask))


def test_without_a_server_a_call_fails_at_once_and_finds_the_next_one(path: Path) -> None:
    async def main() -> None:
        calls = LocalCalls(path, asyncio.get_running_loop())
        for _ in range(2):
            with pytest.raises(FileNotFoundError):
                await calls.call(b"x", 5)
        async with Server(path, echo):
            assert await calls.call(b"x", 5) == (0, b"x in 5 s")

    asyncio.run(main())


def test_an_answer_that_comes_too_late_reaches_nobody(path: Path) -> None:
    async def handle(message: bytes, seconds: float, writer: asyncio.StreamWriter) -> None:
        if message == b"slow":
            await asyncio.sleep(0.1)
        await echo(message, seconds, writer)

    async def ask(calls: LocalCalls, server: Server) -> None:
        with pytest.raises(TimeoutError):
            await calls.call(b"slow", 0.02)
        await asyncio.sleep(0.2)
        assert await calls.call(b"next", 5) == (0, b"next in 5 s")
        assert server.connections == 2

    asyncio.run(told(path, handle, ask))


@pytest.mark.parametrize(
    ("sent", "closes"),
    [(b"\1", True), (ANSWER.pack(MOST_BYTES + 1, 0), False), (b"\xff" * 64, False)],
    ids=["the server goes while it is asked", "too large an answer", "nonsense"],
)
def test_what_is_no_whole_answer_ends_the_call(path: Path, sent: bytes, closes: bool) -> None:
    async def handle(_: bytes, __: float, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await writer.drain()
        if closes:
            writer.close()

    async def ask(calls: LocalCalls, _: Server) -> None:
        with pytest.raises(ConnectionError):
            await calls.call(b"x", 5)

    asyncio.run(told(path, handle, ask))


def test_bytes_behind_an_answer_are_nobody_s_answer(path: Path) -> None:
    async def handle(message: bytes, seconds: float, writer: asyncio.StreamWriter) -> None:
        await echo(message, seconds, writer)
        writer.write(ANSWER.pack(1, 0) + b"?")

    async def ask(calls: LocalCalls, _: Server) -> None:
        found: list[Answer] = [await calls.call(b"%d" % number, 5) for number in range(3)]
        assert found == [(0, b"%d in 5 s" % number) for number in range(3)]

    asyncio.run(told(path, handle, ask))
