"""Between the HTTP server's event loop and the WSGI application: where each request is worked on.

* A posted picture is classified on the loop's own thread, as a greenlet (``adapters.event_loop``): no switch between
  threads is needed for it, and those cost more than all the work on a small picture. (One that came in one piece never
  gets here: ``gateway.http_server`` has it answered.)
* All else (forms, JSON, pages, metrics) goes to a pool of threads, where code may block.

Either gets a request only when its body is complete, so that a slow client holds up nothing but itself.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import unquote_to_bytes

from werkzeug.exceptions import ClientDisconnected

from headway_serving.concurrency import event_loop
from headway_serving.gateway.requests.identity import RECEIVED_AT
from headway_serving.gateway.server.bodies import BodyReader, NotRead, Receive
from headway_serving.gateway.server.early_refusals import EarlyRefusals
from headway_serving.gateway.server.picture_posts import PicturePost, PicturePosts

BODY_IS_HERE = "headway.body_is_here"
"""Among the ASGI extensions of a request whose body has come with its headers."""

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[dict[str, Any], Any], Iterable[bytes]]
Answer = tuple[int, list[tuple[bytes, bytes]], bytes]


@dataclass(frozen=True)
class FrontDoor:
    """An ASGI application around a WSGI one.

    ``refusals`` is for the HTTP server, which asks before it reads on.
    """

    application: Application
    posts: PicturePosts
    threads: Executor
    bodies: BodyReader
    refusals: EarlyRefusals

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        environ = _environ(scope)
        post = self.posts.opened(scope["method"].encode(), _target(scope), scope["headers"])
        held = await self.bodies.read(environ, receive, is_here=BODY_IS_HERE in scope.get("extensions", ()))
        try:
            if post is not None:
                status, headers, body = await event_loop.run(partial(_answer_post, self.posts, post, environ))
            else:
                loop = asyncio.get_running_loop()
                status, headers, body = await loop.run_in_executor(self.threads, _answer, self.application, environ)
        finally:
            self.bodies.release(held)
        if isinstance(environ["wsgi.input"], NotRead):
            # The rest of the body may still come, and would be taken for the next request.
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _target(scope: MutableMapping[str, Any]) -> bytes:
    path, query = scope["raw_path"], scope["query_string"]
    return b"%b?%b" % (path, query) if query else bytes(path)


def _answer_post(posts: PicturePosts, post: PicturePost, environ: dict[str, Any]) -> Answer:
    def read() -> bytes:
        body: bytes = environ["wsgi.input"].read(post.length)
        if len(body) < post.length:
            raise ClientDisconnected
        return body

    answer = posts.answer(post, read)
    return answer.status, _encoded([*answer.headers, ("content-length", str(len(answer.body)))]), answer.body


def _encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def _environ(scope: MutableMapping[str, Any]) -> dict[str, Any]:
    """The request as WSGI has it (PEP 3333), its body left out."""
    host, port = scope["server"] or ("", 0)
    client = scope["client"]
    environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": client[0] if client else "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        RECEIVED_AT: time.monotonic(),
    }
    for name, value in scope["headers"]:
        key, text = _variable(name), value.decode("latin-1")
        # RFC 9110, 5.3: of a name that comes twice, the values are one list.
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    return environ


def _variable(name: bytes) -> str:
    variable = name.decode("latin-1").upper().replace("-", "_")
    return variable if variable in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{variable}"


def _answer(application: Application, environ: dict[str, Any]) -> Answer:
    """Call the WSGI application: status, headers, and the whole body."""
    said: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], *_: object) -> None:
        said[:] = (status, headers)

    parts = application(environ, start_response)
    try:
        body = b"".join(parts)
    finally:
        if hasattr(parts, "close"):
            parts.close()
    status, headers = said
    return int(status[:3]), _encoded(headers), body
