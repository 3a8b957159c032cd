"""Scores and labels -> figures. Pure functions of arrays."""

import math

import numpy as np
from numpy.typing import NDArray

from headway_contract.model_manifest import Accuracy

_Z_95 = 1.959963984540054
"""Two-sided 95 % quantile of the standard normal distribution."""


def accuracy(scores: NDArray[np.float32], labels: NDArray[np.int32]) -> Accuracy:
    """Share of rows of ``scores`` (``float32[N, K]``) whose largest entry is at ``labels`` (``int32[N]``), N >= 1."""
    right = int(np.count_nonzero(scores.argmax(axis=1) == labels))
    low, high = wilson_interval(right, len(labels))
    return Accuracy(value=right / len(labels), low=low, high=high, samples=len(labels))


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95 % score interval of a proportion, both ends in 0..1, for ``trials`` >= 1.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927).
    """
    share = successes / trials
    scale = 1 + _Z_95**2 / trials
    centre = (share + _Z_95**2 / (2 * trials)) / scale
    half = _Z_95 * math.sqrt(share * (1 - share) / trials + _Z_95**2 / (4 * trials**2)) / scale
    # Both bounds hold exactly; rounding alone would put an end on the wrong side of a share of 0 or 1.
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))
