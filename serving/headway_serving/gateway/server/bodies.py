"""The body of a request, read on the event loop before any code that would have to wait for it.

What is wrong with a body (too late, broken off, too many at once) is raised when the application reads it, so that it
is answered and counted like every other error.
"""

import asyncio
import io
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from werkzeug.exceptions import ClientDisconnected

from headway_serving.core.errors import Overloaded
from headway_serving.gateway.requests.problems import RequestTimeout

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


@dataclass(frozen=True)
class BodyRules:
    """``max_bytes`` of one body, ``max_held_bytes`` of all bodies at the same time, and how long one may take to come.

    ``timeout_ms`` is for requests that ask for no time with ``X-Request-Timeout-Ms``, ``max_timeout_ms`` the most that
    they may ask for; both in milliseconds.
    """

    max_bytes: int
    max_held_bytes: int
    timeout_ms: int
    max_timeout_ms: int

    def seconds(self, environ: MutableMapping[str, Any]) -> float:
        """How long the body of this request may take."""
        text = environ.get("HTTP_X_REQUEST_TIMEOUT_MS", "")
        # One that cannot be used is refused by the endpoint, with the reason.
        asked = int(text) if text.isascii() and text.isdecimal() and len(text) <= 12 else self.timeout_ms
        return min(asked, self.max_timeout_ms) / 1000


class NotRead:
    """A body that is an error: whoever reads it gets that."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def read(self, *_: object) -> bytes:
        """Raise it."""
        raise self._error


class BodyReader:
    """Reads bodies and counts what is held of them; for one event loop, whose thread alone may use it."""

    def __init__(self, rules: BodyRules) -> None:
        self._rules = rules
        self._held = 0

    async def read(self, environ: MutableMapping[str, Any], receive: Receive, *, is_here: bool = False) -> int:
        """Read the body into ``wsgi.input``. Returns the bytes that are held until :meth:`release` is told them.

        A body that says to be larger than allowed is not read: the application refuses it by its length. ``is_here``:
        all of it is known to have come, so that no clock is needed.
        """
        length = environ.get("CONTENT_LENGTH")
        environ["wsgi.input_terminated"] = True
        if length is None:
            to_read = "HTTP_TRANSFER_ENCODING" in environ
        else:
            # Python does not read numbers of thousands of digits.
            to_read = len(length) <= 18 and 0 < int(length) <= self._rules.max_bytes
        if not to_read:
            environ["wsgi.input"] = io.BytesIO()
            return 0
        seconds = self._rules.seconds(environ)
        pieces: list[bytes] = []
        error: Exception | None = None
        try:
            if is_here:
                error = await self._collect(receive, pieces)
            else:
                async with asyncio.timeout(seconds):
                    error = await self._collect(receive, pieces)
        except TimeoutError:
            error = RequestTimeout(
                f"the body did not arrive within the request's {seconds:g} s; send less, or allow more time with "
                "X-Request-Timeout-Ms"
            )
        held = sum(map(len, pieces))
        if error is not None:
            self.release(held)
            environ["wsgi.input"] = NotRead(error)
            return 0
        environ["wsgi.input"] = io.BytesIO(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        return held

    def hold(self, held: int) -> bool:
        """Count a body that is here already; False, and nothing is counted, if there is no room for it."""
        if self._held + held > self._rules.max_held_bytes:
            return False
        self._held += held
        return True

    def release(self, held: int) -> None:
        """So many bytes of a body are needed no more."""
        self._held -= held

    async def _collect(self, receive: Receive, pieces: list[bytes]) -> Exception | None:
        """Fill ``pieces`` to the end of the body, or to where it is too large; or tell why not."""
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return ClientDisconnected()
            piece = message["body"]
            pieces.append(piece)
            size += len(piece)
            self._held += len(piece)
            if not message["more_body"] or size > self._rules.max_bytes:
                return None
            if self._held > self._rules.max_held_bytes:
                return Overloaded("the bodies of the requests that are under way fill the gateway's memory", 1.0)
