"""What the counts of requests say: of versions, of outcomes, of what was answered, and with which trace."""

import pytest
from prometheus_client import CollectorRegistry

from headway_contract.errors import InvalidImage
from headway_serving.adapters.metrics.observations import Observation
from headway_serving.adapters.metrics.request_counts import MOST_LABELS, RequestCounts, outcome_class
from headway_serving.core.classification import PictureAnswer
from headway_serving.core.ranking import Prediction
from headway_serving.core.routing import Arm, Route

ROUTE = Route("digits", 1, Arm.STABLE, "weight")
LABELS = {"model": "digits", "version": "1"}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def counts(registry: CollectorRegistry) -> RequestCounts:
    return RequestCounts(registry, slo_seconds=0.2)


def answered(*results: PictureAnswer, seconds: float = 0.01, trace_id: str | None = None) -> Observation:
    return Observation("digits", ROUTE, "ok", len(results), seconds, {}, results=results, trace_id=trace_id)


def test_answers_are_counted_by_label_and_score_and_those_without_as_abstentions(
    registry: CollectorRegistry, counts: RequestCounts
) -> None:
    counts.observe(answered((Prediction("3", 0.97), Prediction("8", 0.02)), (), InvalidImage("broken")))
    counts.observe(answered((Prediction("3", 0.6),)))
    value = registry.get_sample_value
    assert value("headway_answers_total", {**LABELS, "label": "3"}) == 2
    assert value("headway_answer_score_count", LABELS) == 2
    assert value("headway_answer_score_bucket", {**LABELS, "le": "0.8"}) == 1
    assert value("headway_abstentions_total", LABELS) == 1


def test_labels_beyond_the_first_are_counted_together(registry: CollectorRegistry, counts: RequestCounts) -> None:
    for number in range(MOST_LABELS + 7):
        counts.observe(answered((Prediction(f"label {number}", 0.9),)))
    assert registry.get_sample_value("headway_answers_total", {**LABELS, "label": "other"}) == 7


def test_the_slo_is_an_edge(registry: CollectorRegistry, counts: RequestCounts) -> None:
    for seconds in (0.1, 0.2, 0.201):
        counts.observe(answered(seconds=seconds))
    within = {**LABELS, "arm": "stable", "le": "0.2"}
    assert registry.get_sample_value("headway_request_seconds_bucket", within) == 2


def test_a_bucket_has_the_newest_trace_as_its_exemplar(registry: CollectorRegistry, counts: RequestCounts) -> None:
    counts.observe(answered(seconds=0.03, trace_id="a" * 32))
    counts.observe(answered(seconds=0.04, trace_id="b" * 32))
    counts.observe(answered(seconds=0.04))
    exemplars = [
        (sample.labels["le"], sample.exemplar.labels["trace_id"], sample.exemplar.value)
        for family in registry.collect()
        for sample in family.samples
        if sample.exemplar
    ]
    assert exemplars == [("0.05", "b" * 32, 0.04)]


def test_who_was_turned_away_is_counted_by_model_arm_and_reason(
    registry: CollectorRegistry, counts: RequestCounts
) -> None:
    counts.observe(Observation("digits", ROUTE, "overloaded", 0, 0.0, {}, status=503, shed="memory"))
    counts.observe(Observation("digits", None, "overloaded", 0, 0.0, {}, status=503, shed="limit"))
    counts.shed("connections")
    value = registry.get_sample_value
    assert value("headway_shed_total", {"model": "digits", "arm": "stable", "reason": "memory"}) == 1
    assert value("headway_shed_total", {"model": "digits", "arm": "unknown", "reason": "limit"}) == 1
    assert value("headway_shed_total", {"model": "unknown", "arm": "unknown", "reason": "connections"}) == 1


def test_bodies_pictures_and_tokens_are_counted(registry: CollectorRegistry, counts: RequestCounts) -> None:
    for size in (900, 5000):
        counts.observe(Observation("digits", ROUTE, "ok", 2, 0.0, {}, body_bytes=size, token="camera"))
    value = registry.get_sample_value
    assert value("headway_request_body_bytes_bucket", {"le": "1024.0"}) == 1
    assert value("headway_request_pictures_sum") == 4
    assert value("headway_token_requests_total", {"token": "camera"}) == 2


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("ok", 200, "ok"),
        ("invalid_image", 422, "refused"),
        ("overloaded", 503, "overloaded"),
        ("deadline_exceeded", 504, "late"),
        ("model_unavailable", 503, "failed"),
        ("internal_error", 500, "failed"),
    ],
)
def test_outcomes_have_five_classes(code: str, status: int, expected: str) -> None:
    assert outcome_class(code, status) == expected
