"""The server's own metrics, by the names, labels and buckets of TensorFlow Serving.

Its names begin with a colon and its counters have no ``_total``, which prometheus_client cannot write; so the
metrics and their text page are made here, a few of our own among them. Every metric has
its ``# TYPE`` line even before it was counted.
"""

from __future__ import annotations

import importlib.metadata
import threading
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from headway_serving.adapters.metrics import names

MAX_SERIES = 1000
"""Series per metric. Requests for any number of made-up model names must not take memory without end."""

OTHER = "other"
"""The value of every label of what is counted beyond MAX_SERIES."""

_SIGNIFICANT = "%g"


def exponential_buckets(scale: float, growth: float, count: int) -> tuple[float, ...]:
    """Return the upper limits scale * growth^i, i = 0 ... count - 1; a last bucket without limit follows them."""
    return tuple(scale * growth**power for power in range(count))


LATENCY_BUCKETS = exponential_buckets(10, 1.8, 33)
"""Microseconds, up to about 20 minutes."""


class Counter:
    """Counts events by label values. ``kind`` is "counter" or "gauge"."""

    def __init__(self, name: str, labels: Sequence[str] = (), kind: str = "counter") -> None:
        self._name, self._labels, self._kind = name, tuple(labels), kind
        self._values: dict[tuple[str, ...], int] = {}
        self._lock = threading.Lock()

    def increment(self, *values: str, by: int = 1) -> None:
        """Add ``by`` to the series of these label values, which are in the order of the labels."""
        with self._lock:
            key = _bounded(values, self._values)
            self._values[key] = self._values.get(key, 0) + by

    def total(self) -> int:
        """Return the sum over all series."""
        with self._lock:
            return sum(self._values.values())

    def lines(self) -> list[str]:
        """Return the metric's part of the text page."""
        with self._lock:
            values = dict(self._values)
        name = _page_name(self._name)
        samples = [f"{name}{{{_page_labels(self._labels, key)}}} {value}" for key, value in values.items()]
        return [f"# TYPE {name} {self._kind}", *samples]


class Watched:
    """A metric of our own whose values are asked for when the page is made."""

    def __init__(self, metric: names.Metric, samples: Callable[[], Iterable[tuple[str, ...]]] = tuple) -> None:
        """``samples``: the label values of the series that are 1 now."""
        self._metric, self.samples = metric, samples

    def lines(self) -> list[str]:
        """Return the metric's part of the text page."""
        name, labels = self._metric.name, self._metric.labels
        samples = [f"{name}{{{_page_labels(labels, values)}}} 1" for values in self.samples()]
        return [f"# HELP {name} {self._metric.help}", f"# TYPE {name} {self._metric.kind}", *samples]


class OwnCounter(Counter):
    """A counter of our own, with its help."""

    def __init__(self, metric: names.Metric) -> None:
        super().__init__(metric.name, metric.labels)
        self._help = metric.help

    def lines(self) -> list[str]:
        """Return the metric's part of the text page."""
        return [f"# HELP {self._name} {self._help}", *super().lines()]


@dataclass
class _Distribution:
    buckets: list[int]
    sum: float = 0.0


class Histogram:
    """Sorts observed values into buckets with the upper limits ``limits`` (exclusive), by label values."""

    def __init__(self, name: str, limits: Sequence[float], labels: Sequence[str] = ()) -> None:
        self._name, self._limits, self._labels = name, tuple(limits), tuple(labels)
        self._series: dict[tuple[str, ...], _Distribution] = {}
        self._lock = threading.Lock()

    def observe(self, value: float, *values: str) -> None:
        """Add one observation to the series of these label values."""
        with self._lock:
            key = _bounded(values, self._series)
            if key not in self._series:
                self._series[key] = _Distribution([0] * (len(self._limits) + 1))
            series = self._series[key]
            series.buckets[bisect_right(self._limits, value)] += 1
            series.sum += value

    def lines(self) -> list[str]:
        """Return the metric's part of the text page."""
        name = _page_name(self._name)
        lines = [f"# TYPE {name} histogram"]
        limits = [*(_SIGNIFICANT % limit for limit in self._limits), "+Inf"]
        with self._lock:
            series = {key: (list(found.buckets), found.sum) for key, found in self._series.items()}
        for key, (buckets, total) in series.items():
            labels = _page_labels(self._labels, key)
            count = 0
            for limit, added in zip(limits, buckets, strict=True):
                count += added
                lines.append(f'{name}_bucket{{{labels}{"," if labels else ""}le="{limit}"}} {count}')
            lines += [f"{name}_sum{{{labels}}} {_SIGNIFICANT % total}", f"{name}_count{{{labels}}} {count}"]
        return lines


class ServerMetrics:
    """Every metric of one server. Label values are given in the order of the labels here; latencies in microseconds.

    ``request_log_count`` and ``mlmd_map`` stand on the page and are never counted: this server writes no request logs
    and reads no ML metadata.
    """

    def __init__(self) -> None:
        sizes = exponential_buckets(1, 2, 14)
        self.request_count = Counter(_serving("request_count"), ["model_name", "status"])
        self.request_latency = Histogram(
            _serving("request_latency"), LATENCY_BUCKETS, ["model_name", "API", "entrypoint"]
        )
        self.runtime_latency = Histogram(_serving("runtime_latency"), LATENCY_BUCKETS, ["model_name", "API", "runtime"])
        self.example_counts = Histogram(_serving("request_example_counts"), exponential_buckets(1, 2, 15), ["model"])
        self.example_count_total = Counter(_serving("request_example_count_total"), ["model"])
        self.request_log_count = Counter(_serving("request_log_count"), ["model_name", "status_code"])
        self.warmup_latency = Histogram(_serving("model_warmup_latency"), LATENCY_BUCKETS, ["model_path", "status"])
        self.warmup_records_read = Counter(_serving("model_warmup_records_read"), ["model_path", "status"])
        self.load_attempts = Counter("/tensorflow/cc/saved_model/load_attempt_count", ["model_path", "status"])
        self.load_latency = Counter("/tensorflow/cc/saved_model/load_latency", ["model_path"])
        self.batch_queuing_latency = Histogram(
            _serving("batching_session/queuing_latency"), exponential_buckets(100, 1.2, 52), ["thread_pool_name"]
        )
        self.batch_runs = Counter(_serving("batching_session/wrapped_run_count"))
        self.batch_padding = Histogram(_serving("batching_session/padding_size"), sizes, ["execution_batch_size"])
        self.batch_input_size = Histogram(_serving("batching_session/input_batch_size"), sizes)
        self.batch_processed_size = Histogram(_serving("batching_session/processed_batch_size"), sizes)
        self.loads_by_precision = Counter("/headway/serving/load_count", ["model_path", "precision"])
        self.load_failures = OwnCounter(names.SERVER_LOAD_FAILURES)
        self.version_states = Watched(names.SERVER_VERSION_STATE)
        version = importlib.metadata.version("headway")
        self.build = Watched(names.SERVER_BUILD_INFO, lambda: [(version,)])
        self.mlmd_map = Counter(_serving("mlmd_map"), ["model_name", "version"], kind="gauge")

    def page(self) -> str:
        """Return all metrics in Prometheus's text format."""
        lines = [line for metric in vars(self).values() for line in metric.lines()]
        return "\n".join(lines) + "\n"


def _bounded(key: tuple[str, ...], known: Collection[tuple[str, ...]]) -> tuple[str, ...]:
    if key in known or len(known) < MAX_SERIES:
        return key
    return (OTHER,) * len(key)


def _serving(name: str) -> str:
    return f"/tensorflow/serving/{name}"


def _page_name(name: str) -> str:
    return "".join(char if char.isascii() and (char.isalnum() or char == "_") else ":" for char in name)


def _page_labels(names: Sequence[str], values: Sequence[str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))


def _escaped(value: str) -> str:
    # TensorFlow Serving leaves line ends as they are, and with one a reader cannot parse the page any more.
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
