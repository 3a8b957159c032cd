"""Familiarity: pictures of another kind get less of it, and a twentieth of those that are alike lies under 0.05."""

import numpy as np
import pytest
from numpy.typing import NDArray

from headway_training.familiarity import (
    FEWEST,
    LOW,
    Familiarity,
    Learned,
    Signs,
    class_means,
    fit_familiarity,
    sample,
    signs_of,
)

CLASSES, WIDTH = 4, 24
Drawn = tuple[NDArray[np.float32], NDArray[np.int32]]


def drawn(count: int, seed: int, *, classes: int = CLASSES) -> Drawn:
    """Features around a direction for each class, and the labels."""
    random = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int32) % classes
    return (np.eye(WIDTH)[labels] * 4 + random.normal(0, 0.7, (count, WIDTH))).astype(np.float32), labels


def logits_of(features: NDArray[np.float32]) -> NDArray[np.float32]:
    return features[:, :CLASSES] * 2


def fitted(count: int = 400) -> Familiarity | None:
    learned = Learned(*drawn(300, 1))
    means = class_means(learned, 1, seed=0)
    features, _ = drawn(count, 2)
    return fit_familiarity(signs_of(features, logits_of(features), means), means, temperature=1.0)


def familiarity_of(found: Familiarity | None, features: NDArray[np.float32]) -> NDArray[np.float32]:
    assert found is not None
    return np.asarray(found.of(features, logits_of(features)))


def test_a_twentieth_of_pictures_like_those_held_back_lies_under_the_threshold() -> None:
    features, _ = drawn(4000, 3)
    values = familiarity_of(fitted(4000), features)
    assert (values >= 0).all()
    assert (values <= 1).all()
    assert (values < LOW).mean() == pytest.approx(0.05, abs=0.015)
    assert values.mean() == pytest.approx(0.5, abs=0.05)


def test_pictures_of_another_kind_are_told_apart() -> None:
    own, _ = drawn(300, 3)
    # Another direction; and the right direction, but hardly any signal.
    foreign = np.roll(own, 9, axis=1)
    found = fitted()
    assert (familiarity_of(found, foreign) < LOW).all()
    assert (familiarity_of(found, own * 0.2) < LOW).mean() > 0.9


def test_beyond_what_was_held_back_it_still_falls_and_rises() -> None:
    found = fitted()
    means = np.eye(WIDTH, dtype=np.float32)[:1]
    values = familiarity_of(found, means * np.array([[0.5], [1.0], [1.5], [6.0], [7.0], [8.0]], np.float32))
    assert (np.diff(values) > 0).all()


@pytest.mark.parametrize("count", [0, FEWEST - 1])
def test_too_few_pictures_give_none(count: int) -> None:
    assert fitted(count) is None


def test_pictures_that_all_look_the_same_give_none() -> None:
    same = Signs(np.ones(100), np.ones(100))
    assert fit_familiarity(same, np.eye(3, dtype=np.float32), 1.0) is None


def test_the_temperature_that_logits_were_divided_by_makes_no_difference() -> None:
    learned = Learned(*drawn(300, 1))
    means = class_means(learned, 1, seed=0)
    features, _ = drawn(400, 2)
    logits = logits_of(features)
    plain, divided = (fit_familiarity(signs_of(features, logits, means), means, each) for each in (1.0, 2.5))
    assert plain is not None
    assert divided is not None
    np.testing.assert_allclose(divided.of(features, logits / 2.5), plain.of(features, logits), atol=1e-4)


def test_a_class_of_two_kinds_has_a_mean_for_each() -> None:
    random = np.random.default_rng(0)
    kinds = np.repeat(np.eye(8)[:2], 60, axis=0) * 5
    features = (kinds + random.normal(0, 0.2, kinds.shape)).astype(np.float32)
    means = class_means(Learned(features, np.zeros(120, np.int32)), 2, seed=0)
    np.testing.assert_allclose(np.sort(means @ np.eye(8)[:2].T, axis=0)[-1], [1, 1], atol=0.01)
    np.testing.assert_allclose(np.linalg.norm(means, axis=1), 1, atol=1e-5)


def test_a_class_of_few_pictures_has_one_mean() -> None:
    features, labels = drawn(12, 1)
    assert class_means(Learned(features, labels), 4, seed=0).shape == (CLASSES, WIDTH)


def test_large_classes_are_sampled_alike_for_one_seed() -> None:
    labels = np.repeat(np.arange(3), [1000, 5, 300]).astype(np.int32)
    chosen = sample(labels, 1)
    np.testing.assert_array_equal(chosen, sample(labels, 1))
    assert np.bincount(labels[chosen]).tolist() == [200, 5, 200]
