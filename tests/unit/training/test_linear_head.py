"""A linear head ends at its optimum, by equal arguments at equal weights, and its folds answer honestly."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from headway_training import linear_head
from headway_training.calibration import apply_temperature, fit_temperature
from headway_training.evaluation import cross_entropy
from headway_training.linear_head import LinearFit, Rows, fit_linear_head, sentence

WIDTH = 12


def rows_of(*counts: int, distance: float = 2.0, seed: int = 0, mirrored: bool = False) -> Rows:
    """``counts[k]`` different pictures of class k: features around a centre of its own, of unequal scales."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    centres = np.random.default_rng(99).normal(0, distance / np.sqrt(WIDTH), (len(counts), WIDTH))
    scales = np.geomspace(0.1, 10, WIDTH)

    def features() -> NDArray[np.float32]:
        return ((centres[labels] + random.normal(0, 1, (len(labels), WIDTH))) * scales + 3).astype(np.float32)

    texts = tuple(str(number) for number in range(len(labels)))
    return Rows(features(), labels.astype(np.int32), texts, features() if mirrored else None)


def fitted(rows: Rows, classes: int = 3, weigh: str = "auto", smoothing: float = 0.1, seed: int = 1) -> LinearFit:
    return fit_linear_head(rows, classes, seed, 200, smoothing, weigh)


def answers(fit: LinearFit, rows: Rows) -> NDArray[np.intp]:
    return (rows.features @ fit.kernel + fit.bias).argmax(axis=1)


def probabilities(fit: LinearFit, rows: Rows) -> NDArray[np.float32]:
    logits = rows.features @ fit.kernel + fit.bias
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("counts", [(60, 50, 40), (60, 50)])
@pytest.mark.parametrize("weigh", ["none", "balanced"])
def test_weights_are_those_of_scikit_learns_logistic_regression(counts: tuple[int, ...], weigh: str) -> None:
    rows = rows_of(*counts)
    fit = fitted(rows, len(counts), weigh, smoothing=0.0)
    scale = rows.features.std(axis=0)
    # Of two classes scikit-learn keeps one column where softmax has two, whose squares are half of its own.
    penalty = fit.penalty / (2 if len(counts) == 2 else 1)
    theirs = LogisticRegression(
        C=1 / penalty, class_weight="balanced" if weigh == "balanced" else None, tol=1e-8, max_iter=5000
    ).fit((rows.features - rows.features.mean(axis=0)) / scale, rows.labels)
    expected = theirs.predict_proba((rows.features - rows.features.mean(axis=0)) / scale)
    assert fit.converged
    np.testing.assert_allclose(probabilities(fit, rows), expected, atol=5e-3)


def test_equal_arguments_give_equal_weights_and_another_seed_other_folds() -> None:
    rows = rows_of(40, 40, 40, mirrored=True)
    first, second, other = fitted(rows), fitted(rows), fitted(rows, seed=2)
    for field in dataclasses.fields(LinearFit):
        if field.name not in ("seconds", "held_out_signs"):
            np.testing.assert_array_equal(getattr(first, field.name), getattr(second, field.name))
    np.testing.assert_array_equal(first.held_out_signs.energies, second.held_out_signs.energies)
    np.testing.assert_array_equal(first.held_out_signs.cosines, second.held_out_signs.cosines)
    assert np.abs(first.held_out - other.held_out).max() > 1e-3


def test_copies_of_a_picture_stay_in_one_fold() -> None:
    """Else the held-out accuracy on labels that mean nothing would be the memory's."""
    random = np.random.default_rng(3)
    features = np.repeat(random.normal(0, 1, (60, 200)).astype(np.float32), 4, axis=0)
    labels = np.repeat(random.permutation(np.arange(60) % 3), 4).astype(np.int32)
    alone, together = tuple(map(str, range(240))), tuple(str(number // 4) for number in range(240))
    assert fitted(Rows(features, labels, alone)).held_out_accuracy > 0.8
    honest = fitted(Rows(features, labels, together))
    assert honest.held_out_accuracy < 0.5
    assert honest.folds == 5


def test_a_class_whose_pictures_are_all_copies_is_parted_after_all() -> None:
    rows = rows_of(20, 20, 4)
    contents = (*rows.contents[:40], "one", "one", "one", "one")
    fit = fitted(dataclasses.replace(rows, contents=contents))
    assert fit.folds == 4
    assert fit.held_out.shape == (44, 3)


def test_held_out_scores_are_of_pictures_not_seen() -> None:
    """Labels by chance: what has been seen can be known by heart, what has not cannot."""
    random = np.random.default_rng(5)
    features = random.normal(0, 1, (300, 400)).astype(np.float32)
    labels = random.permutation(np.arange(300) % 3).astype(np.int32)
    fit = fitted(Rows(features, labels, tuple(map(str, range(300)))))
    assert fit.accuracy > 0.8
    assert fit.held_out_accuracy < 0.45
    # With the temperature that such scores are given, an answer is nearly as sure as chance.
    assert fit.held_out_loss > np.log(3) * 0.97


def test_every_picture_is_answered_once_by_the_folds() -> None:
    fit = fitted(rows_of(31, 24, 17))
    assert (fit.held_out.shape, fit.held_out.dtype) == ((72, 3), np.dtype(np.float32))
    np.testing.assert_allclose(fit.held_out.sum(axis=1), 1, atol=1e-5)
    assert fit.held_out_accuracy > 0.6


def recall(fit: LinearFit, rows: Rows, label: int) -> float:
    chosen = rows.labels == label
    return float((answers(fit, rows)[chosen] == label).mean())


def test_a_small_class_is_recalled_by_default() -> None:
    train, test = rows_of(140, 3), rows_of(200, 200, seed=7)
    default, plain = fitted(train, 2), fitted(train, 2, "none")
    assert (default.balanced, plain.balanced) == (True, False)
    assert default.folds == 3
    assert recall(default, test, 1) > recall(plain, test, 1) + 0.3
    assert recall(default, test, 0) > 0.5


@pytest.mark.parametrize(("counts", "balanced"), [((20, 20, 20), False), ((49, 40, 10), False), ((50, 40, 10), True)])
def test_classes_weigh_the_same_where_their_sizes_differ_much(counts: tuple[int, ...], balanced: bool) -> None:
    assert fitted(rows_of(*counts)).balanced is balanced


def test_two_pictures_of_a_class_are_enough() -> None:
    """A fold learns from one of them."""
    fit = fitted(rows_of(2, 2), 2)
    assert fit.folds == 2
    assert np.isfinite(fit.kernel).all()
    assert np.isfinite(fit.held_out).all()


def test_a_fold_may_lack_a_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where all its pictures have copies among others: they are answered by a head that does not know the class."""
    rows = rows_of(10, 10, 2)
    lacking = np.r_[5:10, 15:22], np.r_[0:5, 10:15]
    monkeypatch.setattr(linear_head, "_folds", lambda *_: [lacking, lacking[::-1]])
    for weigh in ("none", "balanced"):
        fit = fitted(rows, 3, weigh)
        assert np.isfinite(fit.held_out).all()
        assert (fit.held_out[20:].argmax(axis=1) != 2).all()
        assert recall(fit, rows, 2) == 1


def test_a_feature_that_never_changes_harms_nothing() -> None:
    rows = rows_of(30, 30, 30)
    constant = dataclasses.replace(rows, features=np.hstack([rows.features, np.full((90, 1), 7, np.float32)]))
    fit = fitted(constant)
    np.testing.assert_array_equal(fit.kernel[-1], 0)
    assert fit.held_out_accuracy == pytest.approx(fitted(rows).held_out_accuracy, abs=0.03)


def calibrated_loss(fit: LinearFit) -> float:
    calibrated = apply_temperature(fit.held_out, fit_temperature(fit.held_out, fit.held_out_labels))
    return float(cross_entropy(calibrated, fit.held_out_labels).mean())


def test_mirror_images_are_used_where_they_help() -> None:
    few = rows_of(12, 12, 12, mirrored=True)
    assert few.mirrored is not None
    helped = fitted(few)
    noise = np.random.default_rng(8).normal(0, 30, few.mirrored.shape).astype(np.float32)
    spoiled = fitted(dataclasses.replace(few, mirrored=noise))
    without = fitted(dataclasses.replace(few, mirrored=None))
    assert (helped.mirrored, spoiled.mirrored, without.mirrored) == (True, False, None)
    np.testing.assert_array_equal(spoiled.kernel, without.kernel)
    assert calibrated_loss(helped) < calibrated_loss(without)


def test_mirror_images_that_are_the_pictures_themselves_change_nothing() -> None:
    """Twice the rows are not twice the evidence."""
    rows = rows_of(30, 30, 30)
    wanted = linear_head._Wanted(3, 200, 0.1, balanced=False)
    doubled = linear_head._fit(dataclasses.replace(rows, mirrored=rows.features), wanted, 10.0, mirrored=True)
    once = linear_head._fit(rows, wanted, 10.0)
    np.testing.assert_allclose(rows.features @ doubled.kernel, rows.features @ once.kernel, atol=0.02)


def test_the_penalty_is_chosen_on_a_sample_of_many_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each class in its share; the head itself is fitted on all of them."""
    monkeypatch.setattr(linear_head, "MOST_ROWS", 100)
    fit = fitted(rows_of(300, 200, 3))
    assert np.bincount(fit.held_out_labels).tolist() == [60, 40, 2]
    assert fit.pictures == 503
    assert "over 102 of them" in sentence(fit)
    assert fit.held_out.shape == (102, 3)


def test_few_pictures_of_little_difference_get_a_stronger_penalty() -> None:
    assert fitted(rows_of(15, 15, 15, distance=0.5)).penalty > fitted(rows_of(400, 400, 400, distance=4.0)).penalty


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "head: logistic regression on 90 pictures, at its optimum after "),
        ({}, "in 5-fold cross-validation, which chose penalty "),
        ({"mirrored": True}, "; mirror images help and are used too"),
        ({"mirrored": False}, "; mirror images do not help and are left out"),
        ({"balanced": True}, "; all classes weigh the same"),
        ({"converged": False}, "stopped before its optimum by fitting.epochs after "),
    ],
)
def test_the_sentence_says_what_was_chosen(changes: dict[str, Any], said: str) -> None:
    plain = fitted(rows_of(30, 30, 30))
    assert said in sentence(dataclasses.replace(plain, **changes))
    assert "mirror" not in sentence(plain)


def test_the_iterations_are_limited_and_that_is_told() -> None:
    fit = fit_linear_head(rows_of(30, 30, 30), 3, 1, 2, 0.1, "auto")
    assert (fit.iterations, fit.converged) == (2, False)
