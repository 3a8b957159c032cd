"""Scores -> the predictions that are shown."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Prediction(NamedTuple):
    """A label and its score, a probability of 0 to 1."""

    label: str
    score: float


def rank(
    scores: NDArray[np.float32], labels: Sequence[str], top_k: int, min_confidence: float
) -> tuple[Prediction, ...]:
    """The ``top_k`` highest of ``scores`` (``float32[K]``, one per label) that reach ``min_confidence``, best first.

    ``top_k`` is capped at K; equal scores keep the labels' order.
    """
    order = (-scores).argsort(kind="stable")[:top_k]
    # Python numbers at once: taking them from the array one by one costs more than the sorting.
    best = zip(order.tolist(), scores[order].tolist(), strict=True)
    # As a float32, so that a score of 0.9 reaches 0.9.
    least = float(np.float32(min_confidence))
    return tuple([Prediction(labels[index], score) for index, score in best if score >= least])
