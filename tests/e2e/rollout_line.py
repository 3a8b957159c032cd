"""What a rollout acts on: a model server that can be spoiled, two gateways, and users who keep asking."""

import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from headway_contract.model_repository import ModelRepository
from headway_serving.adapters.files.routes import read_routes
from headway_serving.core.routing import ModelRoutes
from tests.e2e.faulty_model_server import Faults, faulty_model_server
from tests.e2e.running import HEADWAY, Served, serving
from tests.support.threads import Repeating

QUICK = ("--shadow", "0", "--interval", "1", "--min-samples", "40", "--patience", "60", "--max-latency-ratio", "4",
         "--max-work-ratio", "4")  # fmt: skip
"""Seconds instead of minutes. Latency hardly counts: on a machine that runs other tests too no two arms are alike."""


@dataclass
class Line:
    """``served`` asks the model server through ``faults``, ``other`` asks it directly; both follow ``routes.json``."""

    repository: ModelRepository
    model: str
    pictures: list[bytes]
    served: Served
    other: Served
    faults: Faults
    model_server: str

    def routes(self) -> ModelRoutes:
        return read_routes(self.repository.root / "routes.json").of(self.model)

    def loaded(self) -> str:
        return (self.repository.root / "models.config").read_text()

    def command(self, verb: str, *flags: str) -> list[str]:
        command = [*HEADWAY, "rollout", verb, self.model, "--repository", str(self.repository.root), *flags]
        if verb in ("start", "resume", "verify", "report"):
            command += ["--gateway", self.served.url]
        if verb in ("start", "verify"):
            command += ["--model-server", self.model_server]
        return command

    def rollout(self, verb: str, *flags: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(verb, *flags), capture_output=True, text=True, timeout=200, check=False)

    def controller(self, verb: str, *flags: str) -> subprocess.Popen[str]:
        """The command, running."""
        return subprocess.Popen(self.command(verb, *flags), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@contextmanager
def line_of(repository: ModelRepository, model: str, pictures: list[bytes], folder: Path) -> Iterator[Line]:
    """Serve the repository. ``folder``: for the logs."""
    faults = Faults()
    with (
        serving(repository.root, folder / "model-server.log") as models,
        faulty_model_server(f"127.0.0.1:{models.grpc_port}", faults) as address,
        serving(repository.root, folder / "gateway.log", "--model-server", address) as served,
    ):
        yield Line(repository, model, pictures, served, models, faults, address)


class Users(Repeating):
    """People who keep asking for pictures of every class, each request under a key of its own; their answers.

    ``gateways``: whom they ask, in turn; ``seconds``: how long they waited, by the version that answered.
    """

    def __init__(self, line: Line, count: int = 6, gateways: Sequence[Served] = ()) -> None:
        super().__init__(count)
        self.refusals: list[str] = []
        self.seconds: dict[int, list[float]] = defaultdict(list)
        self.failures: list[Exception] = []
        self._line = line
        self._gateways = gateways or [line.served]
        self._lock = threading.Lock()

    def run(self, number: int, /) -> None:
        asked = 0
        with httpx.Client(timeout=30) as http:
            while not self.stopping.is_set():
                asked += 1
                url = f"{self._gateways[asked % len(self._gateways)].url}/v1/models/{self._line.model}:classify"
                headers = {"Content-Type": "image/png", "X-Routing-Key": f"user-{number}-{asked}"}
                picture = self._line.pictures[asked % len(self._line.pictures)]
                began = time.monotonic()
                try:
                    answer = http.post(url, content=picture, headers=headers)
                except httpx.HTTPError as error:
                    self.failures.append(error)
                    continue
                seconds = time.monotonic() - began
                with self._lock:
                    if answer.status_code == 200:
                        self.seconds[answer.json()["version"]].append(seconds)
                    else:
                        self.refusals.append(f"after {seconds:.3f} s: {answer.status_code} {answer.text}")

    def check_unharmed(self) -> None:
        assert self.failures == []
        assert self.refusals == []
