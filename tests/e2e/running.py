"""Starts and asks real Headway processes, as a person would from a shell."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from tests.support.ports import free_port
from tests.support.waiting import eventually

HEADWAY = [sys.executable, "-m", "headway_client.cli"]
START_SECONDS = 90


def headway(*arguments: str | Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run one ``headway`` command to its end."""
    command = [*HEADWAY, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


@dataclass
class Served:
    """A running ``headway serve``."""

    process: subprocess.Popen[str]
    url: str
    grpc_port: int
    log: Path

    def children(self, module: str) -> list[psutil.Process]:
        """The direct children that run a module of Headway."""
        return [
            child
            for child in psutil.Process(self.process.pid).children()
            if child.status() != psutil.STATUS_ZOMBIE and module in child.cmdline()
        ]

    def child(self, module: str) -> psutil.Process:
        (found,) = self.children(module)
        return found

    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def classify(self, model: str, picture: bytes, **query: object) -> httpx.Response:
        return httpx.post(
            f"{self.url}/v1/models/{model}:classify",
            content=picture,
            headers={"Content-Type": "image/png"},
            params={key: str(value) for key, value in query.items()},
            timeout=30,
        )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@contextlib.contextmanager
def serving(
    repository: Path, log: Path, *flags: str, environment: Mapping[str, str] | None = None, errors: Path | None = None
) -> Iterator[Served]:
    """Run ``headway serve`` on free ports until it says that it serves; stop it afterwards.

    ``errors``: a file for standard error alone.
    """
    port, grpc_port = free_port(), free_port()
    command = [*HEADWAY, "serve", "--repository", str(repository), "--port", str(port), "--grpc-port", str(grpc_port)]
    log.write_text("")
    # Both at the end: of one file, one would else write over the other.
    with log.open("a") as stream, (errors or log).open("a") as error_stream:
        process = subprocess.Popen(
            [*command, *flags], stdout=stream, stderr=error_stream, text=True, env={**os.environ, **(environment or {})}
        )
        served = Served(process, f"http://127.0.0.1:{port}", grpc_port, log)
        try:
            eventually(
                lambda: process.poll() is not None or re.search(r"^Serving ", log.read_text(), re.MULTILINE),
                f"headway serve is ready; its log: {log}",
            )
            assert process.poll() is None, log.read_text()
            yield served
        finally:
            if process.poll() is None:
                served.stop()
