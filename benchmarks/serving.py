"""What a served digit costs: throughput, latency and CPU per request of the whole line on this machine.

Starts ``headway serve`` on the repository given (default: the demo's), then asks it over keep-alive connections, in
several rounds. CPU is that of the gateway and the model server together, from the operating system. Figures of one
machine at one time: compare ratios measured in one run, not numbers of different days.

    make demo-check && make bench
"""

import argparse
import socket
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

HEADWAY = [sys.executable, "-m", "headway_client.cli"]


@dataclass(frozen=True)
class Round:
    """One round: answers per second, latency percentiles in milliseconds, CPU milliseconds per answer."""

    rate: float
    p50: float
    p99: float
    cpu: float


def main() -> int:
    """Print one row per kind of request. Exit codes: 0, or 2 if there is nothing to serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, default=Path(".demo/models"))
    parser.add_argument("--model", default="digits-0to4")
    parser.add_argument("--samples", type=Path, default=Path(".demo/samples/digits-0to4"))
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a round")
    arguments = parser.parse_args()
    pictures = [path.read_bytes() for path in sorted(arguments.samples.glob("*.png"))]
    if not pictures:
        sys.stderr.write(f"no pictures in {arguments.samples}; run make demo-check first\n")
        return 2
    port, grpc_port = free_port(), free_port()
    command = [*HEADWAY, "serve", "--repository", str(arguments.repository)]
    server = subprocess.Popen([*command, "--port", str(port), "--grpc-port", str(grpc_port)])
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(server, url)
        target = f"{url}/v1/models/{arguments.model}:classify"
        for name, many in (("one picture a request", 1), ("32 pictures a request", 32)):
            rounds = [
                measure(server.pid, target, pictures, many, arguments.connections, arguments.seconds)
                for _ in range(arguments.rounds)
            ]
            report(name, many, rounds)
    finally:
        server.terminate()
        server.wait()
    return 0


def measure(pid: int, target: str, pictures: list[bytes], many: int, connections: int, seconds: float) -> Round:
    """Ask from ``connections`` threads for ``seconds``, each answer checked."""
    latencies: list[float] = []
    before, started = cpu_seconds(pid), time.perf_counter()
    ends = started + seconds

    def ask(first: int) -> None:
        own: list[float] = []
        with httpx.Client(timeout=30) as client:
            number = first
            while time.perf_counter() < ends:
                chosen = [pictures[(number + i) % len(pictures)] for i in range(many)]
                sent = time.perf_counter()
                if many == 1:
                    answer = client.post(target, content=chosen[0], headers={"Content-Type": "image/png"})
                else:
                    answer = client.post(target, files=[("image", (f"{i}.png", data)) for i, data in enumerate(chosen)])
                own.append((time.perf_counter() - sent) * 1000)
                assert len(answer.raise_for_status().json()["results"]) == many
                number += many
        latencies.extend(own)

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed, used = time.perf_counter() - started, cpu_seconds(pid) - before
    ranked = statistics.quantiles(latencies, n=100)
    return Round(len(latencies) / elapsed, ranked[49], ranked[98], used / len(latencies) * 1000)


def report(name: str, many: int, rounds: list[Round]) -> None:
    """Medians over the rounds."""
    rate, p50, p99, cpu = (
        statistics.median(getattr(each, field) for each in rounds) for field in ("rate", "p50", "p99", "cpu")
    )
    print(
        f"{name}: {rate:.0f} requests/s, {rate * many:.0f} pictures/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms, "
        f"CPU {cpu:.2f} ms a request, {cpu / many:.3f} ms a picture (medians of {len(rounds)} rounds)",
        flush=True,
    )


def cpu_seconds(pid: int) -> float:
    """User and system seconds of a process's whole family, without itself."""
    family = psutil.Process(pid).children(recursive=True)
    return sum(times.user + times.system for times in (process.cpu_times() for process in family))


def wait_until_ready(server: subprocess.Popen[bytes], url: str) -> None:
    """Return once ``/readyz`` says 200; raises RuntimeError if the server ends before."""
    while server.poll() is None:
        try:
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"headway serve ended with {server.returncode}")


def free_port() -> int:
    """A TCP port of the loopback address that nothing uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
