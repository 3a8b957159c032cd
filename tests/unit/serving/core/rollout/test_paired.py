"""The exact tests agree with a statistics library, and accuse equal versions no oftener than they say."""

import numpy as np
import pytest
from scipy import stats

from headway_serving.core.rollout.paired import paired_p, unpaired_p


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (0, 9), (10, 2), (41, 11), (250, 190), (500, 0)])
def test_the_paired_test_is_the_binomial_one(first: int, second: int) -> None:
    total = first + second
    expected = stats.binomtest(first, total, 0.5, alternative="greater").pvalue if total else 1.0
    assert paired_p(first, second) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((9, 10), (2, 10)), ((838, 1000), (779, 1000)), ((0, 5), (0, 7)), ((5, 5), (7, 7)), ((1, 2), (5000, 10_000)),
        ((9930, 10_000), (9931, 10_000)), ((60_000, 70_000), (8_000, 10_000)),
    ],
)  # fmt: skip
def test_the_unpaired_test_is_fishers(first: tuple[int, int], second: tuple[int, int]) -> None:
    table = [[second[0], second[1] - second[0]], [first[0], first[1] - first[0]]]
    expected = stats.fisher_exact(table, alternative="less").pvalue
    assert unpaired_p(first, second) == pytest.approx(expected, rel=1e-6)


def test_without_pictures_nothing_is_said() -> None:
    assert unpaired_p((0, 0), (3, 10)) == unpaired_p((3, 10), (0, 0)) == 1.0


@pytest.mark.parametrize("accuracy", [0.55, 0.84, 0.98, 0.995])
@pytest.mark.parametrize("alike", [0.0, 0.9])
def test_equal_versions_are_accused_no_oftener_than_stated(accuracy: float, alike: float) -> None:
    """20,000 pairs of equally accurate versions that err on the same pictures in a share ``alike`` of them."""
    pairs, pictures, alpha = 20_000, 500, 0.005
    draw = np.random.default_rng(20_261_128)
    # Of each picture: both draw one common lot, or each its own.
    common = draw.binomial(pictures, alike, pairs)
    both_right = draw.binomial(common, accuracy)
    own = pictures - common
    outcomes = draw.multinomial(own, [accuracy**2, accuracy * (1 - accuracy), accuracy * (1 - accuracy),
                                      (1 - accuracy) ** 2])  # fmt: skip
    cases, counts = np.unique(outcomes[:, 1:3], axis=0, return_counts=True)
    accused = sum(
        count for (one, other), count in zip(cases, counts, strict=True) if paired_p(int(one), int(other)) <= alpha
    )
    assert accused / pairs <= alpha
    right = (both_right + outcomes[:, 0])[:, None] + outcomes[:, 1:3]
    cases, counts = np.unique(right, axis=0, return_counts=True)
    accused = sum(
        count
        for (one, other), count in zip(cases, counts, strict=True)
        if unpaired_p((int(one), pictures), (int(other), pictures)) <= alpha
    )
    assert accused / pairs <= alpha
