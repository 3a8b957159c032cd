"""How Headway says no: its own count of outcomes, and a client that looks at single answers while others flood it."""

import re
import struct
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.systems import System

_PAUSE_SECONDS = 0.1
_OUTCOME = re.compile(r'^headway_requests_total\{.*code="([a-z_]+)".*\} (\S+)$', re.MULTILINE)


@dataclass(frozen=True)
class Refusals:
    """What the single client saw: how often each status, and how many answers 503 came without ``Retry-After``."""

    statuses: dict[str, int]
    without_retry_after: int


class RefusalProbe:
    """Asks ten times a second, with one picture, while the ``with`` block runs."""

    def __init__(self, system: System, corpus: Path) -> None:
        self._system = system
        self._picture = _first_body(corpus)
        self._statuses: Counter[str] = Counter()
        self._without = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="refusal-probe")

    @property
    def seen(self) -> Refusals:
        """Everything so far."""
        return Refusals(dict(self._statuses), self._without)

    def __enter__(self) -> "RefusalProbe":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        with httpx.Client(base_url=self._system.url, timeout=20) as client:
            headers = {"Content-Type": "application/octet-stream"}
            while not self._stop.wait(_PAUSE_SECONDS):
                try:
                    answer = client.post(self._system.path, content=self._picture, headers=headers)
                except httpx.TransportError as error:
                    self._statuses[type(error).__name__] += 1
                    continue
                self._statuses[str(answer.status_code)] += 1
                self._without += answer.status_code == 503 and "Retry-After" not in answer.headers


def outcomes_by_code(system: System) -> dict[str, int]:
    """Requests by outcome since Headway started, from its metrics."""
    counts: Counter[str] = Counter()
    for code, value in _OUTCOME.findall(httpx.get(f"{system.url}/metrics", timeout=20).text):
        counts[code] += int(float(value))
    return dict(counts)


def _first_body(corpus: Path) -> bytes:
    with corpus.open("rb") as file:
        file.seek(8)  # "BCH1" and the number of requests
        request_size, _ = struct.unpack("<II", file.read(8))
        return file.read(int(request_size)).partition(b"\r\n\r\n")[2]
