"""What a rollout on a cluster acts on: an API server, two gateways that watch, two model servers that follow files."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from headway_contract.model_repository import ModelRepository
from headway_serving.adapters.files.routes import format_routes, parse_routes
from headway_serving.core.rollout_state import RolloutStatus
from headway_serving.core.routing import ModelRoutes, RouteTable
from headway_serving.operations.models_config import format_models_config
from tests.e2e.faulty_model_server import Faults, faulty_model_server
from tests.e2e.rollout_line import Line
from tests.e2e.running import HEADWAY, Served
from tests.support.kubelet import Kubelet
from tests.support.kubernetes_api import KubernetesApi, kubernetes_api
from tests.support.ports import free_port
from tests.support.waiting import eventually

ROUTES, CONFIG = ("headway", "headway-routes"), ("headway", "headway-models-config")
OTHER = "digits-5to9"

_QUICKER = (
    "from headway_serving.adapters.kubernetes import reservations as r; r.SECONDS, r.RENEW_SECONDS = 2.0, 0.4; "
    "r.LOOK_SECONDS = 0.2; import sys; from headway_client.cli import main; sys.exit(main())"
)
"""The command of a controller, whose successor waits for two seconds instead of fifteen."""


@dataclass
class ClusterLine(Line):
    """A line whose documents are ConfigMaps of ``api``; ``servers``: its model servers."""

    api: KubernetesApi
    kubeconfig: Path
    servers: tuple[str, ...]

    @property
    def gateways(self) -> tuple[Served, Served]:
        return self.served, self.other

    def table(self) -> RouteTable:
        return parse_routes(self.api.text(*ROUTES, "routes.json"))

    def routes(self) -> ModelRoutes:
        return self.table().of(self.model)

    def loaded(self) -> str:
        return self.api.text(*CONFIG, "models.config")

    def command(self, verb: str, *flags: str) -> list[str]:
        command = [*HEADWAY, "rollout", verb, self.model, "--kubernetes", "headway", *flags]
        command += ["--repository", str(self.repository.root)]
        if verb in ("start", "resume", "verify", "report"):
            command += [part for each in self.gateways for part in ("--gateway", each.url)]
        if verb in ("start", "verify"):
            command += [part for each in self.servers for part in ("--model-server", each)]
        return [sys.executable, "-c", _QUICKER, *command[len(HEADWAY) :]]

    def shown(self, gateway: Served) -> dict[str, object]:
        """What a gateway says of the model's routes."""
        document: dict[str, object] = httpx.get(f"{gateway.url}/v1/models/{self.model}", timeout=10).json()
        return document


class InForce(threading.Thread):
    """Measures how long after a roll back was written to the API each gateway has no candidate any more."""

    def __init__(self, line: ClusterLine) -> None:
        super().__init__(daemon=True)
        self.seconds: dict[str, float] = {}
        self._line = line

    def run(self) -> None:
        def rolled_back() -> bool:
            rollout = self._line.routes().rollout
            return rollout is not None and rollout.status is RolloutStatus.ROLLED_BACK

        eventually(rolled_back, "it is rolled back", 200)
        began = time.monotonic()
        for gateway in self._line.gateways:
            eventually(lambda: self._line.shown(gateway)["candidate"] is None, "it is in force")  # noqa: B023
            self.seconds[gateway.url] = time.monotonic() - began


@contextlib.contextmanager
def cluster_line(repository: ModelRepository, model: str, pictures: list[bytes], folder: Path) -> Iterator[ClusterLine]:
    """Serve the repository's first versions. ``folder``: for mounted files and logs."""
    table, faults = RouteTable({model: ModelRoutes(1), OTHER: ModelRoutes(1)}), Faults()
    with contextlib.ExitStack() as stack:
        api = stack.enter_context(kubernetes_api())
        api.create(*ROUTES, {"routes.json": format_routes(table)})
        api.create(*CONFIG, {"models.config": format_models_config(repository, table)})
        stack.enter_context(Kubelet(api, "headway", (ROUTES[1], CONFIG[1]), folder, seconds=1.0))
        ports = [stack.enter_context(_model_server(folder, number)) for number in range(2)]
        servers = tuple(stack.enter_context(faulty_model_server(f"127.0.0.1:{port}", faults)) for port in ports)
        kubeconfig = api.kubeconfig(folder)
        settings = {
            "KUBECONFIG": str(kubeconfig),
            "HEADWAY_ROUTES": "kubernetes:headway/headway-routes",
            "HEADWAY_ROUTES_FILE": str(folder / ROUTES[1] / "routes.json"),
            "HEADWAY_MODEL_SERVER": f"ipv4:{','.join(servers)}",
        }
        one, other = (stack.enter_context(_gateway(folder, number, settings)) for number in range(2))
        line = ClusterLine(repository, model, pictures, one, other, faults, servers[0], api, kubeconfig, servers)
        yield line


@contextlib.contextmanager
def _model_server(folder: Path, number: int) -> Iterator[int]:
    port = free_port()
    flags = {
        "port": port,
        "rest_api_port": 0,
        "model_config_file": folder / CONFIG[1] / "models.config",
        "model_config_file_poll_wait_seconds": 1,
        "file_system_poll_wait_seconds": 1,
    }
    command = [sys.executable, "-m", "headway_serving.modelserver", *(f"--{name}={flags[name]}" for name in flags)]
    with (folder / f"model-server-{number}.log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            yield port
        finally:
            process.terminate()


@contextlib.contextmanager
def _gateway(folder: Path, number: int, settings: dict[str, str]) -> Iterator[Served]:
    port, path = free_port(), folder / f"gateway-{number}.log"
    environment = {**os.environ, **settings, "HEADWAY_PORT": str(port)}
    command = [sys.executable, "-m", "headway_serving.gateway"]
    with path.open("w") as log, subprocess.Popen(command, stderr=log, text=True, env=environment) as process:
        served = Served(process, f"http://127.0.0.1:{port}", 0, path)
        try:
            eventually(
                lambda: process.poll() is not None or served.ready(), f"the gateway is ready; its log: {path}", 180
            )
            assert process.poll() is None, path.read_text()
            yield served
        finally:
            process.terminate()
