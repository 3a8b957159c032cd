"""A Prometheus histogram for where every microsecond is paid a thousand times a second.

The library's own looks for the bucket in Python and takes three locks, at every observation. Here an observation is
put on a list; the list is counted when somebody scrapes, or when it is long, all of it at once.
"""

import threading
from collections.abc import Iterable, Sequence

import numpy as np
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

_LONG = 2048


class Series:
    """The observations of one combination of label values. Safe for use by many threads."""

    __slots__ = ("_bounds", "_counts", "_lock", "_sum", "_waiting")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = np.asarray(bounds)
        self._counts = np.zeros(len(bounds) + 1, np.int64)
        self._sum = 0.0
        self._waiting: list[float] = []
        self._lock = threading.Lock()

    def observe(self, value: float) -> None:
        """Count one value."""
        waiting = self._waiting
        waiting.append(value)
        if len(waiting) >= _LONG:
            self.counted()

    def counted(self) -> tuple[list[int], float]:
        """How many values were at most each bound, and how many there are in all; and the sum of all."""
        with self._lock:
            # What other threads append meanwhile comes after these, and stays.
            values = self._waiting[:]
            del self._waiting[: len(values)]
            if values:
                buckets = np.searchsorted(self._bounds, values)
                self._counts += np.bincount(buckets, minlength=len(self._counts))
                self._sum += float(np.sum(values))
            return np.cumsum(self._counts).tolist(), self._sum


class BufferedHistogram(Collector):
    """A histogram with labels; ``buckets`` are the upper bounds, ascending, without infinity."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labelnames: Sequence[str],
        buckets: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._name, self._documentation, self._labelnames = name, documentation, labelnames
        self._bounds = buckets
        self._series: dict[tuple[str, ...], Series] = {}
        registry.register(self)

    def labels(self, *values: str) -> Series:
        """The series of these label values."""
        known = self._series.get(values)
        # setdefault is atomic: of two threads that meet here, both get the same series.
        return self._series.setdefault(values, Series(self._bounds)) if known is None else known

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """What a scrape shows."""
        family = self._family()
        edges = [*map(floatToGoString, self._bounds), "+Inf"]
        for values, series in list(self._series.items()):
            counts, total = series.counted()
            family.add_metric(values, list(zip(edges, counts, strict=True)), total)
        return [family]

    def describe(self) -> Iterable[HistogramMetricFamily]:
        """Its name, for the registry to refuse a second one."""
        return [self._family()]

    def _family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(self._name, self._documentation, labels=self._labelnames)
