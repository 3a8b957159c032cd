"""A real ``headway-gateway`` process in front of a scripted model server, and raw connections to it."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from headway_serving.adapters.files.routes import write_routes
from headway_serving.core.routing import RouteTable
from tests.fakes.scripted_models import ScriptedVersion, scripted_version
from tests.integration.gateway.gateway_under_test import DIGITS
from tests.integration.gateway.scripted_model_server import serving
from tests.support.ports import free_port
from tests.support.waiting import eventually

COMMAND = [sys.executable, "-m", "headway_serving.gateway"]


@dataclass
class LiveGateway:
    """A running gateway; ``admin_port`` is 0 if it has none of its own."""

    process: subprocess.Popen[bytes]
    port: int
    admin_port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def memory(self) -> int:
        """Bytes of RAM that the process has."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def raw(self, request: bytes) -> bytes:
        """Everything that comes back for bytes sent as they are, until the server closes the connection."""
        with self.connect() as connection:
            received = b""
            with contextlib.suppress(OSError):
                connection.sendall(request)
                while piece := connection.recv(65536):
                    received += piece
            return received


def environment_of(folder: Path, target: str, port: int, **settings: object) -> dict[str, str]:
    write_routes(folder / "routes.json", RouteTable({"digits": DIGITS}))
    values = {"PORT": port, "MODEL_SERVER": target, "ROUTES_FILE": folder / "routes.json", **settings}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HEADWAY_")}
    return clean | {f"HEADWAY_{name}": str(value) for name, value in values.items()}


@contextlib.contextmanager
def live_gateway(
    folder: Path,
    command: Sequence[str] = COMMAND,
    descriptors: int | None = None,
    versions: Mapping[int, ScriptedVersion] | None = None,
    **settings: object,
) -> Iterator[LiveGateway]:
    """Start both, wait until the gateway is ready, and stop it afterwards; ``settings``: ``MAX_IMAGES=3``.

    ``command`` starts the gateway; ``descriptors``: how many files it may have open; ``versions``: of model digits.
    """
    limited = [] if descriptors is None else ["prlimit", f"--nofile={descriptors}:{descriptors}"]
    models = {"digits": versions or {number: scripted_version() for number in (1, 2, 3)}}
    with serving(models, as_content=True) as (target, _), (folder / "log").open("wb") as log:
        port = free_port()
        process = subprocess.Popen(
            [*limited, *command], stderr=log, env=environment_of(folder, target, port, **settings)
        )
        admin_port = settings.get("ADMIN_PORT", 0)
        assert isinstance(admin_port, int)
        gateway = LiveGateway(process, port, admin_port, folder / "log")
        try:
            eventually(lambda: process.poll() is not None or gateway.ready(), "the gateway is ready")
            assert process.poll() is None, gateway.log.read_text()
            yield gateway
        finally:
            process.terminate()
            process.wait(60)


def response_on(connection: socket.socket) -> bytes:
    """One response, complete: its head and as much body as its Content-Length says."""
    received = b""
    while b"\r\n\r\n" not in received or len(received) < _length_of(received):
        piece = connection.recv(65536)
        assert piece, f"closed after {received!r}"
        received += piece
    return received[: _length_of(received)]


def _length_of(response: bytes) -> int:
    head = response[: response.index(b"\r\n\r\n")].lower()
    (length,) = [line.partition(b":")[2] for line in head.split(b"\r\n") if line.startswith(b"content-length:")]
    return len(head) + 4 + int(length)


def problem_in(response: bytes) -> tuple[int, str]:
    """Status and problem code of a raw response."""
    head, _, body = response.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), json.loads(body)["code"] if b"problem+json" in head else ""
