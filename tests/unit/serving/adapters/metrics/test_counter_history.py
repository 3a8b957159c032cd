"""By how much counters rose in a window, whatever happened to the gateways meanwhile."""

import math

import pytest

from headway_serving.adapters.metrics.counter_history import Instance, Points, Series, increase, observed
from headway_serving.core.duration_steps import edge_text, step_of
from headway_serving.core.rollout_traffic import KeySample

SEEN_BEFORE = Instance((80.0, 90.0, 100.0, 110.0, 120.0, 130.0), started=10.0)
BETWEEN = Instance((80.0, 95.0, 110.0, 125.0), started=10.0)
RESTARTED = Instance((120.0, 130.0), started=110.0)
LATE = Instance((120.0, 130.0), started=10.0)


@pytest.mark.parametrize(
    ("points", "instance", "risen"),
    [
        ([], SEEN_BEFORE, 0),
        ([(90, 7)], SEEN_BEFORE, 0),
        ([(80, 5), (90, 7), (100, 8), (110, 10), (120, 12)], SEEN_BEFORE, 4),
        ([(80, 5), (95, 7), (110, 10), (125, 12)], BETWEEN, 2),
        ([(110, 3), (125, 4)], BETWEEN, 1),
        ([(125, 4)], BETWEEN, 4),
        ([(90, 7), (100, 7), (110, 2), (120, 3)], SEEN_BEFORE, 3),
        ([(100, 7), (110, 9), (120, 1), (130, 4)], SEEN_BEFORE, 6),
        ([(110, 3), (120, 4)], SEEN_BEFORE, 4),
        ([(120, 3), (130, 4)], RESTARTED, 4),
        ([(120, 300), (130, 304)], LATE, 4),
        ([(120, 300), (130, 304)], Instance(), 0),
    ],
    ids=["nothing", "only before", "plain", "what came before the window's first scrape", "a series born before it",
         "a series born after it", "restarted", "restarted inside", "a new series", "a new process", "unseen before",
         "unknown gateway"],
)  # fmt: skip
def test_a_rise_is_counted_from_the_beginning_of_the_window(points: Points, instance: Instance, risen: float) -> None:
    assert increase(points, 100.0, instance) == risen


def test_a_value_that_is_no_number_stays_none() -> None:
    assert math.isnan(increase([(100, 7), (110, math.nan), (120, 9)], 100.0, SEEN_BEFORE))


def series(name: str, risen: float, instance: str = "a", **labels: str) -> Series:
    return Series(name, labels, instance, [(90, 4.0), (100, 5.0), (110, 5.0 + risen)])


def test_arms_are_summed_over_gateways_and_only_faults_count_against_a_version() -> None:
    seen = observed(
        [
            series("headway_requests_total", 90, version="2", arm="candidate", code="ok"),
            series("headway_requests_total", 10, "b", version="2", arm="candidate", code="ok"),
            series("headway_requests_total", 3, version="2", arm="candidate", code="prediction_failed"),
            series("headway_requests_total", 2, version="2", arm="candidate", code="a_code_of_tomorrow"),
            series("headway_requests_total", 50, version="2", arm="candidate", code="overloaded"),
            series("headway_requests_total", 50, version="2", arm="candidate", code="invalid_request"),
            series("headway_fallbacks_total", 4, version="2", code="model_unavailable"),
            series("headway_requests_total", 700, version="1", arm="stable", code="ok"),
            series("headway_requests_total", 999, version="unknown", arm="unknown", code="model_not_found"),
            series("headway_key_requests_total", 60, version="2", code="ok"),
            series("headway_key_requests_total", 8, "b", version="2", code="ok"),
            series("headway_key_requests_total", 1, version="2", code="prediction_failed"),
            series("headway_key_latency_total", 60, version="2", up_to=edge_text(50)),
            series("headway_key_latency_total", 8, "b", version="2", up_to=edge_text(50)),
            series("headway_key_work_total", 68, version="2", up_to=edge_text(step_of(0.004))),
            series("headway_key_labels_total", 68, version="2", label="three"),
            series("headway_key_scores_total", 68, version="2", up_to="0.95"),
            series("headway_key_feedback_total", 30, version="2", outcome="right"),
            series("headway_key_feedback_total", 2, "b", version="2", outcome="wrong"),
        ],
        {"a": SEEN_BEFORE, "b": SEEN_BEFORE},
        stable=1,
        candidate=2,
        since=100.0,
    )
    assert (seen.candidate.requests, seen.candidate.errors) == (100 + 3 + 2 + 4, 3 + 2 + 4)
    assert (seen.stable.requests, seen.stable.errors) == (700, 0)
    assert seen.candidate.overloaded == 50
    assert seen.candidate.sample == KeySample(69, 1, {50: 68}, {step_of(0.004): 68}, {"three": 68}, {18: 68}, 30, 2)
    assert seen.stable.sample == KeySample()


def test_a_shadow_is_read_by_outcome_class_and_pair() -> None:
    seen = observed(
        [
            series("headway_shadow_compared_total", 90, version="2", outcome="agree"),
            series("headway_shadow_compared_total", 6, version="2", outcome="disagree"),
            series("headway_shadow_compared_total", 2, version="2", outcome="error"),
            series("headway_shadow_compared_total", 1, version="2", outcome="dropped"),
            series("headway_shadow_flips_total", 6, version="2", from_label="cat", to_label="dog"),
            series("headway_shadow_class_compared_total", 50, version="2", label="cat"),
            series("headway_shadow_flips_total", 9, version="3", from_label="cat", to_label="dog"),
            series("headway_shadow_score_shift_sum", 12, version="2"),
            series("headway_shadow_score_shift_sum", 12, "b", version="2"),
            series("headway_shadow_score_shift_count", 90, version="2"),
            series("headway_shadow_score_shift_count", 6, "b", version="2"),
        ],
        {"a": SEEN_BEFORE, "b": SEEN_BEFORE},
        stable=1,
        candidate=2,
        since=100.0,
    ).shadow
    assert (seen.agree, seen.disagree, seen.error, seen.dropped) == (90, 6, 2, 1)
    assert (seen.flips, seen.by_class) == ({("cat", "dog"): 6}, {"cat": 50})
    assert seen.mean_shift == 0.25
