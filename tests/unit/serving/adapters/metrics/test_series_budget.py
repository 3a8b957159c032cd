"""Fifty models with two arms each: how many series that is, and how long a page takes to make."""

import gzip
import time

from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from headway_serving.adapters.metrics import names
from headway_serving.adapters.metrics.observations import Observation
from headway_serving.adapters.metrics.prometheus import PrometheusMetrics, process_registry
from headway_serving.core.admission import QueueState
from headway_serving.core.ranking import Prediction
from headway_serving.core.routing import Arm, Candidate, ModelRoutes, Route, RouteTable

MODELS, LABELS = 50, 10
STAGES = dict.fromkeys(("read", "queue", "manifest", "decode", "preprocess", "batch", "predict", "rank"), 0.001)
MOST_SERIES, MOST_SECONDS = 6000, 0.060


def busy_gateway(registry: CollectorRegistry) -> PrometheusMetrics:
    """Metrics of a gateway whose every model has answered by both arms, with every label, and has refused some."""
    metrics = PrometheusMetrics(registry)
    models = [f"model-{number}" for number in range(MODELS)]
    table = RouteTable({name: ModelRoutes(1, Candidate(2, 0.1)) for name in models})
    metrics.watch_route_table(lambda: table)
    metrics.watch_pending_routes(lambda: dict.fromkeys(models, False))
    metrics.watch_queues(lambda: dict.fromkeys(models, QueueState(0, 1, 8, 0.0, shedding=False)))
    versions = [(name, version) for name in models for version in (1, 2)]
    metrics.watch(names.VERSION_STATE, lambda: [(("s", name, str(v), "AVAILABLE"), 1.0) for name, v in versions])
    metrics.watch(names.BATCH_WAITING_ROWS, lambda: [((name, str(version)), 0.0) for name, version in versions])
    for name in models:
        for arm, version in ((Arm.STABLE, 1), (Arm.CANDIDATE, 2)):
            route = Route(name, version, arm, "weight")
            for label in range(LABELS):
                results = ((Prediction(str(label), 0.9),),)
                metrics.observe(
                    Observation(name, route, "ok", 1, 0.02, STAGES, results=results, body_bytes=500, trace_id="ab" * 16)
                )
            metrics.observe(Observation(name, route, "overloaded", 0, 0.0, {}, status=503))
            metrics.observe_batch(route, "serving_default", 4)
    return metrics


def test_fifty_models_with_two_arms_make_no_more_series_than_planned() -> None:
    registry = process_registry()
    busy_gateway(registry)
    series = sum(len(family.samples) for family in registry.collect())
    assert 4000 < series <= MOST_SERIES


def test_a_page_is_made_in_the_time_that_is_planned() -> None:
    """Processor time of the quickest of a few: other processes of the machine take nothing of it."""
    metrics = busy_gateway(process_registry())
    for accept in ("text/plain", "application/openmetrics-text; version=1.0.0"):
        spent = []
        for _ in range(7):
            began = time.thread_time()
            page = metrics.page(accept, "gzip")
            spent.append(time.thread_time() - began)
        assert min(spent) <= MOST_SECONDS, accept
        assert len(page.body) * 10 < len(gzip.decompress(page.body))


def test_openmetrics_has_exemplars_and_ends_as_it_must() -> None:
    page = busy_gateway(CollectorRegistry()).page("application/openmetrics-text; version=1.0.0")
    assert page.content_type.startswith("application/openmetrics-text; version=1.0.0")
    text = page.body.decode()
    assert text.endswith("# EOF\n")
    assert 'trace_id="' + "ab" * 16 in text
    families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]  # the library leaves it so
    assert {family.name for family in families} >= {"headway_requests", "headway_answers"}
