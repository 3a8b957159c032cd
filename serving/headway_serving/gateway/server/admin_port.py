"""The admin port: a second, small HTTP server in the process that answers, because that is where the metrics are.

A scrape every few seconds needs no worker pool, so it is the standard library's server with a thread for each
connection. It stops with the process: a scrape in flight is finished, a new one is refused.
"""

import atexit
import socket
import threading
from collections.abc import Callable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

_IDLE_SECONDS = 5.0


class AdminServer:
    """A WSGI application on ``host``:``port``, answered by threads of this process."""

    def __init__(self, host: str, port: int, application: Callable[..., Any]) -> None:
        """Bind. Raises OSError if the port cannot be had."""
        self._server = _server_class(host)((host, port), _Handler)
        self._server.set_app(application)
        self._thread = threading.Thread(target=self._server.serve_forever, name="admin-port", daemon=True)

    @property
    def port(self) -> int:
        """The TCP port that is listened on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to answer, and stop when this process ends."""
        self._thread.start()
        atexit.register(self.close)

    def close(self) -> None:
        """Take no more requests and let those in flight finish."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingMixIn, WSGIServer):
    # Closing waits for the threads of requests, each of which ends by the handler's timeout at the latest.
    daemon_threads = False
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is no error; the application answers its own as problems."""


class _Server6(_Server):
    address_family = socket.AF_INET6


def _server_class(host: str) -> type[_Server]:
    return _Server6 if ":" in host else _Server


class _Handler(WSGIRequestHandler):
    timeout = _IDLE_SECONDS

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing: a scrape is no event, and its request line is the client's text."""

    def address_string(self) -> str:
        """The client's address, without asking a name server for its name."""
        return str(self.client_address[0])
