"""Every figure of an evaluation against one worked out by hand, or against scikit-learn's."""

import math

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

from headway_training.evaluation import SMALLEST_SCORE, evaluate, share_right
from headway_training.run_record import ConfusedPair, ReliabilityBin
from tests.unit.training.run_examples import labels_of, scores_of

CLASSES = ("cat", "dog", "fox", "owl")

# Right, wrong (dog), right, wrong (cat), wrong (cat) and right; nobody is ever called an owl, and there is no owl.
SCORES = np.array(
    [
        [0.70, 0.10, 0.10, 0.10],
        [0.25, 0.50, 0.15, 0.10],
        [0.05, 0.90, 0.03, 0.02],
        [0.95, 0.02, 0.02, 0.01],
        [0.40, 0.30, 0.20, 0.10],
        [0.10, 0.10, 0.60, 0.20],
    ],
    dtype=np.float32,
)
LABELS = np.array([0, 0, 1, 1, 1, 2], dtype=np.int32)


def test_the_confusion_matrix_has_a_row_per_true_class() -> None:
    assert evaluate(SCORES, LABELS, CLASSES).confusion == ((1, 1, 0, 0), (2, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 0))


def test_figures_per_class() -> None:
    cat, dog, fox, owl = evaluate(SCORES, LABELS, CLASSES).per_class
    assert (cat.label, cat.precision, cat.recall, cat.support, cat.predicted) == ("cat", 1 / 3, 1 / 2, 2, 3)
    assert cat.f1 == pytest.approx(2 * (1 / 3 * 1 / 2) / (1 / 3 + 1 / 2))
    assert (dog.precision, dog.recall) == (1 / 2, 1 / 3)
    assert (fox.precision, fox.recall, fox.f1) == (1, 1, 1)
    assert (owl.precision, owl.recall, owl.f1, owl.support, owl.predicted) == (0, 0, 0, 0, 0)


def test_the_most_confused_pairs_come_with_the_largest_first() -> None:
    assert evaluate(SCORES, LABELS, CLASSES).most_confused == (
        ConfusedPair("dog", "cat", 2),
        ConfusedPair("cat", "dog", 1),
    )


def test_mistakes_by_loss_and_in_the_order_of_the_split() -> None:
    found = evaluate(SCORES, LABELS, CLASSES)
    assert [mistake.index for mistake in found.top_losses] == [3, 1, 4]
    assert [mistake.index for mistake in found.first_misclassified] == [1, 3, 4]
    worst = found.top_losses[0]
    assert (worst.true, worst.predicted) == ("dog", "cat")
    assert worst.score == pytest.approx(0.95)
    assert worst.loss == pytest.approx(-math.log(0.02))


def test_only_the_worst_and_the_first_mistakes_are_kept() -> None:
    labels = np.zeros(100, dtype=np.int32)
    scores = np.full((100, 2), [0.4, 0.6], dtype=np.float32)
    found = evaluate(scores, labels, ("a", "b"))
    # Equal losses: the earlier picture first.
    assert [mistake.index for mistake in found.top_losses] == list(range(24))
    assert [mistake.index for mistake in found.first_misclassified] == list(range(15))


def test_log_loss_is_the_mean_of_the_true_classes_negative_logarithms() -> None:
    given = [0.70, 0.25, 0.90, 0.02, 0.30, 0.60]
    assert evaluate(SCORES, LABELS, CLASSES).log_loss == pytest.approx(-sum(map(math.log, given)) / 6, rel=1e-6)


def test_a_score_of_zero_for_the_true_class_is_a_large_loss_but_a_finite_one() -> None:
    scores = np.array([[0.0, 1.0]], dtype=np.float32)
    found = evaluate(scores, np.array([0], dtype=np.int32), ("a", "b"))
    assert found.log_loss == pytest.approx(-math.log(SMALLEST_SCORE))
    assert 80 < found.log_loss < 100


def test_reliability_and_calibration_error_by_hand() -> None:
    # Top scores 0.7 right, 0.5 wrong, 0.9 right, 0.95 wrong, 0.4 wrong, 0.6 right; bins are 1/15 wide.
    found = evaluate(SCORES, LABELS, CLASSES)
    assert [(item.low, item.high, item.count, item.accuracy) for item in found.reliability] == [
        (5 / 15, 6 / 15, 1, 0.0),
        (7 / 15, 8 / 15, 1, 0.0),
        (8 / 15, 9 / 15, 1, 1.0),
        (10 / 15, 11 / 15, 1, 1.0),
        (13 / 15, 14 / 15, 1, 1.0),
        (14 / 15, 1.0, 1, 0.0),
    ]
    assert found.ece == pytest.approx((0.4 + 0.5 + 0.4 + 0.3 + 0.1 + 0.95) / 6, abs=1e-6)


def test_a_bin_averages_its_pictures() -> None:
    scores = np.array([[0.82, 0.18], [0.84, 0.16], [0.86, 0.14], [0.81, 0.19]], dtype=np.float32)
    found = evaluate(scores, np.array([0, 0, 0, 1], dtype=np.int32), ("a", "b"))
    (only,) = found.reliability
    assert only.confidence == pytest.approx(0.8325, abs=1e-6)
    assert only == ReliabilityBin(12 / 15, 13 / 15, 4, only.confidence, 0.75)
    assert found.ece == pytest.approx(0.0825, abs=1e-6)


def test_a_score_that_rounding_carries_above_one_is_in_the_last_bin() -> None:
    scores = np.array([[np.nextafter(np.float32(1), np.float32(2)), 0]], dtype=np.float32)
    (only,) = evaluate(scores, np.array([0], dtype=np.int32), ("a", "b")).reliability
    assert (only.count, only.high) == (1, 1.0)


@pytest.mark.parametrize(("classes", "seed"), [(2, 1), (5, 2), (30, 3)])
def test_the_figures_are_scikit_learns(classes: int, seed: int) -> None:
    labels = labels_of(2_000, classes, seed)
    scores = scores_of(labels, classes, seed)
    found = evaluate(scores, labels, tuple(map(str, range(classes))))
    predicted = scores.argmax(axis=1)
    precision, recall, f1, support = precision_recall_fscore_support(labels, predicted, zero_division=0)
    assert [row.precision for row in found.per_class] == pytest.approx(precision)
    assert [row.recall for row in found.per_class] == pytest.approx(recall)
    assert [row.f1 for row in found.per_class] == pytest.approx(f1)
    assert [row.support for row in found.per_class] == support.tolist()
    assert np.array(found.confusion).tolist() == confusion_matrix(labels, predicted).tolist()
    exact = scores.astype(np.float64)
    assert found.log_loss == pytest.approx(log_loss(labels, exact / exact.sum(axis=1, keepdims=True)), rel=1e-5)


def test_share_right_has_the_interval_of_its_counts() -> None:
    found = share_right(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 0]))
    assert (found.value, found.samples) == (0.75, 4)
    assert found.low < 0.75 < found.high


@pytest.mark.parametrize(
    ("rows", "labels", "classes"), [(3, 2, ("a", "b")), (3, 3, ("a", "b", "c")), (0, 0, ("a", "b"))]
)
def test_arrays_that_do_not_fit_are_refused(rows: int, labels: int, classes: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        evaluate(np.ones((rows, 2), dtype=np.float32), np.zeros(labels, dtype=np.int32), classes)
