"""One run of the load generator against one system."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import psutil

from benchmarks.systems import System

T = TypeVar("T")


@dataclass(frozen=True)
class Load:
    """``connections`` that each send as soon as they are answered; or ``rate`` requests a second, answered or not."""

    connections: int
    seconds: float
    warm_up: float = 1.0
    rate: float | None = None


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What the load generator saw in its measured window.

    ``rate``: right answers a second. ``p50_ms``, ``p99_ms``: latency of right answers; under open load counted from the
    moment a request was due, and with those still unanswered at the end. ``wrong``: answers 200 with another label.
    ``refused``: other status codes. ``broken``: lost connections and time-outs. ``example``: the first not right.
    ``before``, ``after``: samples taken at the window's edges.
    """

    right: int
    rate: float
    p50_ms: float
    p99_ms: float
    wrong: int
    refused: int
    broken: int
    example: str
    before: T
    after: T


def run_load(loadgen: Path, system: System, corpus: Path, load: Load, sample: Callable[[], T]) -> Outcome[T]:
    """Put ``load`` on ``system`` with ``corpus``; ``sample`` as the measured window opens and closes."""
    command = [str(loadgen), "-p", str(system.port), "-f", str(corpus), "-m", system.marker]
    command += ["-c", str(load.connections), "-w", str(load.warm_up), "-d", str(load.seconds)]
    if load.rate is not None:
        command += ["-R", str(load.rate), "-P"]
    edges: list[T] = []
    report: dict[str, Any] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(("START", "END")):
                edges.append(sample())
            else:
                report = json.loads(line)
    before, after = edges
    return Outcome(
        right=report["ok"],
        rate=report["rps"],
        # Without a right answer there are no latencies.
        p50_ms=report.get("p50_ms", float("nan")),
        p99_ms=report.get("p99_ms", float("nan")),
        wrong=report["wrong"],
        refused=report["bad_status"],
        broken=report["sock_err"] + report["timeouts"],
        example=report["first_bad"],
        before=before,
        after=after,
    )


def cpu_seconds(pid: int) -> float:
    """User and system seconds of a process and all its descendants that live."""
    root = psutil.Process(pid)
    return sum(
        times.user + times.system for times in (each.cpu_times() for each in (root, *root.children(recursive=True)))
    )
