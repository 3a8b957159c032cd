"""Scores and labels -> figures. Pure functions of arrays."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headway_contract.model_manifest import Accuracy
from headway_training.run_record import ClassFigures, ConfusedPair, Evaluation, Mistake, ReliabilityBin

SMALLEST_SCORE = float(np.finfo(np.float32).tiny)
"""What a score of 0 counts as where its logarithm is taken: a softmax in float32 underflows to 0 from about here."""

_Z_95 = 1.959963984540054
"""Two-sided 95 % quantile of the standard normal distribution."""

_MOST_CONFUSED = 10
_TOP_LOSSES = 24
_FIRST_MISCLASSIFIED = 15
_BINS = 15


def evaluate(scores: NDArray[np.float32], labels: NDArray[np.int32], classes: Sequence[str]) -> Evaluation:
    """Every figure of ``scores`` (``float32[N, K]``, rows sum to 1) against ``labels`` (``int32[N]``), N >= 1.

    ``classes`` names the K classes in the order of the scores. Raises ValueError where the three do not fit.
    """
    if scores.shape != (len(labels), len(classes)) or not len(labels):
        raise ValueError(f"scores {scores.shape} do not fit {len(labels)} labels and {len(classes)} classes")
    confusion = confusion_matrix(scores, labels)
    bins = reliability(scores, labels)
    losses = cross_entropy(scores, labels)
    wrong = np.flatnonzero(scores.argmax(axis=1) != labels)
    # A stable sort: of equal losses the earlier picture comes first.
    costliest = wrong[np.argsort(-losses[wrong], kind="stable")]
    return Evaluation(
        accuracy=accuracy(scores, labels),
        per_class=_per_class(confusion, classes),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        most_confused=_most_confused(confusion, classes),
        top_losses=_mistakes(costliest[:_TOP_LOSSES], scores, labels, losses, classes),
        first_misclassified=_mistakes(wrong[:_FIRST_MISCLASSIFIED], scores, labels, losses, classes),
        log_loss=float(losses.mean()),
        ece=expected_calibration_error(bins),
        reliability=bins,
    )


def accuracy(scores: NDArray[np.float32], labels: NDArray[np.int32]) -> Accuracy:
    """Share of rows of ``scores`` (``float32[N, K]``) whose largest entry is at ``labels`` (``int32[N]``), N >= 1."""
    return share_right(scores.argmax(axis=1), labels)


def share_right(predicted: NDArray[np.integer], labels: NDArray[np.integer]) -> Accuracy:
    """Share of the class indices ``predicted`` (``int[N]``) that equal ``labels`` (``int[N]``), N >= 1."""
    right = int(np.count_nonzero(predicted == labels))
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


def cross_entropy(scores: NDArray[np.float32], labels: NDArray[np.int32]) -> NDArray[np.float64]:
    """``-log(score of the true class)`` in nats, ``float64[N]``; a score of 0 counts as :data:`SMALLEST_SCORE`."""
    given = scores[np.arange(len(labels)), labels].astype(np.float64)
    losses: NDArray[np.float64] = -np.log(np.maximum(given, SMALLEST_SCORE))
    return losses


def confusion_matrix(scores: NDArray[np.float32], labels: NDArray[np.int32]) -> NDArray[np.int64]:
    """Counts ``int64[K, K]``: row by true class, column by predicted class."""
    classes = scores.shape[1]
    cells = labels.astype(np.int64) * classes + scores.argmax(axis=1)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def reliability(scores: NDArray[np.float32], labels: NDArray[np.int32]) -> tuple[ReliabilityBin, ...]:
    """Top scores in 15 bins of equal width, ``(low, high]``, against the share that is right; empty bins are left out.

    Source: Niculescu-Mizil and Caruana, Predicting good probabilities with supervised learning, ICML 2005.
    """
    confidence = scores.max(axis=1)
    right = scores.argmax(axis=1) == labels
    # Edges in the scores' own precision: a score that prints as 0.2 belongs to the bin that ends at 0.2.
    edges = np.linspace(0, 1, _BINS + 1).astype(np.float32)
    # The ends are closed: rounding can carry a softmax a little above 1.
    member = np.searchsorted(edges[1:-1], confidence, side="left")
    return tuple(
        ReliabilityBin(
            low=index / _BINS,
            high=(index + 1) / _BINS,
            count=int(np.count_nonzero(member == index)),
            confidence=float(confidence[member == index].mean(dtype=np.float64)),
            accuracy=float(right[member == index].mean()),
        )
        for index in np.unique(member).tolist()
    )


def expected_calibration_error(bins: Sequence[ReliabilityBin]) -> float:
    """Mean distance between confidence and accuracy, 0..1, over bins weighted by their pictures.

    Source: Naeini, Cooper, Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015.
    """
    pictures = sum(item.count for item in bins)
    return sum(item.count * abs(item.confidence - item.accuracy) for item in bins) / pictures


def _per_class(confusion: NDArray[np.int64], classes: Sequence[str]) -> tuple[ClassFigures, ...]:
    figures = []
    for index, label in enumerate(classes):
        hits, support, predicted = (
            int(confusion[index, index]),
            int(confusion[index].sum()),
            int(confusion[:, index].sum()),
        )
        figures.append(
            ClassFigures(
                label=label,
                precision=hits / max(predicted, 1),
                recall=hits / max(support, 1),
                f1=2 * hits / max(support + predicted, 1),
                support=support,
                predicted=predicted,
            )
        )
    return tuple(figures)


def _most_confused(confusion: NDArray[np.int64], classes: Sequence[str]) -> tuple[ConfusedPair, ...]:
    pairs = [
        ConfusedPair(classes[true], classes[predicted], int(confusion[true, predicted]))
        for true, predicted in np.argwhere(confusion)
        if true != predicted
    ]
    return tuple(sorted(pairs, key=lambda pair: -pair.count)[:_MOST_CONFUSED])


def _mistakes(
    rows: NDArray[np.int64],
    scores: NDArray[np.float32],
    labels: NDArray[np.int32],
    losses: NDArray[np.float64],
    classes: Sequence[str],
) -> tuple[Mistake, ...]:
    predicted = scores.argmax(axis=1)
    return tuple(
        Mistake(
            index=row,
            true=classes[labels[row]],
            predicted=classes[predicted[row]],
            score=float(scores[row, predicted[row]]),
            loss=float(losses[row]),
        )
        for row in rows.tolist()
    )
