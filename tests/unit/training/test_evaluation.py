"""The figures of an evaluation against published and hand-made ones."""

import numpy as np
import pytest

from headway_training.evaluation import accuracy, wilson_interval


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # R. G. Newcombe, Two-sided confidence intervals for the single proportion, Statistics in Medicine 17 (1998),
    # table I, method 3 (score method without continuity correction).
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_has_the_published_values(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("trials", [1, 7, 500])
def test_the_interval_is_symmetric_in_success_and_failure_and_stays_in_0_to_1(trials: int) -> None:
    for successes in range(0, trials + 1, max(1, trials // 7)):
        low, high = wilson_interval(successes, trials)
        assert 0 <= low <= successes / trials <= high <= 1
        assert wilson_interval(trials - successes, trials) == pytest.approx((1 - high, 1 - low))


def test_accuracy_counts_the_rows_whose_largest_score_is_at_their_label() -> None:
    scores = np.array([[0.1, 0.9], [0.8, 0.2], [0.6, 0.4], [0.3, 0.7]], dtype=np.float32)
    found = accuracy(scores, np.array([1, 0, 1, 1], dtype=np.int32))
    assert (found.value, found.samples) == (0.75, 4)
    assert (found.low, found.high) == wilson_interval(3, 4)
