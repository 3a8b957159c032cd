"""Where a rollout's data comes from: the gateways' own ``/metrics``, or a Prometheus that scrapes them.

Both give the same :class:`Observation` for the same traffic; one test runs over both.
"""

import json
import math
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import httpx
from prometheus_client.parser import text_string_to_metric_families

from headway_serving.adapters.metrics.counter_history import (
    BUILD_INFO,
    COUNTERS,
    PROCESS_START,
    REQUESTS,
    Instance,
    Series,
    increase,
    observed,
)
from headway_serving.adapters.metrics.route_metrics import ROUTE_WEIGHT
from headway_serving.core.rollout_traffic import Observation

DNS = "dns+"
"""Before a URL: every address of its host is a gateway of its own."""

_TIMEOUT_SECONDS = 3.0
_RATE_SECONDS = 2.0
_LOOK_BACK_SECONDS = 300
"""How far before a window Prometheus' samples are read: whether it still scrapes, and whom."""

_FRESH_SECONDS = 30.0
_MISSED_SCRAPES = 3.0
"""Prometheus' samples are stale when so many scrapes are missing, and :data:`_FRESH_SECONDS` have passed."""

_OWN_LABELS = frozenset({"__name__", "model", "version", "arm", "code", "outcome", "label", "from_label", "to_label",
                         "up_to", "process"})  # fmt: skip
"""Labels that a gateway gives its metrics; every other says whom Prometheus scraped, and how."""


class TrafficUnknown(Exception):
    """Nothing is known of the traffic now; the text says why."""


Key = tuple[str, tuple[tuple[str, str], ...]]
Target = tuple[tuple[str, str], ...]


@dataclass
class _Page:
    """What is kept of one gateway process: when it was scraped, when it was started, and the points of its counters."""

    started: float | None
    scrapes: list[float] = field(default_factory=list)
    points: dict[Key, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))


class GatewayMetrics:
    """Reads ``/metrics`` of every gateway. ``urls``: of the gateways; ``dns+http://NAME:PORT`` is all behind a name."""

    def __init__(self, urls: Sequence[str], http: httpx.Client, sleep: Callable[[float], None] = time.sleep) -> None:
        self._urls = urls
        self._http = http
        self._sleep = sleep
        self._pages: dict[str, _Page] = {}

    def mark(self, model: str) -> None:
        """Note where the counters stand; a window can begin here. Raises :class:`TrafficUnknown`."""
        self._scrape(model)
        for page in self._pages.values():
            del page.scrapes[:-1]
            for points in page.points.values():
                del points[:-1]

    def rate(self, model: str) -> float:
        """Requests to the model a second, as of now. Raises :class:`TrafficUnknown` if it could not be followed."""
        since = time.time()
        self.mark(model)
        self._sleep(_RATE_SECONDS)
        self._scrape(model)
        instances = {name: Instance(page.scrapes, page.started) for name, page in self._pages.items()}
        return _rate(self._series(model), instances, since)

    def window(self, model: str, stable: int, candidate: int, since: float) -> Observation:
        """The traffic since Unix time ``since``. Raises :class:`TrafficUnknown` if no gateway answers."""
        self._scrape(model)
        instances = {name: Instance(page.scrapes, page.started) for name, page in self._pages.items()}
        return observed(self._series(model), instances, stable, candidate, since)

    def _series(self, model: str) -> list[Series]:
        return [
            Series(name, dict(labels), process, points)
            for process, page in self._pages.items()
            for (name, labels), points in page.points.items()
            if ("model", model) in labels
        ]

    def _scrape(self, model: str) -> None:
        problems, answered = [], 0
        for url in (each for configured in self._urls for each in addresses(configured)):
            try:
                response = self._http.get(f"{url}/metrics", timeout=_TIMEOUT_SECONDS)
                response.raise_for_status()
                self._keep(url, model, response.text)
            except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
                problems.append(f"{url}: {error}")
            else:
                answered += 1
        if not answered:
            raise TrafficUnknown("; ".join(problems) or f"no gateway at {', '.join(self._urls)}")

    def _keep(self, url: str, model: str, text: str) -> None:
        now, found, routed = time.time(), list[tuple[Key, float]](), False
        started, process = None, None
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == PROCESS_START:
                    started = float(sample.value)
                elif sample.name == BUILD_INFO:
                    process = sample.labels.get("process")
                elif sample.labels.get("model") == model:
                    routed = routed or sample.name == ROUTE_WEIGHT
                    if sample.name in COUNTERS:
                        found.append(((sample.name, tuple(sorted(sample.labels.items()))), float(sample.value)))
        if not routed:
            raise ValueError(f"what answers there is no gateway that routes {model!r}")
        # A gateway that was started again is another one: all its counters begin at 0, also those that have already
        # passed their old values. One that answers at two addresses is one.
        page = self._pages.setdefault(process or f"{url} {started}", _Page(started))
        page.scrapes.append(now)
        for key, value in found:
            page.points[key].append((now, value))


class PrometheusApi:
    """Asks a Prometheus server for the raw samples of the gateways' counters.

    Not for its ``increase()``: that loses the first value of a series, so the first errors of a kind, and extrapolates.
    """

    def __init__(self, url: str, http: httpx.Client) -> None:
        self._url = url.rstrip("/")
        self._http = http

    def mark(self, model: str) -> None:
        """Prometheus remembers by itself."""

    def rate(self, model: str) -> float:
        """Requests to the model a second in the last minutes. Raises :class:`TrafficUnknown` if none was followed."""
        since = time.time() - _LOOK_BACK_SECONDS
        if not self._query(f"{ROUTE_WEIGHT}{{model={json.dumps(model)}}}[{_LOOK_BACK_SECONDS}s]"):
            self._processes(since)
            raise TrafficUnknown(f"of the gateways that Prometheus at {self._url} scrapes, none routes {model!r}")
        return _rate(*self._read(model, since), since)

    def window(self, model: str, stable: int, candidate: int, since: float) -> Observation:
        """The traffic since Unix time ``since``, as far as it was scraped. Raises :class:`TrafficUnknown`."""
        return observed(*self._read(model, since), stable, candidate, since)

    def _read(self, model: str, since: float) -> tuple[list[Series], dict[str, Instance]]:
        seconds = _seconds(since)
        processes, instances = self._processes(since)
        series = []
        names = "|".join(COUNTERS)
        for each in self._query(f"{{__name__=~{json.dumps(names)},model={json.dumps(model)}}}[{seconds}s]"):
            target, by_process = _target(each["metric"]), defaultdict[str, list[tuple[float, float]]](list)
            for at, value in _points(each):
                # One scrape has one time: the process that said this is the one that was running then.
                process = processes.get((target, at))
                if process is not None:
                    by_process[process].append((at, value))
            series += [
                Series(each["metric"]["__name__"], each["metric"], process, points)
                for process, points in by_process.items()
            ]
        return series, instances

    def _processes(self, since: float) -> tuple[dict[tuple[Target, float], str], dict[str, Instance]]:
        """Which process was scraped when, under which labels; of one that is scraped by several, one of them."""
        seconds = _seconds(since)
        gateways = self._query(f"{BUILD_INFO}[{seconds}s]")
        if not gateways:
            raise TrafficUnknown(f"Prometheus at {self._url} has scraped no gateway in the last {seconds} s")
        starts = {_target(each["metric"]): dict(_points(each)) for each in self._query(f"{PROCESS_START}[{seconds}s]")}
        scrapes: dict[str, dict[Target, list[float]]] = defaultdict(lambda: defaultdict(list))
        started: dict[str, float | None] = {}
        for each in gateways:
            target = _target(each["metric"])
            for at, _ in _points(each):
                start = starts.get(target, {}).get(at)
                process = each["metric"].get("process") or f"{target} {start}"
                scrapes[process][target].append(at)
                started.setdefault(process, start)
        self._check_fresh(scrapes)
        # The name by which it was scraped most often.
        chosen = {process: max(sorted(by), key=lambda target: len(by[target])) for process, by in scrapes.items()}
        times = {process: sorted(scrapes[process][target]) for process, target in chosen.items()}
        which = {(target, at): process for process, target in chosen.items() for at in times[process]}
        return which, {process: Instance(times[process], started[process]) for process in chosen}

    def _check_fresh(self, scrapes: Mapping[str, Mapping[Target, Sequence[float]]]) -> None:
        every = [sorted(times) for by_target in scrapes.values() for times in by_target.values()]
        age = time.time() - max(times[-1] for times in every)
        gap = max((b - a for times in every for a, b in pairwise(times)), default=0.0)
        if age > max(_FRESH_SECONDS, _MISSED_SCRAPES * min(gap, 60.0)):
            raise TrafficUnknown(f"Prometheus at {self._url} scraped a gateway {age:.0f} s ago for the last time")

    def _query(self, query: str) -> list[dict[str, Any]]:
        try:
            response = self._http.get(f"{self._url}/api/v1/query", params={"query": query}, timeout=_TIMEOUT_SECONDS)
            answer = response.json()
            if answer["status"] != "success":
                raise TrafficUnknown(f"Prometheus at {self._url} answers: {answer.get('error', 'no reason')}")
            found: list[dict[str, Any]] = answer["data"]["result"]
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
            raise TrafficUnknown(f"Prometheus at {self._url} cannot be asked: {error!r}") from error
        return found


def addresses(url: str) -> Iterator[str]:
    """The URL itself, or for ``dns+http://NAME:PORT`` one for each address of the name, none if it has none."""
    if not url.startswith(DNS):
        yield url.rstrip("/")
        return
    parts = urlsplit(url.removeprefix(DNS))
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_STREAM)
    except OSError:
        return
    for host in sorted({str(each[4][0]) for each in found}):
        yield f"http://{f'[{host}]' if ':' in host else host}:{parts.port or 80}"


def _rate(series: Iterable[Series], instances: Mapping[str, Instance], since: float) -> float:
    risen = sum(
        increase(each.points, since, instances.get(each.instance, Instance()))
        for each in series
        if each.name == REQUESTS
    )
    began = min((instance.known_from(since) for instance in instances.values()), default=math.inf)
    ended = max((at for instance in instances.values() for at in instance.scrapes), default=began)
    return risen / max(ended - began, 1.0) if math.isfinite(risen) and math.isfinite(began) else 0.0


def _seconds(since: float) -> int:
    return math.ceil(max(time.time() - since, 1.0)) + _LOOK_BACK_SECONDS


def _target(labels: Mapping[str, str]) -> Target:
    return tuple(sorted((name, value) for name, value in labels.items() if name not in _OWN_LABELS))


def _points(series: Mapping[str, Any]) -> list[tuple[float, float]]:
    return [(float(at), float(value)) for at, value in series["values"]]
