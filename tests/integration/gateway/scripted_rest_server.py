"""A model server's REST port that answers what it is told, over real sockets, and remembers what it was asked."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class ScriptedRest:
    """What every request is answered: ``status``, ``content_type`` and ``body``; with ``hangs``, nothing.

    ``answer`` makes the body of the request's. ``status_of``: another status for a path. ``asked``: path and body of
    each request. ``connections``: how many were opened.
    """

    status: int = 200
    content_type: str = "application/json"
    body: bytes = b'{\n    "predictions": [[0.25, 0.75]]\n}'
    answer: Callable[[bytes], bytes] | None = None
    hangs: bool = False
    status_of: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, bytes]] = field(default_factory=list)
    connections: int = 0
    url: str = ""
    released: threading.Event = field(default_factory=threading.Event)


@contextmanager
def rest_server() -> Iterator[ScriptedRest]:
    """Run one on a free port."""
    script, sockets = ScriptedRest(), list[socket.socket]()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            script.connections += 1
            sockets.append(self.request)
            super().setup()

        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            script.asked.append((self.path, body))
            if script.hangs:
                script.released.wait(30)
                return
            self.send_response(script.status_of.get(self.path, script.status))
            self.send_header("Content-Type", script.content_type)
            answer = script.body if script.answer is None else script.answer(body)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    script.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield script
    finally:
        script.released.set()
        server.shutdown()
        server.server_close()
        for each in sockets:
            with contextlib.suppress(OSError):  # closed already
                each.shutdown(socket.SHUT_RDWR)
