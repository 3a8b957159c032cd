"""Gateways and model servers are restarted and scaled under load, behind nginx, and no request is lost."""

import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.nginx import needs_nginx, nginx
from tests.fakes.scripted_models import scripted_version
from tests.integration.gateway.live_gateway import COMMAND, environment_of
from tests.integration.gateway.scripted_model_server import serving
from tests.support.contract_examples import encoded
from tests.support.ports import free_port
from tests.support.waiting import eventually

CALLERS = 4
MOST = 4


@dataclass
class Load:
    """What callers who ask without a pause got: how many of each status, or of each error."""

    outcomes: Counter[str] = field(default_factory=Counter)
    over: threading.Event = field(default_factory=threading.Event)

    def answered(self) -> int:
        return self.outcomes["200"]

    def go_on(self, more: int = 60) -> None:
        """Return when so many further requests have been answered."""
        wanted = self.answered() + more
        eventually(lambda: self.answered() >= wanted, f"{more} more answers; so far {self.outcomes}")


def _ask(port: int, picture: bytes) -> str:
    """The status of one classification, or its error. On a connection of its own: nginx ends idle ones as it likes."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", "/v1/models/digits:classify", picture, {"Content-Type": "image/png"})
        answer = connection.getresponse()
        body = answer.read()
        return "200" if answer.status == 200 else f"{answer.status} {body!r}"
    except (OSError, HTTPException) as error:
        return repr(error)
    finally:
        connection.close()


@contextmanager
def load(port: int, picture: bytes) -> Iterator[Load]:
    seen = Load()

    def ask() -> None:
        while not seen.over.wait(0.01):
            seen.outcomes[_ask(port, picture)] += 1

    threads = [threading.Thread(target=ask) for _ in range(CALLERS)]
    for each in threads:
        each.start()
    try:
        yield seen
    finally:
        seen.over.set()
        for each in threads:
            each.join(60)


class Gateways:
    """Gateway processes by number, each on a port of its own."""

    def __init__(self, folder: Path, target: str) -> None:
        self._folder, self._target = folder, target
        self._ports = [free_port() for _ in range(MOST)]
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, number: int) -> None:
        folder = self._folder / f"gateway-{number}"
        folder.mkdir(exist_ok=True)
        port = self._ports[number]
        environment = environment_of(folder, self._target, port, ROUTES_POLL_SECONDS=0.2, LOG_LEVEL="error")
        self._running[number] = subprocess.Popen(COMMAND, env=environment)
        eventually(lambda: _ready(port), f"gateway {number} is ready")

    def stop(self, number: int) -> int:
        process = self._running.pop(number)
        process.terminate()
        return process.wait(60)

    def ports(self, without: int | None = None) -> list[int]:
        return [self._ports[number] for number in sorted(self._running) if number != without]

    def wait_until_connected(self, address: str) -> None:
        """Return when every gateway has found a model server (again): they try every second."""

        def connected(process: psutil.Process) -> bool:
            found = (each for each in process.net_connections("tcp") if each.status == psutil.CONN_ESTABLISHED)
            # gRPC's sockets are of IPv6, and write addresses of IPv4 as ::ffff:127.0.0.1.
            return any(f"{each.raddr.ip}:{each.raddr.port}".endswith(address) for each in found)

        processes = [psutil.Process(each.pid) for each in self._running.values()]
        eventually(lambda: all(map(connected, processes)), f"every gateway is connected to {address}")

    def close(self) -> None:
        for number in list(self._running):
            self.stop(number)


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


class ModelServers:
    """Scripted model servers by number; each keeps its address when it is started again."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.addresses = [f"127.0.0.{1 + number}:{free_port()}" for number in range(MOST)]
        self._running: dict[int, Any] = {}

    @property
    def target(self) -> str:
        """Of all that there may ever be: gRPC calls those that are there."""
        return "ipv4:" + ",".join(self.addresses)

    def start(self, number: int) -> None:
        models = {"digits": {version: scripted_version() for version in (1, 2, 3)}}
        _, server = self._stack.enter_context(serving(models, as_content=True, target=self.addresses[number]))
        self._running[number] = server

    def stop(self, number: int) -> None:
        # As the embedded model server does on SIGTERM: what it has begun is answered.
        self._running.pop(number).stop(grace=10).wait()


@needs_nginx
def test_no_request_is_lost_while_everything_is_restarted_and_scaled(tmp_path: Path) -> None:
    picture = encoded(_blank(), "PNG")
    with ExitStack() as stack:
        servers = ModelServers(stack)
        gateways = Gateways(tmp_path, servers.target)
        stack.callback(gateways.close)
        for number in range(2):
            servers.start(number)
        for number in range(2):
            gateways.start(number)
        front = stack.enter_context(nginx(tmp_path, gateways.ports()))
        with load(front.port, picture) as seen:
            seen.go_on()
            # Each restarted in turn. A gateway leaves the load balancer first, as a pod leaves its Service.
            for number in range(2):
                front.use(gateways.ports(without=number))
                assert gateways.stop(number) == 0
                gateways.start(number)
                front.use(gateways.ports())
                seen.go_on()
            for number in range(2):
                servers.stop(number)
                seen.go_on()
                servers.start(number)
                # Only then may the other be stopped.
                gateways.wait_until_connected(servers.addresses[number])
                seen.go_on()
            # 2 -> 4 -> 1 of each.
            for number in (2, 3):
                servers.start(number)
                gateways.start(number)
            front.use(gateways.ports())
            seen.go_on(200)
            for number in (3, 2, 1):
                front.use(gateways.ports(without=number))
                assert gateways.stop(number) == 0
                servers.stop(number)
                seen.go_on()
    assert set(seen.outcomes) == {"200"}, seen.outcomes


def _blank() -> Any:
    from PIL import Image

    return Image.new("L", (28, 28))


@pytest.mark.parametrize("target", ["ipv4:127.0.0.1:1,127.0.0.2:1", "dns:///localhost:1"])
def test_the_forms_of_a_target_are_documented(target: str) -> None:
    from tests.k8s.manifests import ROOT

    row = next(
        line for line in (ROOT / "docs/reference.md").read_text().splitlines() if "`HEADWAY_MODEL_SERVER` |" in line
    )
    assert target.partition(":")[0] + ":" in row
