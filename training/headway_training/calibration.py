"""Makes scores mean what they say, and says below which score it is better not to answer.

Both are fitted on the validation split: the test split must not have been looked at when it is measured.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import binom

from headway_training.evaluation import SMALLEST_SCORE
from headway_training.run_record import Abstention, CoveragePoint

_TEMPERATURES = (0.05, 20.0)
_LARGEST_TARGET_RISK = 0.1
_CURVE_POINTS = 100
_DOUBT = 0.05
_STARTS = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Coverages from which wider and wider ones are tested; the doubt is divided among them."""


def fit_temperature(scores: NDArray[np.float32], labels: NDArray[np.int32]) -> float:
    """The temperature in 0.05..20 by which to divide logits so that the mean cross-entropy is least.

    ``scores``: ``float32[N, K]``, softmax of the validation split; ``labels``: ``int32[N]``, N >= 1. Never worse on
    them than 1. Where every row is right, it is 1: an ever smaller temperature would fit ever better, and how sure
    the model may be of itself cannot be learned from rows without a mistake.

    Source: Guo, Pleiss, Sun, Weinberger, On calibration of modern neural networks, ICML 2017 (temperature scaling).
    """
    if (scores.argmax(axis=1) == labels).all():
        return 1.0
    logits = _logits(scores)
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        return -float(log_softmax(logits / math.exp(log_temperature), axis=1)[rows, labels].mean())

    # Convex in 1/T, so there is one minimum in log T.
    found = minimize_scalar(
        loss, bounds=(math.log(_TEMPERATURES[0]), math.log(_TEMPERATURES[1])), method="bounded", options={"xatol": 1e-4}
    )
    return math.exp(found.x) if found.fun < loss(0.0) else 1.0


def apply_temperature(scores: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """The softmax of logits divided by ``temperature``: scores ``float32[N, K]`` -> ``float32[N, K]``, rows sum to 1.

    The largest score of a row stays the largest.
    """
    calibrated: NDArray[np.float32] = softmax(_logits(scores) / temperature, axis=1).astype(np.float32)
    return calibrated


def abstain_threshold(
    scores: NDArray[np.float32],
    labels: NDArray[np.int32],
    test_scores: NDArray[np.float32],
    test_labels: NDArray[np.int32],
) -> Abstention:
    """The smallest threshold whose answers have at most the target risk, with 95 % confidence where that can be had.

    The target is half of the error without abstaining, but at most 10 %: who lets a model decide alone wants nine
    answers in ten to be right. Where there are too few pictures for that confidence, the smallest threshold is taken
    at which the answers given on the validation split have the target risk, or if there is none, the least; there is
    no bound then. ``scores``, ``labels``: validation split, calibrated; ``test_scores``, ``test_labels``: where the
    threshold is measured. All ``float32[N, K]`` and ``int32[N]``, N >= 1.

    Source: Geifman and El-Yaniv, Selective classification for deep neural networks, NeurIPS 2017 (threshold on the
    softmax response, with guaranteed risk); Angelopoulos, Bates, Candes, Jordan, Lei, Learn then test, arXiv
    2110.01052 (2021) (thresholds tested in a fixed order from several starts, exact binomial tests).
    """
    points = _risk_coverage(scores, labels)
    target = min(points[-1].risk / 2, _LARGEST_TARGET_RISK)
    chosen, bound = _proven(points, len(labels), target)
    if chosen is None:
        within = [point for point in points if point.risk <= target]
        least = min(point.risk for point in points)
        chosen = (within or [point for point in points if point.risk == least])[-1]
    # Without a mistake there is nothing to hold back, not even what is less sure than any validation picture.
    threshold = 0.0 if chosen is points[-1] else chosen.threshold
    answered = test_scores.max(axis=1) >= threshold
    wrong = answered & (test_scores.argmax(axis=1) != test_labels)
    return Abstention(
        threshold=threshold,
        coverage=chosen.coverage,
        risk=chosen.risk,
        target_risk=target,
        test_coverage=float(answered.mean()),
        test_risk=float(wrong.sum() / max(answered.sum(), 1)),
        curve=_thinned(_risk_coverage(test_scores, test_labels)),
        bound=bound,
    )


def _proven(points: list[CoveragePoint], pictures: int, target: float) -> tuple[CoveragePoint | None, float | None]:
    """The widest point whose risk is proven to be at most ``target``, and what is proven; None where nothing is."""
    if points[-1].risk == 0:
        bound = 1 - _DOUBT ** (1 / pictures)
        return (points[-1], bound) if bound <= _LARGEST_TARGET_RISK else (None, None)

    def is_proven(point: CoveragePoint) -> bool:
        answered = round(point.coverage * pictures)
        wrong = round(point.risk * answered)
        return bool(binom.cdf(wrong, answered, target) <= _DOUBT / len(_STARTS))

    reached = -1
    for start in _STARTS:
        place = next(index for index, point in enumerate(points) if point.coverage >= start)
        # Each is tested only where all before it were proven, so that the first false proof is the only one.
        while place < len(points) and is_proven(points[place]):
            reached = max(reached, place)
            place += 1
    return (points[reached], target) if reached >= 0 else (None, None)


def _logits(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    logits: NDArray[np.float64] = np.log(np.maximum(scores.astype(np.float64), SMALLEST_SCORE))
    return logits


def _risk_coverage(scores: NDArray[np.float32], labels: NDArray[np.int32]) -> list[CoveragePoint]:
    """One point per distinct top score, the highest threshold (the lowest coverage) first."""
    top = scores.max(axis=1)
    order = np.argsort(-top, kind="stable")
    top = top[order]
    errors = np.cumsum(scores.argmax(axis=1)[order] != labels[order])
    # Pictures of equal score are answered together or not at all.
    ends = np.append(np.flatnonzero(np.diff(top)), len(top) - 1)
    return [
        CoveragePoint(float(top[end]), (end + 1) / len(top), float(errors[end] / (end + 1))) for end in ends.tolist()
    ]


def _thinned(points: list[CoveragePoint]) -> tuple[CoveragePoint, ...]:
    """At most 100 of ``points``, spread evenly, the last one always among them."""
    chosen = np.unique(np.linspace(0, len(points) - 1, min(_CURVE_POINTS, len(points))).round().astype(int))
    return tuple(points[index] for index in chosen.tolist())
