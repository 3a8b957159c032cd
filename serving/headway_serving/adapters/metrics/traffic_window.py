"""Where a rollout's data comes from: the gateways' own ``/metrics``, or a Prometheus that scrapes them.

Both give the same :class:`Observation` for the same traffic; one test runs over both.
"""

import json
import math
import re
import socket
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
from prometheus_client.parser import text_string_to_metric_families

from headway_serving.adapters.metrics.counter_history import COUNTERS, PROCESS_START, Instance, Series, observed
from headway_serving.core.rollout_state import Observation

DNS = "dns+"
"""Before a URL: every address of its host is a gateway of its own."""

_TIMEOUT_SECONDS = 5.0
_LOOK_BACK_SECONDS = 300
"""How far before a window Prometheus' samples are read for the values at its beginning."""


class TrafficUnknown(Exception):
    """Nothing is known of the traffic now; the text says why."""


Key = tuple[str, tuple[tuple[str, str], ...]]


@dataclass
class _Page:
    """What is kept of one gateway process: when it was first seen, and the points of its counters."""

    instance: Instance
    points: dict[Key, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))


class GatewayMetrics:
    """Reads ``/metrics`` of every gateway. ``urls``: of the gateways; ``dns+http://NAME:PORT`` is all behind a name."""

    def __init__(self, urls: Sequence[str], http: httpx.Client) -> None:
        self._urls = urls
        self._http = http
        self._pages: dict[str, _Page] = {}

    def mark(self, model: str) -> None:
        """Note where the counters stand; a window can begin here. Raises :class:`TrafficUnknown`."""
        self._scrape(model)
        for page in self._pages.values():
            for points in page.points.values():
                del points[:-1]

    def window(self, model: str, stable: int, candidate: int, since: float) -> Observation:
        """The traffic since Unix time ``since``. Raises :class:`TrafficUnknown` if no gateway answers."""
        self._scrape(model)
        series = [
            Series(name, dict(labels), instance, points)
            for instance, page in self._pages.items()
            for (name, labels), points in page.points.items()
            if ("model", model) in labels
        ]
        instances = {instance: page.instance for instance, page in self._pages.items()}
        return observed(series, instances, stable, candidate, since)

    def _scrape(self, model: str) -> None:
        problems, answered = [], 0
        for url in (each for configured in self._urls for each in addresses(configured)):
            try:
                response = self._http.get(f"{url}/metrics", timeout=_TIMEOUT_SECONDS)
                response.raise_for_status()
                self._keep(url, model, response.text)
            except (httpx.HTTPError, ValueError) as error:
                problems.append(f"{url}: {error}")
            else:
                answered += 1
        if not answered:
            raise TrafficUnknown("; ".join(problems) or f"no gateway at {', '.join(self._urls)}")

    def _keep(self, url: str, model: str, text: str) -> None:
        now, found, started = time.time(), list[tuple[Key, float]](), None
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == PROCESS_START:
                    started = float(sample.value)
                elif sample.name in COUNTERS and sample.labels.get("model") == model:
                    found.append(((sample.name, tuple(sorted(sample.labels.items()))), float(sample.value)))
        # A gateway that was started again is another one: all its counters begin at 0, also those that have already
        # passed their old values.
        page = self._pages.setdefault(f"{url} {started}", _Page(Instance(now, started)))
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

    def window(self, model: str, stable: int, candidate: int, since: float) -> Observation:
        """The traffic since Unix time ``since``, as far as it was scraped. Raises :class:`TrafficUnknown`."""
        seconds = math.ceil(max(time.time() - since, 1.0)) + _LOOK_BACK_SECONDS
        names = "|".join(COUNTERS)
        gateways = self._query(f"headway_build_info[{seconds}s]")
        if not gateways:
            raise TrafficUnknown(f"Prometheus at {self._url} has scraped no gateway in the last {seconds} s")
        jobs = "|".join(sorted({re.escape(each["metric"].get("job", "")) for each in gateways}))
        starts = {
            _instance(each["metric"]): dict(_points(each))
            for each in self._query(f"{PROCESS_START}{{job=~{json.dumps(jobs)}}}[{seconds}s]")
        }
        instances: dict[str, Instance] = {}
        for each in gateways:
            gateway = _instance(each["metric"])
            for at, _ in _points(each):
                started = starts.get(gateway, {}).get(at)
                instances.setdefault(f"{gateway} {started}", Instance(at, started))
        series = []
        for each in self._query(f'{{__name__=~"{names}",model="{model}"}}[{seconds}s]'):
            gateway, by_process = _instance(each["metric"]), defaultdict[str, list[tuple[float, float]]](list)
            for at, value in _points(each):
                # One scrape has one time: the process that said this is the one that was running then.
                by_process[f"{gateway} {starts.get(gateway, {}).get(at)}"].append((at, value))
            series += [
                Series(each["metric"]["__name__"], each["metric"], process, points)
                for process, points in by_process.items()
            ]
        return observed(series, instances, stable, candidate, since)

    def _query(self, query: str) -> list[dict[str, Any]]:
        try:
            response = self._http.get(f"{self._url}/api/v1/query", params={"query": query}, timeout=_TIMEOUT_SECONDS)
            answer = response.json()
            if answer["status"] != "success":
                raise TrafficUnknown(f"Prometheus at {self._url} answers: {answer.get('error', 'no reason')}")
            found: list[dict[str, Any]] = answer["data"]["result"]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
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


def _instance(labels: Mapping[str, str]) -> str:
    return f"{labels.get('job', '')} {labels.get('instance', '')}"


def _points(series: Mapping[str, Any]) -> list[tuple[float, float]]:
    return [(float(at), float(value)) for at, value in series["values"]]
