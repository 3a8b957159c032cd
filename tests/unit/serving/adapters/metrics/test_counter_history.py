"""By how much counters rose in a window, whatever happened to the gateways meanwhile."""

import math

import pytest

from headway_serving.adapters.metrics.counter_history import Instance, Points, Series, increase, observed
from headway_serving.core.rollout_state import Latency

SEEN_BEFORE, RESTARTED, LATE = Instance(50.0), Instance(120.0, started=110.0), Instance(120.0, started=10.0)


@pytest.mark.parametrize(
    ("points", "instance", "risen"),
    [
        ([], SEEN_BEFORE, 0),
        ([(90, 7)], SEEN_BEFORE, 0),
        ([(80, 5), (90, 7), (110, 10), (120, 12)], SEEN_BEFORE, 5),
        ([(90, 7), (110, 2), (120, 3)], SEEN_BEFORE, 3),
        ([(90, 7), (110, 9), (120, 1), (130, 4)], SEEN_BEFORE, 6),
        ([(110, 3), (120, 4)], SEEN_BEFORE, 4),
        ([(120, 3), (130, 4)], RESTARTED, 4),
        ([(120, 300), (130, 304)], LATE, 4),
        ([(120, 300), (130, 304)], Instance(math.inf), 4),
    ],
    ids=["nothing", "only before", "plain", "restarted", "restarted inside", "a new series", "a new process",
         "unseen before", "unknown gateway"],
)  # fmt: skip
def test_a_rise_is_counted_from_the_beginning_of_the_window(points: Points, instance: Instance, risen: float) -> None:
    assert increase(points, 100.0, instance) == risen


def test_a_value_that_is_no_number_stays_none() -> None:
    assert math.isnan(increase([(90, 7), (110, math.nan), (120, 9)], 100.0, SEEN_BEFORE))


def series(name: str, risen: float, instance: str = "a", **labels: str) -> Series:
    return Series(name, labels, instance, [(90, 5.0), (110, 5.0 + risen)])


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
            series("headway_request_seconds_bucket", 60, version="2", arm="candidate", le="0.01"),
            series("headway_request_seconds_bucket", 8, "b", version="2", arm="candidate", le="0.01"),
            series("headway_request_seconds_bucket", 70, version="2", arm="candidate", le="+Inf"),
            series("headway_request_seconds_bucket", 10, "b", version="2", arm="candidate", le="+Inf"),
        ],
        {"a": SEEN_BEFORE, "b": SEEN_BEFORE},
        stable=1,
        candidate=2,
        since=100.0,
    )
    assert (seen.candidate.requests, seen.candidate.errors) == (100 + 3 + 2 + 4, 3 + 2 + 4)
    assert (seen.stable.requests, seen.stable.errors) == (700, 0)
    assert seen.candidate.latency == Latency((0.01, math.inf), (68, 80))
    assert seen.stable.latency == Latency()


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
