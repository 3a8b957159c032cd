"""Bodies that do not arrive: each gets its time, and a thread that waits for one is let go.

The WSGI server hands a body over as it comes, and reading it waits without limit. Two guards, of which the first costs
a microsecond and the second nothing until it is needed:

1. A body that has arrived is refused with 408 if that took longer than the request's time.
2. A read that waits for longer than any request may take is ended by :class:`StalledConnections`: it shuts the
   receiving half of the connection, the read returns what there is, and the other half still carries the 408.

The server does not tell which connection a request came over. It need not: nothing was sent on it for all that time,
and any request that is worked on is answered sooner. An idle connection may be closed at any time.
"""

import itertools
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headway_serving.gateway.error_responses import RequestTimeout

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
_ESTABLISHED = 1
_LAST_DATA_SENT = 44
"""Where ``struct tcp_info`` (linux/tcp.h) holds the milliseconds since data was last sent, or since it was opened."""

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class TimedBodies:
    """A WSGI application whose bodies must arrive in time; ``reading`` tells since when each unfinished read waits."""

    def __init__(self, application: Application, timeout_ms: int, max_timeout_ms: int) -> None:
        self._application = application
        self._timeout_ms, self._max_timeout_ms = timeout_ms, max_timeout_ms
        self._numbers = itertools.count()
        self.reading: dict[int, float] = {}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a request as the application does, reading its body through :class:`_TimedBody`."""
        environ["wsgi.input"] = _TimedBody(environ["wsgi.input"], self._seconds(environ), self._waiting)
        return self._application(environ, start_response)

    def _seconds(self, environ: dict[str, Any]) -> float:
        text = environ.get("HTTP_X_REQUEST_TIMEOUT_MS", "")
        # One that cannot be used is refused by the endpoint, with the reason.
        asked = int(text) if text.isascii() and text.isdecimal() and len(text) <= 12 else self._timeout_ms
        return min(asked, self._max_timeout_ms) / 1000

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        number = next(self._numbers)
        self.reading[number] = time.monotonic()
        try:
            yield
        finally:
            del self.reading[number]


class _TimedBody:
    """A body whose reads raise :class:`RequestTimeout` once ``seconds`` have gone since it was made.

    Werkzeug asks for nothing but ``read``.
    """

    def __init__(self, body: Any, seconds: float, waiting: Callable[[], Any]) -> None:
        self._body, self._seconds, self._waiting = body, seconds, waiting
        self._ends = time.monotonic() + seconds

    def read(self, size: int = -1) -> bytes:
        """What the server has of the body, at most ``size`` bytes; waits for them."""
        with self._waiting():
            data: bytes = self._body.read() if size < 0 else self._body.read(size)
        self._check()
        return data

    def _check(self) -> None:
        if time.monotonic() > self._ends:
            raise RequestTimeout(
                f"the body did not arrive within the request's {self._seconds:g} s; send less, or allow more time with "
                "X-Request-Timeout-Ms"
            )


class StalledConnections:
    """Ends reads of ``bodies`` that wait for longer than ``seconds``, on connections to ``port`` of this process."""

    def __init__(self, bodies: TimedBodies, port: int, seconds: float) -> None:
        self._bodies, self._port, self._seconds = bodies, port, seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stalled-connections", daemon=True)

    def watch(self) -> None:
        """Begin to look, every second; where the kernel does not tell what is needed (not Linux), this does nothing."""
        if Path("/proc/self/fd").is_dir() and hasattr(socket, "TCP_INFO"):
            self._thread.start()

    def close(self) -> None:
        """Stop looking."""
        self._stopping.set()

    def _watch(self) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            oldest = min(tuple(self._bodies.reading.values()), default=None)
            if oldest is not None and time.monotonic() - oldest > self._seconds:
                self.end()

    def end(self) -> None:
        """Shut the receiving half of every connection on which nothing was sent for ``seconds``."""
        ended = sum(map(self._end, _own_sockets()))
        _log.warning("%d connections with a body that did not arrive, or idle, were ended", ended)

    def _end(self, connection: socket.socket) -> bool:
        with connection:
            try:
                if connection.getsockname()[1] != self._port:
                    return False
                state = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_SENT + 4)
                (silent_ms,) = struct.unpack_from("=I", state, _LAST_DATA_SENT)
                if state[0] != _ESTABLISHED or silent_ms < self._seconds * 1000:
                    return False
                connection.shutdown(socket.SHUT_RD)
            except (OSError, IndexError):
                # It closed meanwhile, or is none of TCP.
                return False
        return True


def _own_sockets() -> Iterator[socket.socket]:
    """Every socket of this process, each as a duplicate to be closed."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208  # names, not paths, are needed
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):  # noqa: PTH115  # no file to resolve
                yield socket.socket(fileno=os.dup(int(name)))
        except OSError:
            # Closed meanwhile.
            continue
