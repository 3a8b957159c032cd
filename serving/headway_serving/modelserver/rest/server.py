"""The sockets of the REST API: HTTP/1.1 with a thread for each connection, and a clean end.

Connections stay open between requests. How many requests are worked on at the same time is limited; how many
connections wait is limited too, so that no client can take all threads of the machine.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from headway_serving.modelserver.rest.service import HttpAnswer, RestService

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = (1 << 31) - 1
"""What gRPC accepts."""

MAX_UNPACKED_BYTES = 10 << 20
"""A gzip body when unpacked, as in TensorFlow Serving: a small one may unpack to a thousand times its size."""

MAX_CONNECTIONS = 1000
IDLE_SECONDS = 50.0
"""A connection that neither sends nor takes anything for so long is closed; libevent's limit, too."""

_PIECE_BYTES = 1 << 20
_MAX_CHUNK_LINE_BYTES = 1 << 10
_GZIP = 16 + zlib.MAX_WBITS


class RestServer:
    """Listens on ``port`` of ``address``; an empty one is every address, IPv6 and IPv4.

    ``threads`` requests are worked on at the same time.
    Raises OSError if the port is taken.
    """

    def __init__(self, service: RestService, address: str, port: int, threads: int) -> None:
        self._server = _listen(address, port)
        self._server.service = service
        self._server.slots = threading.BoundedSemaphore(max(threads, 1))

    def start(self) -> None:
        """Answer requests on threads of its own."""
        threading.Thread(target=self._server.serve_forever, name="rest", daemon=True).start()
        logger.info("Exporting HTTP/REST API at:localhost:%d ...", self._server.server_address[1])

    def refuse(self) -> None:
        """Take no new connections, and answer UNAVAILABLE to new requests on those there are."""
        self._server.stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def wait_until_idle(self, until: float) -> bool:
        """Return whether all running requests had ended at ``until`` on the monotonic clock."""
        with self._server.changed:
            return self._server.changed.wait_for(
                lambda: self._server.running == 0, timeout=max(until - time.monotonic(), 0)
            )


class _Server(ThreadingHTTPServer):
    """The listening socket and what the connections share."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128
    service: RestService
    slots: threading.BoundedSemaphore

    def __init__(self, address: tuple[str, int], family: socket.AddressFamily) -> None:
        self.address_family = family
        self.stopping = threading.Event()
        self.changed = threading.Condition()
        self.running = 0
        self._connections = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # Not HTTPServer's: that one asks the name service for the machine's name.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._connections.acquire(blocking=False):
            logger.warning("More than %d REST connections: one is closed", MAX_CONNECTIONS)
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def handle_error(self, _request: Any, client_address: Any) -> None:
        # Clients that vanish or send no HTTP are no errors of the server.
        logger.debug("REST connection of %s ended early", client_address, exc_info=True)

    def answer(self, method: str, target: str, body: bytes, origin: str) -> HttpAnswer:
        """Return the answer to a request when there is a free place to work on it."""
        if self.stopping.is_set():
            text = b'{\n    "error": "The server is shutting down."\n}'
            return HttpAnswer(503, {"Content-Type": "application/json"}, text)
        with self.slots:
            return self.service.answer(method, target, body, origin)

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count a request as running until its answer is written."""
        with self.changed:
            self.running += 1
        try:
            yield
        finally:
            with self.changed:
                self.running -= 1
                self.changed.notify_all()


class _BadBody(Exception):
    """A body that is no HTTP or too large, with the status to answer and, if there is more to say, a text."""

    def __init__(self, status: int, text: str = "") -> None:
        super().__init__(status)
        self.status = status
        self.text = text


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    wbufsize = 1 << 16
    disable_nagle_algorithm = True
    server: _Server

    def answer(self) -> None:
        """Read a request's body, answer it, and keep the connection open if the client does."""
        try:
            body = self._body()
        except _BadBody as error:
            self.close_connection = True
            if not error.text:
                self.send_error(error.status)
                return
            body = json.dumps({"error": error.text}, indent=4).encode()
            self._write(HttpAnswer(error.status, {"Content-Type": "application/json"}, body))
            return
        origin = self.headers.get("Origin", "")
        # http.server reads the request line as Latin-1.
        target = self.path.encode("latin-1").decode("utf-8", "replace")
        with self.server.request():
            reply = self.server.answer(self.command, target, body, origin)
            if self.server.stopping.is_set():
                self.close_connection = True
            self._write(reply)

    do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = answer  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Keep access lines out of the log; requests are counted."""

    def _write(self, reply: HttpAnswer) -> None:
        self.send_response_only(reply.status)
        for name, value in {**reply.headers, "Date": self.date_time_string()}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)
        self.wfile.flush()

    def _body(self) -> bytes:
        codings = self.headers.get_all("Transfer-Encoding", [])
        lengths = self.headers.get_all("Content-Length", [])
        # A proxy in front may have read another of two lengths, and so another request (RFC 9112, 6.3).
        if len(set(lengths)) > 1 or (codings and lengths):
            raise _BadBody(400)
        if codings:
            if [coding.strip().lower() for coding in codings] != ["chunked"]:
                raise _BadBody(400)
            body = self._chunks()
        else:
            body = self._read(self._content_length())
        return _gunzipped(body) if "gzip" in self.headers.get("Content-Encoding", "") else body

    def _content_length(self) -> int:
        text = self.headers.get("Content-Length", "0").strip()
        if not (text.isascii() and text.isdigit()):
            raise _BadBody(400)
        if len(text) > 10 or int(text) > MAX_BODY_BYTES:
            raise _BadBody(413)
        return int(text)

    def _read(self, count: int) -> bytes:
        """Return ``count`` bytes; memory is taken only for what has come."""
        pieces = []
        while count:
            piece = self.rfile.read(min(count, _PIECE_BYTES))
            if not piece:
                raise _BadBody(400)
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)

    def _chunks(self) -> bytes:
        pieces, total = [], 0
        while size := self._chunk_size():
            total += size
            if total > MAX_BODY_BYTES:
                raise _BadBody(413)
            pieces.append(self._read(size))
            if self.rfile.readline(3).rstrip(b"\r\n"):
                raise _BadBody(400)
        while self.rfile.readline(_MAX_CHUNK_LINE_BYTES).rstrip(b"\r\n"):
            pass  # trailers
        return b"".join(pieces)

    def _chunk_size(self) -> int:
        line = self.rfile.readline(_MAX_CHUNK_LINE_BYTES).partition(b";")[0].strip()
        try:
            size = int(line, 16)
        except ValueError as error:
            raise _BadBody(400) from error
        if size < 0:
            raise _BadBody(400)
        return size


def _listen(address: str, port: int) -> _Server:
    if address:
        return _Server((address, port), socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        return _Server(("::", port), socket.AF_INET6)
    except OSError:
        return _Server(("0.0.0.0", port), socket.AF_INET)  # noqa: S104  (as TensorFlow Serving: every address)


def _gunzipped(body: bytes) -> bytes:
    """Return the gunzipped body; as in TensorFlow Serving one that is no gzip counts as empty."""
    decompressor = zlib.decompressobj(_GZIP)
    try:
        plain = decompressor.decompress(body, MAX_UNPACKED_BYTES + 1)
    except zlib.error:
        return b""
    if len(plain) > MAX_UNPACKED_BYTES:
        raise _BadBody(
            413, f"A gzip body may have {MAX_UNPACKED_BYTES} bytes when unpacked. Send larger ones as they are."
        )
    return plain if decompressor.eof else b""
