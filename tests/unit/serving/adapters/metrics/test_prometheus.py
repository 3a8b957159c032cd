"""What a dashboard reads: counts by model, version, arm and stage, in a registry of one's own."""

import pytest
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from headway_serving.adapters.metrics.observations import Observation
from headway_serving.adapters.metrics.prometheus import PrometheusMetrics
from headway_serving.core.admission import QueueState
from headway_serving.core.routing import Arm, Route

ROUTE = Route("digits", 2, Arm.CANDIDATE, "weight")
LABELS = {"model": "digits", "version": "2", "arm": "candidate"}
STAGES = {"decode": 0.002, "predict": 0.03}


def observation(
    model: str | None = "digits", route: Route | None = ROUTE, code: str = "ok", images: int = 3, seconds: float = 0.04
) -> Observation:
    return Observation(model, route, code, images, seconds, STAGES)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> PrometheusMetrics:
    return PrometheusMetrics(registry)


def series(registry: CollectorRegistry) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    return {
        (sample.name, frozenset(sample.labels.items())) for metric in registry.collect() for sample in metric.samples
    }


def test_an_answer_is_counted_for_its_version_and_stages(
    registry: CollectorRegistry, metrics: PrometheusMetrics
) -> None:
    metrics.observe(observation())
    metrics.observe(observation(images=1))
    value = registry.get_sample_value
    assert value("headway_requests_total", {**LABELS, "code": "ok"}) == 2
    assert value("headway_images_total", LABELS) == 4
    assert value("headway_request_seconds_sum", LABELS) == pytest.approx(0.08)
    for stage, seconds in STAGES.items():
        assert value("headway_stage_seconds_count", {**LABELS, "stage": stage}) == 2
        assert value("headway_stage_seconds_sum", {**LABELS, "stage": stage}) == pytest.approx(2 * seconds)


def test_a_failure_is_counted_by_its_code_and_answers_no_picture(
    registry: CollectorRegistry, metrics: PrometheusMetrics
) -> None:
    metrics.observe(observation(code="model_unavailable"))
    assert registry.get_sample_value("headway_requests_total", {**LABELS, "code": "model_unavailable"}) == 1
    assert registry.get_sample_value("headway_request_seconds_count", LABELS) == 1
    assert registry.get_sample_value("headway_images_total", LABELS) is None


def test_a_failure_before_a_version_is_chosen_is_counted_for_the_model(
    registry: CollectorRegistry, metrics: PrometheusMetrics
) -> None:
    metrics.observe(observation(route=None, code="invalid_image"))
    labels = {"model": "digits", "version": "unknown", "arm": "unknown", "code": "invalid_image"}
    assert registry.get_sample_value("headway_requests_total", labels) == 1


def test_unknown_models_make_one_series_however_many(registry: CollectorRegistry, metrics: PrometheusMetrics) -> None:
    metrics.observe(observation(model=None, route=None, code="model_not_found"))
    before = series(registry)
    for _ in range(50):
        metrics.observe(observation(model=None, route=None, code="model_not_found"))
    assert series(registry) == before
    labels = {"model": "unknown", "version": "unknown", "arm": "unknown", "code": "model_not_found"}
    assert registry.get_sample_value("headway_requests_total", labels) == 51


def test_routes_in_force_are_looked_at_with_every_scrape(
    registry: CollectorRegistry, metrics: PrometheusMetrics
) -> None:
    problem: list[str | None] = [None]
    metrics.watch_routes(lambda: problem[0])
    assert registry.get_sample_value("headway_routes_valid") == 1
    problem[0] = "routes.json is refused"
    assert registry.get_sample_value("headway_routes_valid") == 0


def test_the_queues_are_read_when_somebody_scrapes(registry: CollectorRegistry, metrics: PrometheusMetrics) -> None:
    states: dict[str, QueueState] = {}
    metrics.watch_queues(lambda: states)
    assert registry.get_sample_value("headway_queue_pictures", {"model": "digits"}) is None
    states["digits"] = QueueState(waiting=7, serving=3, limit=8, wait_seconds=0.5, shedding=True)
    of_model = {"model": "digits"}
    assert registry.get_sample_value("headway_queue_pictures", of_model) == 7
    assert registry.get_sample_value("headway_queue_serving_pictures", of_model) == 3
    assert registry.get_sample_value("headway_queue_limit", of_model) == 8
    assert registry.get_sample_value("headway_queue_wait_seconds", of_model) == 0.5
    assert registry.get_sample_value("headway_queue_shedding", of_model) == 1


def test_two_registries_share_nothing(registry: CollectorRegistry, metrics: PrometheusMetrics) -> None:
    other = CollectorRegistry()
    PrometheusMetrics(other).observe(observation())
    assert registry.get_sample_value("headway_images_total", LABELS) is None
    assert REGISTRY.get_sample_value("headway_images_total", LABELS) is None


def test_the_page_is_what_prometheus_reads(metrics: PrometheusMetrics) -> None:
    metrics.observe(observation())
    families = {family.name: family for family in text_string_to_metric_families(metrics.exposition().decode())}
    assert {name for name in families if name.startswith("headway_")} >= {
        "headway_requests",
        "headway_images",
        "headway_request_seconds",
        "headway_stage_seconds",
        "headway_requests_in_flight",
        "headway_routes_valid",
        "headway_build_info",
    }
    assert all(family.documentation for family in families.values())
