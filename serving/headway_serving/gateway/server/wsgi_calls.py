"""A request as WSGI has it (PEP 3333), and a WSGI application's answer to it."""

import io
import sys
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

from headway_serving.gateway.requests.exchange import Answer
from headway_serving.gateway.requests.identity import RECEIVED_AT
from headway_serving.gateway.server.reading import Request

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class _FailingBody:
    """A body that is an error: whoever reads it gets that, so that it is answered and counted like any other."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def read(self, *_: object) -> bytes:
        """Raise it."""
        raise self._error


def call_wsgi(application: Application, request: Request, address: tuple[str, int]) -> Answer:
    """The application's answer, complete. ``address``: where the server listens."""
    status, headers = "", list[tuple[str, str]]()

    def start_response(line: str, said: list[tuple[str, str]], *_: object) -> None:
        nonlocal status, headers
        status, headers = line, said

    parts = application(_environ(request, address), start_response)
    try:
        body = b"".join(parts)
    finally:
        if hasattr(parts, "close"):
            parts.close()
    if request.method != b"HEAD":
        headers = [each for each in headers if each[0].lower() != "content-length"]
    return Answer(int(status[:3]), headers, body)


def _environ(request: Request, address: tuple[str, int]) -> dict[str, Any]:
    path, _, query = request.target.partition(b"?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method.decode("latin-1"),
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query.decode("latin-1"),
        "SERVER_NAME": address[0],
        "SERVER_PORT": str(address[1]),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(request.body) if request.error is None else _FailingBody(request.error),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        RECEIVED_AT: request.received_at,
    }
    for name, value in request.headers:
        key, text = _variable(name), value.decode("latin-1")
        # RFC 9110, 5.3: of a name that comes twice, the values are one list.
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    # What came counts, not what the header says: a body that failed has no length.
    environ.pop("CONTENT_LENGTH", None)
    if request.error is None and (request.body or b"content-length" in request.values):
        environ["CONTENT_LENGTH"] = str(len(request.body))
    return environ


def _variable(name: bytes) -> str:
    variable = name.decode("latin-1").upper().replace("-", "_")
    return variable if variable in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{variable}"
