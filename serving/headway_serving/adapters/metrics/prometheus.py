"""Every metric of the gateway, named in this one file.

Label values come from the route table and the catalogue, never from what a client typed: an unknown model or version
is counted as ``unknown``, so a scan of random names makes no new series.
"""

import importlib.metadata
import uuid
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from headway_serving.adapters.metrics.buffered_histogram import BufferedHistogram
from headway_serving.adapters.metrics.exposition import Exposition
from headway_serving.adapters.metrics.key_sample import KeyedRequest, KeySamples
from headway_serving.adapters.metrics.pending_routes import PendingRoutesCollector
from headway_serving.adapters.metrics.route_metrics import RouteMetrics
from headway_serving.core.admission import QueueState
from headway_serving.core.requests import Fallback
from headway_serving.core.routing import Route, RouteTable
from headway_serving.core.shadow import Comparison

CONTENT_TYPE = CONTENT_TYPE_LATEST

_VERSION_LABELS = ("model", "version", "arm")
_UNKNOWN = "unknown"
REQUEST_SECONDS = (
    0.001, 0.0015, 0.002, 0.003, 0.004, 0.006, 0.008, 0.012, 0.016, 0.025, 0.035, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3,
    0.4, 0.6, 0.8, 1.2, 1.6, 2.5, 3.5, 5.0, 7.0, 10.0,
)  # fmt: skip
"""Edges about half as far apart as usual: a rollout compares two versions' latencies, and knows them no better."""
_SHIFTS = (0.001, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8)
_BATCH_ROWS = (1, 2, 4, 8, 16, 32, 64)
_STAGE_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


_QUEUE_METRICS: tuple[tuple[str, str, Callable[[QueueState], float]], ...] = (
    ("headway_queue_pictures", "Pictures that wait for their turn", lambda state: state.waiting),
    ("headway_queue_serving_pictures", "Pictures that are worked on", lambda state: state.serving),
    ("headway_queue_limit", "Pictures that may be worked on at the same time now", lambda state: state.limit),
    ("headway_queue_wait_seconds", "How long a picture that comes now will wait", lambda state: state.wait_seconds),
    ("headway_queue_shedding", "1 while pictures are refused because the queue stands", lambda state: state.shedding),
)


def process_registry() -> CollectorRegistry:
    """A registry with what Prometheus' library knows of the process: memory, CPU time, files, collections."""
    # One "_created" series for each series says nothing that a dashboard needs.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it without types
    registry = CollectorRegistry()
    for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
        registry.register(collector)
    return registry


@dataclass(frozen=True)
class Observation:
    """One classification request as it ended.

    ``model``: None if no such model is routed. ``route``: None if the request failed before a version that exists was
    chosen. ``code``: ``ok`` or the problem's code. ``images``: pictures answered. ``seconds``: from request to answer.
    ``fallback``: the candidate that failed before ``route`` answered. ``bad_picture_codes``: of each picture that could
    not be read, its problem's code.
    """

    model: str | None
    route: Route | None
    code: str
    images: int
    seconds: float
    stage_seconds: Mapping[str, float]
    fallback: Fallback | None = None
    bad_picture_codes: tuple[str, ...] = ()


@dataclass(frozen=True)
class VersionTotals:
    """Of a version since this process began: requests that were answered and not, the seconds of both, and pictures."""

    answered: int
    failed: int
    seconds: float
    pictures: int


class PrometheusMetrics:
    """Counts what requests did. The registry is an argument, so that tests read their own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._exposition = Exposition(registry)
        self._requests = Counter(
            "headway_requests", "Classification requests by outcome: ok or the problem's code",
            (*_VERSION_LABELS, "code"), registry=registry,
        )  # fmt: skip
        self._images = Counter("headway_images", "Pictures answered", _VERSION_LABELS, registry=registry)
        self._seconds = BufferedHistogram(
            "headway_request_seconds", "Seconds from request to answer, all outcomes",
            _VERSION_LABELS, REQUEST_SECONDS, registry,
        )  # fmt: skip
        self._stage_seconds = BufferedHistogram(
            "headway_stage_seconds",
            "Seconds in one stage: read, manifest, decode, preprocess, features, predict, rank",
            (*_VERSION_LABELS, "stage"), _STAGE_SECONDS, registry,
        )  # fmt: skip
        self._fallbacks = Counter(
            "headway_fallbacks", "Candidates that failed, by the problem's code, where the stable version answered",
            ("model", "version", "code"), registry=registry,
        )  # fmt: skip
        self._bad_pictures = Counter(
            "headway_bad_pictures", "Pictures that could not be read, by the problem's code", ("code",),
            registry=registry,
        )  # fmt: skip
        self._batch_rows = Histogram(
            "headway_batch_rows", "Rows in one call to the model server",
            ("model", "version", "signature"), buckets=_BATCH_ROWS, registry=registry,
        )  # fmt: skip
        self._queues = _QueueCollector()
        registry.register(self._queues)
        self._in_flight = Gauge(
            "headway_requests_in_flight", "Classification requests being worked on", registry=registry
        )
        self._routes_valid = Gauge(
            "headway_routes_valid", "1 if the routes file as it is now is in force, 0 if the last good one is",
            registry=registry,
        )  # fmt: skip
        self._shadow_compared = Counter(
            "headway_shadow_compared", "Mirrored pictures: agree, disagree, error (the shadow failed), dropped",
            ("model", "version", "outcome"), registry=registry,
        )  # fmt: skip
        self._shadow_classes = Counter(
            "headway_shadow_class_compared", "Mirrored pictures that were compared, by the stable version's label",
            ("model", "version", "label"), registry=registry,
        )  # fmt: skip
        self._shadow_flips = Counter(
            "headway_shadow_flips", "Mirrored pictures whose label the shadow changes",
            ("model", "version", "from_label", "to_label"), registry=registry,
        )  # fmt: skip
        self._shadow_shift = Histogram(
            "headway_shadow_score_shift", "How far the score of the stable version's label moves, 0 to 1",
            ("model", "version"), buckets=_SHIFTS, registry=registry,
        )  # fmt: skip
        self._tokens_valid, self._refused_callers = _caller_metrics(registry)
        self._pending_routes, self._feedback = PendingRoutesCollector(registry), _feedback_counter(registry)
        self._keys, self._routes = KeySamples(registry), RouteMetrics(registry)
        _say_build(registry)
        # Finding a labelled child by its texts costs more than counting: each one is looked up once.
        self._children: dict[tuple[str, ...], Any] = {}

    def watch_route_table(self, table: Callable[[], RouteTable]) -> None:
        """Report at every scrape the routes in force and how rollouts stand."""
        self._keys.routes = self._routes.routes = table

    def watch_routes(self, problem: Callable[[], str | None]) -> None:
        """Report at every scrape whether the routes file is in force."""
        self._routes_valid.set_function(lambda: 0.0 if problem() else 1.0)

    def watch_pending_routes(self, states: Callable[[], Mapping[str, bool]]) -> None:
        """Report at every scrape which of the routed models wait for versions of new routes."""
        self._pending_routes.states = states

    def count_feedback(self, route: Route, stage: Hashable, *, right: bool) -> None:
        """Count one answer whose truth is known; its route is one that the catalogue knows."""
        outcome = "right" if right else "wrong"
        self._child("feedback", self._feedback, (route.model, str(route.version), route.arm.value, outcome)).inc()
        self._keys.observe_feedback(route, stage, outcome)

    def watch_in_flight(self, count: Callable[[], float]) -> None:
        """Report at every scrape how many requests are being worked on."""
        self._in_flight.set_function(count)

    def watch_queues(self, states: Callable[[], Mapping[str, QueueState]]) -> None:
        """Report at every scrape how the queue of each model does."""
        self._queues.states = states

    def observe_batch(self, route: Route, signature: str, rows: int) -> None:
        """Count one call to the model server; its route is one that the catalogue knows."""
        self._child("batch", self._batch_rows, (route.model, str(route.version), signature)).observe(rows)

    def watch_tokens(self, problem: Callable[[], str | None]) -> None:
        """Report at every scrape whether the tokens file is in force."""
        self._tokens_valid.set_function(lambda: 0.0 if problem() else 1.0)

    def refuse_caller(self, code: str) -> None:
        """Count one request that was refused for its token; ``code``: ``unauthorized`` or ``forbidden``."""
        self._refused_callers.labels(code).inc()

    def compared(self, model: str, version: int, comparisons: list[Comparison]) -> None:
        """Count pictures that a shadow has answered too; labels are those of the two manifests."""
        labels = (model, str(version))
        for each in comparisons:
            agree = each.stable_label == each.shadow_label
            self._child("shadow", self._shadow_compared, (*labels, "agree" if agree else "disagree")).inc()
            self._child("shadow_class", self._shadow_classes, (*labels, each.stable_label)).inc()
            if not agree:
                flip = (*labels, each.stable_label, each.shadow_label)
                self._child("shadow_flip", self._shadow_flips, flip).inc()
            if each.score_shift is not None:
                self._child("shadow_shift", self._shadow_shift, labels).observe(each.score_shift)

    def not_compared(self, model: str, version: int, outcome: str, pictures: int) -> None:
        """Count pictures that a shadow failed (``error``) or was not asked for (``dropped``)."""
        self._child("shadow", self._shadow_compared, (model, str(version), outcome)).inc(pictures)

    def observe(self, observation: Observation) -> None:
        """Count one request."""
        route = observation.route
        if route is None:
            labels = (observation.model or _UNKNOWN, _UNKNOWN, _UNKNOWN)
        else:
            labels = (route.model, str(route.version), route.arm.value)
        self._child("requests", self._requests, (*labels, observation.code)).inc()
        self._seconds.labels(*labels).observe(observation.seconds)
        if observation.code == "ok":
            self._child("images", self._images, labels).inc(observation.images)
        if observation.fallback is not None:
            failed = observation.fallback.route
            labels_of_fallback = (failed.model, str(failed.version), observation.fallback.code)
            self._child("fallbacks", self._fallbacks, labels_of_fallback).inc()
        for code in observation.bad_picture_codes:
            self._child("bad_pictures", self._bad_pictures, (code,)).inc()
        for stage, seconds in observation.stage_seconds.items():
            self._stage_seconds.labels(*labels, stage).observe(seconds)

    def observe_key(self, request: KeyedRequest) -> None:
        """Count a request whose version the split chose, if it is its key's first in this stage."""
        self._keys.observe(request)

    def totals(self, model: str, version: int) -> VersionTotals:
        """What was counted for a version, whatever its arm was."""

        def summed(metric: Collector, name: str, *codes: bool) -> float:
            return sum(
                sample.value
                for family in metric.collect()
                for sample in family.samples
                if sample.name == name
                and (sample.labels["model"], sample.labels["version"]) == (model, str(version))
                and (not codes or (sample.labels["code"] == "ok") in codes)
            )

        return VersionTotals(
            answered=int(summed(self._requests, "headway_requests_total", True)),
            failed=int(summed(self._requests, "headway_requests_total", False)),
            seconds=summed(self._seconds, "headway_request_seconds_sum"),
            pictures=int(summed(self._images, "headway_images_total")),
        )

    def exposition(self) -> bytes:
        """The page that Prometheus scrapes, of type :data:`CONTENT_TYPE`."""
        return self._exposition.page()

    def _child(self, kind: str, metric: Counter | Histogram, labels: tuple[str, ...]) -> Any:
        key = (kind, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child


class _QueueCollector(Collector):
    """Reads the queues when somebody scrapes."""

    def __init__(self) -> None:
        self.states: Callable[[], Mapping[str, QueueState]] = dict

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One series a model and metric."""
        states = self.states()
        for name, doc, value in _QUEUE_METRICS:
            family = GaugeMetricFamily(name, doc, labels=("model",))
            for model, state in states.items():
                family.add_metric((model,), value(state))
            yield family


def _feedback_counter(registry: CollectorRegistry) -> Counter:
    return Counter(
        "headway_feedback", "Answers whose truth an application told: right or wrong",
        (*_VERSION_LABELS, "outcome"), registry=registry,
    )  # fmt: skip


def _say_build(registry: CollectorRegistry) -> None:
    build = Gauge(
        "headway_build_info", "Always 1; the version of the gateway, and a name of its own for each process",
        ("version", "process"), registry=registry,
    )  # fmt: skip
    build.labels(importlib.metadata.version("headway"), uuid.uuid4().hex).set(1)


def _caller_metrics(registry: CollectorRegistry) -> tuple[Gauge, Counter]:
    valid = Gauge(
        "headway_tokens_valid", "1 if the tokens file as it is now is in force, or none is used; else 0",
        registry=registry,
    )  # fmt: skip
    valid.set(1)
    refused = Counter(
        "headway_refused_callers", "Requests refused for their token, by the problem's code", ("code",),
        registry=registry,
    )  # fmt: skip
    return valid, refused
