"""The services that are compared: Headway, and the plain ones with TensorFlow in the web process."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import httpx

from benchmarks.cases import Case
from benchmarks.models import HEADWAY
from benchmarks.shared_bench import ROOT, CannotMeasure, SharedBench

_START_SECONDS = 180.0
_STOP_SECONDS = 30.0


@dataclass(frozen=True)
class System:
    """A service as it is started and asked.

    ``marker``: what stands before the answer's best label. ``health``: a path that answers 200 once it serves.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    port: int
    health: str
    path: str
    marker: str

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"http://127.0.0.1:{self.port}"


def headway(case: Case, models: Path, *, float32: bool = False) -> System:
    """``headway serve`` as a user starts it; ``float32``: with ``--mixed-precision off``."""
    port, grpc_port = free_ports(2)
    command = [*HEADWAY, "serve", "--repository", str(models), "--port", str(port), "--grpc-port", str(grpc_port)]
    name = "Headway"
    if float32:
        command += ["--mixed-precision", "off"]
        name = f"{name} float32"
    return System(name, command, {}, port, "/readyz", f"/v1/models/{case.model}:classify", '"label":')


def baselines(bench: SharedBench, version: Path, packages: Path) -> list[System]:
    """The shared plain services on the same exported version, each as it was fastest on two cores."""
    python_path = os.pathsep.join(map(str, (packages, bench.folder, ROOT)))
    environment = {"PYTHONPATH": python_path, "BASELINE_MODEL": str(version), "BASELINE_INTRA": "1"}
    if not (packages / "fastapi").is_dir():
        raise CannotMeasure(f"the plain services' packages are not in {packages}; start the benchmark with make bench")
    fastapi_port, flask_port = free_ports(2)
    uvicorn = ["uvicorn", "--workers", "2", "--no-access-log", "--log-level", "warning", "--port", str(fastapi_port)]
    # The keep-alive of 2 seconds that gunicorn has by default would close connections while others are measured.
    gunicorn = ["gunicorn", "-k", "gthread", "-w", "2", "--threads", "4", "-b", f"127.0.0.1:{flask_port}"]
    run = [sys.executable, "-m"]
    ask = ("/health", "/predict", '"class":')
    return [
        System("FastAPI", [*run, *uvicorn, "benchmarks.baseline_apps:fastapi_app"], environment, fastapi_port, *ask),
        System("Flask", [*run, *gunicorn, "benchmarks.baseline_apps:flask_app"], environment, flask_port, *ask),
    ]


class Running:
    """A started system; leaving the ``with`` block stops it and all that it has started."""

    def __init__(self, system: System, log: Path) -> None:
        self.system = system
        self._log_path = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                list(system.command),
                env=os.environ | system.environment,
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the process that all others of the system descend from."""
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Return once it serves. Raises :class:`CannotMeasure` if it ends before, or takes minutes."""
        ends = time.monotonic() + _START_SECONDS
        while self._process.poll() is None and time.monotonic() < ends:
            try:
                if httpx.get(self.system.url + self.system.health, timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        raise CannotMeasure(f"{self.system.name} does not serve; its last words are in {self._log_path}")

    def __enter__(self) -> "Running":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def free_ports(count: int) -> list[int]:
    """So many different TCP ports of the loopback address that nothing uses now."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
