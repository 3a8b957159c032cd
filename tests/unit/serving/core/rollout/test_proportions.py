"""Exact bounds on shares agree with SciPy's beta distribution, and cover what they promise."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from headway_serving.core.rollout.proportions import lower_bound, provably_greater, upper_bound

SAMPLES = st.integers(1, 200_000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))


@settings(deadline=None, max_examples=200)
@given(sample=SAMPLES, alpha=st.sampled_from([0.05, 0.01, 1e-4, 1e-7]))
def test_the_bounds_are_those_of_clopper_and_pearson(sample: tuple[int, int], alpha: float) -> None:
    count, total = sample
    low = stats.beta.ppf(alpha, count, total - count + 1) if count else 0.0
    high = stats.beta.ppf(1 - alpha, count + 1, total - count) if count < total else 1.0
    assert lower_bound(count, total, alpha) == pytest.approx(low, rel=1e-6, abs=1e-12)
    assert upper_bound(count, total, alpha) == pytest.approx(high, rel=1e-6, abs=1e-12)


def test_without_samples_nothing_is_known() -> None:
    assert (lower_bound(0, 0, 0.01), upper_bound(0, 0, 0.01)) == (0.0, 1.0)
    assert not provably_greater(0, 0, (0, 0), 0.01)


@pytest.mark.parametrize(
    ("count", "total", "than", "margin", "greater"),
    [
        (50, 1000, (0, 10_000), 0.0, True),
        (50, 1000, (0, 10_000), 0.05, False),
        (5, 100, (5, 100), 0.0, False),
        (6, 100, (5, 100), 0.0, False),
        (1, 1, (0, 1000), 0.0, False),
    ],
)
def test_greater_needs_proof(count: int, total: int, than: tuple[int, int], margin: float, greater: bool) -> None:
    assert provably_greater(count, total, than, 1e-4, margin) is greater


@pytest.mark.parametrize(("share", "total", "total_stable"), [(0.01, 400, 4000), (0.2, 200, 200), (0.5, 50, 1000)])
def test_equal_shares_are_called_greater_no_more_often_than_allowed(
    share: float, total: int, total_stable: int
) -> None:
    """Summed over every outcome of both binomial counts, so without chance."""
    alpha, wrong = 0.05, 0.0
    stable = stats.binom(total_stable, share)
    for count in range(total + 1):
        mass = stats.binom.pmf(count, total, share)
        if mass < 1e-9:
            continue
        # Greater for all stable counts below some number: found by bisection.
        low, high = -1, total_stable
        while low < high:
            middle = (low + high + 1) // 2
            if provably_greater(count, total, (middle, total_stable), alpha):
                low = middle
            else:
                high = middle - 1
        wrong += mass * stable.cdf(low)
    assert wrong <= alpha
