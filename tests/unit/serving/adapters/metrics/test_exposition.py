"""The page is the one that Prometheus' library writes, also when it is written again and series come and go."""

import math
from collections.abc import Iterable, Iterator

import pytest
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Enum,
    Gauge,
    Histogram,
    Info,
    Summary,
    disable_created_metrics,
    enable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from headway_serving.adapters.metrics.exposition import Exposition
from headway_serving.adapters.metrics.prometheus import PrometheusMetrics


def same(registry: CollectorRegistry, exposition: Exposition) -> None:
    assert exposition.page() == generate_latest(registry)


@pytest.fixture(params=[False, True], ids=["as in our processes", "with creation times"])
def registry(request: pytest.FixtureRequest) -> Iterator[CollectorRegistry]:
    if not request.param:
        disable_created_metrics()  # type: ignore[no-untyped-call]
    yield CollectorRegistry()
    enable_created_metrics()  # type: ignore[no-untyped-call]


def test_every_kind_is_written_as_by_the_library(registry: CollectorRegistry) -> None:
    counter = Counter("requests", 'with "quotes", a \\ and\na line', ["code", "a"], registry=registry)
    counter.labels('a"b\\c\nd', "ü").inc()
    Gauge("weight", "a gauge", registry=registry).set(math.nan)
    Histogram("seconds", "a histogram", ["model"], registry=registry).labels("m").observe(0.2)
    Summary("size", "a summary", registry=registry).observe(3)
    Info("build", "an info", registry=registry).info({"version": "1"})
    Enum("state", "a state", states=["on", "off"], registry=registry).state("on")
    exposition = Exposition(registry)
    for _ in range(2):
        same(registry, exposition)


@pytest.mark.parametrize("value", [0, 1, 1.5, -2, 1e-9, 1234567.0, 1e21, math.inf, -math.inf])
def test_numbers_are_written_as_by_the_library(value: float, registry: CollectorRegistry) -> None:
    Gauge("number", "a number", registry=registry).set(value)
    same(registry, Exposition(registry))


def test_what_changes_between_two_pages_is_seen(registry: CollectorRegistry) -> None:
    gauge, exposition = Gauge("g", "a gauge", ["model"], registry=registry), Exposition(registry)
    gauge.labels("a").set(1)
    same(registry, exposition)
    gauge.labels("a").set(2)
    gauge.labels("b").set(3)
    same(registry, exposition)
    gauge.remove("a")
    same(registry, exposition)
    # Nothing is kept of what is gone.
    assert len(exposition._starts) == 1


def test_samples_with_a_time_are_left_to_the_library(registry: CollectorRegistry) -> None:
    class Timed(Collector):
        def collect(self) -> Iterable[Metric]:
            family = GaugeMetricFamily("timed", "of a moment", labels=["a"])
            family.add_metric(["x"], 1.0, timestamp=1_700_000_000.25)
            return [family]

    registry.register(Timed())
    same(registry, Exposition(registry))


def test_our_own_metrics_are_written_as_by_the_library(registry: CollectorRegistry) -> None:
    PrometheusMetrics(registry)
    same(registry, Exposition(registry))
