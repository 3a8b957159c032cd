"""What being watched costs: Headway that counts, logs and traces beside Headway that does nothing of it, in turn.

*Watched* writes its log as JSON, records and sends one trace in a hundred, and is scraped every 5 s as
OpenMetrics with gzip. The other two also write a line for each classification, or for one in a hundred.
"""

import statistics
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

from benchmarks.cases import CASES
from benchmarks.corpus import ask_alone
from benchmarks.load import Load, cpu_seconds, run_load
from benchmarks.models import make_model
from benchmarks.pictures import make_pictures
from benchmarks.shared_bench import SharedBench
from benchmarks.systems import Running, System, headway
from benchmarks.workbench import Contestant
from headway_contract.model_repository import ModelRepository

RATE_BAR, CPU_BAR = 0.97, 1.03
"""Watched, to not watched: at least this share of the answers a second, at most so many times the CPU for one."""

UNWATCHED, WATCHED = "unwatched", "watched"
_SCRAPE_SECONDS = 5.0
"""Three times as often as usual."""
_ACCEPT = {"Accept": "application/openmetrics-text; version=1.0.0", "Accept-Encoding": "gzip"}


@dataclass(frozen=True)
class Watching:
    """One way of being watched: medians over the rounds, and of the ratios to the unwatched one of the same round."""

    name: str
    rate: float
    cpu_ms: float
    rate_ratio: float
    cpu_ratio: float
    wrong: int


def measure_observability(
    bench: SharedBench, work: Path, rounds: int, seconds: float, *, with_lines: bool
) -> list[Watching]:
    """Measure; ``with_lines``: the two that write access lines too. Raises ``CannotMeasure``."""
    with _contestants(bench, work, with_lines=with_lines) as contestants:
        for each in contestants:
            _measure(bench, each, Load(CASES["digits"].connections, 1.0))
        seen: dict[str, list[tuple[float, float, int]]] = {each.name: [] for each in contestants}
        for number in range(rounds):
            # Another one begins each time, so that what the machine does besides meets all alike.
            shift = number % len(contestants)
            for each in (*contestants[shift:], *contestants[:shift]):
                found = _measure(bench, each, Load(CASES["digits"].connections, seconds))
                seen[each.name].append(found)
                print(f"  round {number + 1} {each.name}: {found[0]:.0f}/s, {found[1]:.3f} ms CPU", flush=True)
    return [_watching(name, found, seen[UNWATCHED]) for name, found in seen.items()]


def observability_table(watchings: Sequence[Watching]) -> str:
    """One row a way of being watched."""
    lines = ["| | answers/s | CPU ms | of unwatched: answers/s | CPU |", "|---|---|---|---|---|"]
    for each in watchings:
        lines.append(
            f"| {each.name} | {each.rate:.0f} | {each.cpu_ms:.3f} | {each.rate_ratio:.3f} | {each.cpu_ratio:.3f} |"
        )
    lines.append(f"\nMedians; wanted of watched: at least {RATE_BAR} and at most {CPU_BAR}.")
    return "\n".join(lines)


@contextmanager
def _contestants(bench: SharedBench, work: Path, *, with_lines: bool) -> Iterator[list[Contestant]]:
    case, models = CASES["digits"], work / "models"
    version = make_model(case, models)
    pictures = make_pictures(case, work / "pictures" / case.name, models)
    labels = list(ModelRepository(models).manifest(case.model, int(version.name)).labels)
    with ExitStack() as stack:
        collector = stack.enter_context(_collector())
        contestants = []
        for name, environment in _ways(collector, with_lines=with_lines).items():
            system = _system(name, models, work, environment)
            running = stack.enter_context(Running(system, work / f"{name}.log"))
            running.wait_until_ready()
            contestants.append(Contestant(running, ask_alone(bench, case, system, pictures, labels, work)))
        yield contestants


def _ways(collector: str, *, with_lines: bool) -> dict[str, dict[str, str]]:
    watched = {
        "HEADWAY_LOG_FORMAT": "json", "OTEL_EXPORTER_OTLP_ENDPOINT": collector,
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01",
    }  # fmt: skip
    lines = {**watched, "HEADWAY_ACCESS_LOG": "true"}
    ways: dict[str, dict[str, str]] = {UNWATCHED: {}, WATCHED: watched}
    if not with_lines:
        return ways
    return {
        **ways,
        "watched, one line in 100": {**lines, "HEADWAY_ACCESS_LOG_SHARE": "0.01"},
        "watched, every line": lines,
    }


def _system(name: str, models: Path, work: Path, environment: dict[str, str]) -> System:
    """Each with files of its own: one models.config has one ``headway serve``."""
    files = work / "observability" / name.replace(" ", "-").replace(",", "")
    files.mkdir(parents=True, exist_ok=True)
    system = headway(CASES["digits"], models)
    command = [*system.command, "--routes", str(files / "routes.json"), "--models-config", str(files / "models.config")]
    if name == UNWATCHED:
        command = [sys.executable, "-m", "benchmarks.unobserved", *command[command.index("serve") + 1 :]]
    return replace(system, name=name, command=command, environment=environment)


def _measure(bench: SharedBench, contestant: Contestant, load: Load) -> tuple[float, float, int]:
    """Answers a second, milliseconds of CPU for one, and wrong answers; scraped meanwhile, if it is watched."""
    running, stopping = contestant.running, threading.Event()

    def scrape() -> None:
        with httpx.Client() as http:
            # The first one in the middle of the first five seconds, so that a short measurement has its share too.
            pause = _SCRAPE_SECONDS / 2
            while not stopping.wait(pause):
                http.get(f"{running.system.url}/metrics", headers=_ACCEPT).raise_for_status()
                pause = _SCRAPE_SECONDS

    scraper = threading.Thread(target=scrape, daemon=True)
    if contestant.name != UNWATCHED:
        scraper.start()
    seen = run_load(bench.loadgen, running.system, contestant.corpus.path, load, lambda: cpu_seconds(running.pid))
    stopping.set()
    cpu_ms = (seen.after - seen.before) / seen.right * 1000 if seen.right else float("nan")
    return seen.rate, cpu_ms, seen.wrong


def _watching(
    name: str, found: Sequence[tuple[float, float, int]], beside: Sequence[tuple[float, float, int]]
) -> Watching:
    return Watching(
        name,
        statistics.median(each[0] for each in found),
        statistics.median(each[1] for each in found),
        statistics.median(ours[0] / theirs[0] for ours, theirs in zip(found, beside, strict=True)),
        statistics.median(ours[1] / theirs[1] for ours, theirs in zip(found, beside, strict=True)),
        sum(each[2] for each in found),
    )


@contextmanager
def _collector() -> Iterator[str]:
    """The URL of something that takes spans and forgets them."""

    class Taker(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:  # the name of the method overridden
            """Take it."""
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Write nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Taker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
