"""The gateway's metrics, as its page shows them; what they are called stands in :mod:`.names`.

Label values come from the route table and the catalogue, never from what a client typed: an unknown model or version
is counted as ``unknown``, so a scan of random names makes no new series.
"""

import gzip
import importlib.metadata
import time
import uuid
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    disable_created_metrics,
)
from prometheus_client.metrics_core import Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from headway_serving.adapters.metrics import names
from headway_serving.adapters.metrics.exposition import content_type_for, page_of
from headway_serving.adapters.metrics.families import (
    Distributions,
    Samples,
    Tally,
    WatchedValues,
    family_of,
)
from headway_serving.adapters.metrics.key_sample import KeyedRequest, KeySamples
from headway_serving.adapters.metrics.observations import Observation, VersionTotals
from headway_serving.adapters.metrics.request_counts import UNKNOWN, RequestCounts
from headway_serving.adapters.metrics.route_metrics import RouteMetrics
from headway_serving.adapters.model_server.calls import ModelServerCall
from headway_serving.core.admission import QueueState
from headway_serving.core.routing import Route, RouteTable
from headway_serving.core.shadow import Comparison

SLO_SECONDS = 0.25
"""In which requests shall be answered, where nobody says otherwise."""

_SHIFTS = (0.001, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8)
_BATCH_ROWS = (1, 4, 16, 64)
_CALL_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

_RETIRE_EVERY_SECONDS = 60.0
_GZIP_LEVEL = 1
"""A page shrinks to a twentieth at the first level; the ninth takes four times as long for a third less."""

_QUEUE_VALUES: tuple[tuple[names.Metric, Callable[[QueueState], float]], ...] = (
    (names.QUEUE_PICTURES, lambda state: state.waiting),
    (names.QUEUE_SERVING, lambda state: state.serving),
    (names.QUEUE_LIMIT, lambda state: state.limit),
    (names.QUEUE_WAIT_SECONDS, lambda state: state.wait_seconds),
    (names.QUEUE_SHEDDING, lambda state: state.shedding),
)

_WATCHED = (
    *(metric for metric, _ in _QUEUE_VALUES),
    names.IN_FLIGHT, names.TOKENS_VALID, names.HTTP_ANSWERS, names.CONNECTIONS, names.CONNECTIONS_LIMIT,
    names.DRAINING, names.BATCH_WAITING_ROWS, names.BATCH_CALLS, names.HELD_BYTES, names.HELD_BYTES_LIMIT,
    names.DECODE_BYTES, names.DECODE_BYTES_LIMIT, names.MEMORY_LIMIT_BYTES, names.MODEL_SERVER_UP,
    names.VERSION_STATE, names.VERSION_LOAD_FAILED, names.ROUTES_VALID, names.ROUTES_INFO, names.ROUTES_TIMESTAMP,
    names.ROUTES_PENDING, names.SHADOW_QUEUE, names.SHADOW_QUEUE_BYTES, names.LOG_RECORDS, names.CHILD_UP,
    names.CHILD_RESTARTS, names.BUILD_INFO, names.SLO_SECONDS,
)  # fmt: skip


def process_registry() -> CollectorRegistry:
    """A registry with what Prometheus' library knows of the process: memory, CPU time, files, collections."""
    # One "_created" series for each series says nothing that a dashboard needs.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it without types
    registry = CollectorRegistry()
    for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
        registry.register(collector)
    return registry


@dataclass(frozen=True)
class Page:
    """What a scrape gets: the page, its type, and how it is packed (``gzip``, or empty)."""

    body: bytes
    content_type: str
    encoding: str


class PrometheusMetrics:
    """Counts what requests did. The registry is an argument, so that tests read their own."""

    def __init__(
        self,
        registry: CollectorRegistry,
        slo_seconds: float = SLO_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry, self._clock = registry, clock
        self._requests = RequestCounts(registry, slo_seconds)
        self._batch_rows = Distributions(names.BATCH_ROWS, _BATCH_ROWS, registry)
        self._call_seconds = Distributions(names.MODEL_SERVER_CALL_SECONDS, _CALL_SECONDS, registry)
        self._calls = Tally(names.MODEL_SERVER_CALLS, registry)
        self._refused_callers = Tally(names.REFUSED_CALLERS, registry)
        self._feedback = Tally(names.FEEDBACK, registry)
        self._shadow_compared = Tally(names.SHADOW_COMPARED, registry)
        self._shadow_classes = Tally(names.SHADOW_CLASSES, registry)
        self._shadow_flips = Tally(names.SHADOW_FLIPS, registry)
        self._shadow_shift = Distributions(names.SHADOW_SHIFT, _SHIFTS, registry)
        self._keys, self._routes = KeySamples(registry), RouteMetrics(registry)
        self._scrapes = _Scrapes(registry)
        self._watched = WatchedValues(_WATCHED, registry)
        build = importlib.metadata.version("headway"), uuid.uuid4().hex
        self.watch(names.BUILD_INFO, lambda: [(build, 1.0)])
        self.watch(names.SLO_SECONDS, lambda: [((), slo_seconds)])
        self.watch(names.TOKENS_VALID, lambda: [((), 1.0)])
        self._retired_at = clock()

    def watch(self, metric: names.Metric, samples: Callable[[], Samples]) -> None:
        """Have a metric say at every scrape what ``samples`` gives then: label values and numbers."""
        self._watched.watch(metric, samples)

    def watch_value(self, metric: names.Metric, value: Callable[[], float]) -> None:
        """The same of a metric without labels."""
        self._watched.watch(metric, lambda: [((), float(value()))])

    def watch_route_table(self, table: Callable[[], RouteTable]) -> None:
        """Report at every scrape the routes in force and how rollouts stand."""
        self._keys.routes = self._routes.routes = table

    def watch_routes(self, problem: Callable[[], str | None]) -> None:
        """Report at every scrape whether the routes file is in force."""
        self.watch_value(names.ROUTES_VALID, lambda: not problem())

    def watch_pending_routes(self, states: Callable[[], Mapping[str, bool]]) -> None:
        """Report at every scrape which of the routed models wait for versions of new routes."""
        self.watch(names.ROUTES_PENDING, lambda: [((model,), float(waits)) for model, waits in states().items()])

    def watch_in_flight(self, count: Callable[[], float]) -> None:
        """Report at every scrape how many requests are being worked on."""
        self.watch_value(names.IN_FLIGHT, count)

    def watch_queues(self, states: Callable[[], Mapping[str, QueueState]]) -> None:
        """Report at every scrape how the queue of each model does."""

        def read(value: Callable[[QueueState], float]) -> Callable[[], Samples]:
            return lambda: [((model,), float(value(state))) for model, state in states().items()]

        for metric, value in _QUEUE_VALUES:
            self.watch(metric, read(value))

    def watch_tokens(self, problem: Callable[[], str | None]) -> None:
        """Report at every scrape whether the tokens file is in force."""
        self.watch_value(names.TOKENS_VALID, lambda: not problem())

    def count_feedback(self, route: Route, stage: Hashable, *, right: bool) -> None:
        """Count one answer whose truth is known; its route is one that the catalogue knows."""
        outcome = "right" if right else "wrong"
        self._feedback.count(route.model, str(route.version), route.arm.value, outcome)
        self._keys.observe_feedback(route, stage, outcome)

    def observe_batch(self, route: Route, signature: str, rows: int) -> None:
        """Count one call to the model server; its route is one that the catalogue knows."""
        self._batch_rows.observe(rows, route.model, str(route.version), signature)

    def observe_call(self, call: ModelServerCall) -> None:
        """Count one call to the model server as it ended."""
        self._calls.count(call.method, call.transport, call.code)
        if call.signature is not None:
            self._call_seconds.observe(call.ended - call.began, call.signature)

    def refuse_caller(self, code: str) -> None:
        """Count one request that was refused for its token; ``code``: ``unauthorized`` or ``forbidden``."""
        self._refused_callers.count(code)

    def compared(self, model: str, version: int, comparisons: list[Comparison]) -> None:
        """Count pictures that a shadow has answered too; labels are those of the two manifests."""
        labels = (model, str(version))
        for each in comparisons:
            agree = each.stable_label == each.shadow_label
            self._shadow_compared.count(*labels, "agree" if agree else "disagree")
            self._shadow_classes.count(*labels, each.stable_label)
            if not agree:
                self._shadow_flips.count(*labels, each.stable_label, each.shadow_label)
            if each.score_shift is not None:
                self._shadow_shift.observe(each.score_shift, *labels)

    def not_compared(self, model: str, version: int, outcome: str, pictures: int) -> None:
        """Count pictures that a shadow failed (``error``) or was not asked for (``dropped``)."""
        self._shadow_compared.count(model, str(version), outcome, by=pictures)

    def observe(self, observation: Observation) -> None:
        """Count one request."""
        self._requests.observe(observation)

    def shed(self, reason: str) -> None:
        """Count somebody who was turned away before it was known what was asked."""
        self._requests.shed(reason)

    def observe_key(self, request: KeyedRequest) -> None:
        """Count a request whose version the split chose, if it is its key's first in this stage."""
        self._keys.observe(request)

    def totals(self, model: str, version: int) -> VersionTotals:
        """What was counted for a version, whatever its arm was."""
        return self._requests.totals(model, version)

    def page(self, accept: str = "", accept_encoding: str = "") -> Page:
        """The page that Prometheus scrapes, as it asks for it: OpenMetrics has exemplars, and gzip is smaller."""
        began = time.perf_counter()
        self._retire()
        content_type = content_type_for(accept)
        body, encoding = page_of(self._registry, content_type), ""
        if _takes_gzip(accept_encoding):
            body, encoding = gzip.compress(body, _GZIP_LEVEL), "gzip"
        self._scrapes.took(time.perf_counter() - began)
        return Page(body, content_type, encoding)

    def exposition(self) -> bytes:
        """The page in Prometheus' text format."""
        return self.page().body

    def _retire(self) -> None:
        """Let the series of versions go that are routed no more; each was unchanged for an hour."""
        now = self._clock()
        if now - self._retired_at < _RETIRE_EVERY_SECONDS:
            return
        self._retired_at = now
        table = self._routes.routes()
        routed = {(name, str(each)) for name, routes in table.models.items() for each in routes.versions()}

        def is_routed(model: str, version: str) -> bool:
            return (model, version) in routed or (version == UNKNOWN and model in {*table.models, UNKNOWN})

        for each in (self._requests, self._batch_rows, self._feedback, self._shadow_compared, self._shadow_classes,
                     self._shadow_flips, self._shadow_shift):  # fmt: skip
            each.retire(is_routed, now)


def _takes_gzip(accept_encoding: str) -> bool:
    for each in accept_encoding.split(","):
        coding, _, weight = each.strip().partition(";")
        if coding.strip().lower() == "gzip":
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


class _Scrapes(Collector):
    """What the scrapes before have cost."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._count, self._seconds = 0, 0.0
        registry.register(self)

    def took(self, seconds: float) -> None:
        """Another page was made."""
        self._count += 1
        self._seconds += seconds

    def collect(self) -> Iterator[Metric]:
        """The metric."""
        family = family_of(names.SCRAPE_SECONDS)
        assert isinstance(family, SummaryMetricFamily)
        family.add_metric((), count_value=self._count, sum_value=self._seconds)
        yield family
