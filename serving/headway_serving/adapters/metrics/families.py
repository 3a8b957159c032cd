"""Counters, gauges and distributions by label values, that forget the versions nobody uses any more.

Prometheus' library looks a series up and locks it for every count, and keeps it for ever; here a series is an entry of
a dictionary, and one whose version has left the routes disappears after an hour without a change.
"""

import math
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from headway_serving.adapters.metrics import names

RETIRED_SECONDS = 3600.0
"""How long series of a version that is not routed any more stay after they have changed for the last time."""

Values = tuple[str, ...]
IsRouted = Callable[[str, str], bool]
"""Whether the routes name a version of a model."""

Samples = Iterable[tuple[Values, float]]

_KINDS: dict[str, type[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily | SummaryMetricFamily]] = {
    names.COUNTER: CounterMetricFamily,
    names.GAUGE: GaugeMetricFamily,
    names.HISTOGRAM: HistogramMetricFamily,
    names.SUMMARY: SummaryMetricFamily,
}


def family_of(metric: names.Metric) -> Metric:
    """An empty family of the library for a metric of ours."""
    return _KINDS[metric.kind](metric.stem, metric.help, labels=metric.labels)


class Distribution:
    """How many values were at most each edge, and their sum. Not safe for threads by itself."""

    __slots__ = ("_edges", "counts", "exemplars", "total")

    def __init__(self, edges: Sequence[float]) -> None:
        self._edges = edges
        self.counts = [0] * (len(edges) + 1)
        self.total = 0.0
        self.exemplars: dict[int, Exemplar] = {}

    def add(self, value: float, trace_id: str | None = None) -> None:
        """Count one value; ``trace_id``: a trace that shows where it came from."""
        bucket = bisect_left(self._edges, value)
        self.counts[bucket] += 1
        self.total += value
        if trace_id is not None:
            self.exemplars[bucket] = Exemplar({"trace_id": trace_id}, value, time.time())

    def add_many(self, values: Sequence[float]) -> None:
        """Count many values at once, for a fraction of what each would cost."""
        buckets = np.searchsorted(self._edges, values)
        for bucket, count in enumerate(np.bincount(buckets, minlength=len(self.counts)).tolist()):
            self.counts[bucket] += count
        self.total += math.fsum(values)

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def show(self, family: HistogramMetricFamily, values: Values) -> None:
        """Add it to a family."""
        buckets, below = list[tuple[str, float, Exemplar | None]](), 0
        for index, (edge, count) in enumerate(zip(_edge_texts(self._edges), self.counts, strict=True)):
            below += count
            buckets.append((edge, below, self.exemplars.get(index)))
        family.add_metric(values, buckets, self.total)  # type: ignore[arg-type]  # a tuple is as good as a list


_texts: dict[Sequence[float], list[str]] = {}


def _edge_texts(edges: Sequence[float]) -> list[str]:
    known = _texts.get(edges)
    if known is None:
        known = _texts[edges] = [*map(floatToGoString, edges), "+Inf"]
    return known


class Retirement:
    """Finds the series of versions that are routed no more and have not changed for :data:`RETIRED_SECONDS`."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._of_version = "model" in labels and "version" in labels
        if self._of_version:
            self._model, self._version = labels.index("model"), labels.index("version")
        self._seen: dict[Values, tuple[float, float]] = {}

    def retired(self, series: Iterable[tuple[Values, float]], is_routed: IsRouted, now: float) -> list[Values]:
        """Those to be forgotten. ``series``: each with a number that grows whenever it changes."""
        if not self._of_version:
            return []
        idle, gone = dict[Values, tuple[float, float]](), list[Values]()
        for values, count in series:
            if is_routed(values[self._model], values[self._version]):
                continue
            before = self._seen.get(values)
            idle[values] = before if before is not None and before[0] == count else (count, now)
            if now - idle[values][1] > RETIRED_SECONDS:
                gone.append(values)
        self._seen = idle
        return gone


class Tally(Collector):
    """A counter by label values. Safe for use by many threads."""

    def __init__(self, metric: names.Metric, registry: CollectorRegistry) -> None:
        self._metric = metric
        self._counts: dict[Values, float] = {}
        self._lock = threading.Lock()
        self._retirement = Retirement(metric.labels)
        registry.register(self)

    def count(self, *values: str, by: float = 1) -> None:
        """Count ``by`` more for these label values."""
        with self._lock:
            self._counts[values] = self._counts.get(values, 0.0) + by

    def retire(self, is_routed: IsRouted, now: float) -> None:
        """Forget the series of versions that nobody uses any more; ``now``: on a monotonic clock."""
        with self._lock:
            for values in self._retirement.retired(self._counts.items(), is_routed, now):
                del self._counts[values]

    def collect(self) -> Iterator[Metric]:
        """What a scrape shows."""
        family = CounterMetricFamily(self._metric.stem, self._metric.help, labels=self._metric.labels)
        with self._lock:
            counts = list(self._counts.items())
        for values, count in counts:
            family.add_metric(values, count)
        yield family

    def describe(self) -> list[Metric]:
        """Its name, for the registry to refuse a second one."""
        return [family_of(self._metric)]


class Distributions(Collector):
    """A histogram by label values. Safe for use by many threads."""

    def __init__(self, metric: names.Metric, edges: Sequence[float], registry: CollectorRegistry | None) -> None:
        """Without a ``registry`` somebody else shows it."""
        self._metric, self._edges = metric, tuple(edges)
        self._series: dict[Values, Distribution] = {}
        self._lock = threading.Lock()
        self._retirement = Retirement(metric.labels)
        if registry is not None:
            registry.register(self)

    def observe(self, value: float, *values: str, trace_id: str | None = None) -> None:
        """Count one value."""
        with self._lock:
            series = self._series.get(values)
            if series is None:
                series = self._series[values] = Distribution(self._edges)
            series.add(value, trace_id)

    def observe_many(self, observed: Sequence[float], *values: str) -> None:
        """Count many values at once."""
        with self._lock:
            series = self._series.get(values)
            if series is None:
                series = self._series[values] = Distribution(self._edges)
            series.add_many(observed)

    def retire(self, is_routed: IsRouted, now: float) -> None:
        """As :meth:`Tally.retire`."""
        with self._lock:
            counts = ((values, series.count) for values, series in self._series.items())
            for values in self._retirement.retired(counts, is_routed, now):
                del self._series[values]

    def collect(self) -> Iterator[Metric]:
        """What a scrape shows."""
        family = HistogramMetricFamily(self._metric.stem, self._metric.help, labels=self._metric.labels)
        with self._lock:
            for values, series in self._series.items():
                series.show(family, values)
        yield family

    def describe(self) -> list[Metric]:
        """Its name, for the registry to refuse a second one."""
        return [family_of(self._metric)]


@dataclass(frozen=True)
class Read:
    """A metric whose values are asked for at a scrape."""

    metric: names.Metric
    samples: Callable[[], Samples] = field(default=tuple)


class WatchedValues(Collector):
    """Gauges and counters that are read where they are, when somebody scrapes."""

    def __init__(self, metrics: Iterable[names.Metric], registry: CollectorRegistry) -> None:
        self._reads = {metric.name: Read(metric) for metric in metrics}
        registry.register(self)

    def watch(self, metric: names.Metric, samples: Callable[[], Samples]) -> None:
        """Have the metric say at every scrape what ``samples`` gives then: label values and numbers."""
        self._reads[metric.name] = Read(metric, samples)

    def collect(self) -> Iterator[Metric]:
        """What a scrape shows."""
        for read in list(self._reads.values()):
            family = family_of(read.metric)
            for values, value in read.samples():
                family.add_metric(values, value)  # type: ignore[attr-defined]  # every family of the library has it
            yield family

    def describe(self) -> list[Metric]:
        """Their names, for the registry to refuse others of the same name."""
        return [family_of(read.metric) for read in self._reads.values()]
