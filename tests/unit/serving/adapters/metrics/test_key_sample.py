"""Each routing key is counted once in a stage, and only while traffic is split."""

from dataclasses import replace

from prometheus_client import CollectorRegistry

from headway_serving.adapters.metrics.key_sample import KeyedRequest, KeySamples
from headway_serving.core.duration_steps import edge_text, step_of
from headway_serving.core.routing import Arm, Candidate, ModelRoutes, Pin, Route, RouteTable

SPLIT = RouteTable({"digits": ModelRoutes(1, Candidate(2, 0.5))})
REQUEST = KeyedRequest(Route("digits", 2, Arm.CANDIDATE, "weight", 0.25), "stage 0", "ok", 0.005, 0.002, ("7", 0.93))


def counted(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, {"model": "digits", "version": "2", **labels})


def samples(table: RouteTable = SPLIT) -> tuple[KeySamples, CollectorRegistry]:
    registry = CollectorRegistry()
    made = KeySamples(registry)
    made.routes = lambda: table
    return made, registry


def test_a_key_counts_once_in_a_stage_and_again_in_the_next() -> None:
    made, registry = samples()
    for stage in ("stage 0", "stage 0", "stage 0", "stage 1"):
        made.observe(replace(REQUEST, stage=stage))
    assert counted(registry, "headway_key_requests_total", code="ok") == 2
    assert counted(registry, "headway_key_labels_total", label="7") == 2
    assert counted(registry, "headway_key_scores_total", up_to="0.95") == 2
    assert counted(registry, "headway_key_latency_total", up_to=edge_text(step_of(0.005))) == 2
    assert counted(registry, "headway_key_work_total", up_to=edge_text(step_of(0.002))) == 2


def test_keys_are_told_apart_to_a_millionth() -> None:
    made, registry = samples()
    for number in range(1000):
        made.observe(replace(REQUEST, route=replace(REQUEST.route, position=number / 2**20)))
    assert counted(registry, "headway_key_requests_total", code="ok") == 1000


def test_a_request_that_says_nothing_of_the_version_does_not_use_up_its_key() -> None:
    made, registry = samples()
    for code in ("invalid_image", "overloaded", "prediction_failed"):
        made.observe(replace(REQUEST, code=code))
    assert counted(registry, "headway_key_requests_total", code="prediction_failed") == 1
    assert counted(registry, "headway_key_requests_total", code="overloaded") is None
    assert counted(registry, "headway_key_labels_total", label="7") is None


def test_series_are_bounded_and_gone_when_the_traffic_is_not_split_any_more() -> None:
    made, registry = samples()
    for number in range(300):
        best = (f"class {number}", 0.5)
        made.observe(replace(REQUEST, best=best, route=replace(REQUEST.route, position=number / 1000)))
    assert counted(registry, "headway_key_labels_total", label="other") == 100
    made.routes = lambda: RouteTable({"digits": ModelRoutes(2)})
    assert counted(registry, "headway_key_labels_total", label="other") is None


def test_a_route_knows_its_position_only_where_the_split_chose() -> None:
    assert SPLIT.choose("digits", Pin(), "somebody").position is not None
    assert SPLIT.choose("digits", Pin(version=2), "somebody").position is None
    assert RouteTable({"digits": ModelRoutes(1)}).choose("digits", Pin(), "somebody").position is None
