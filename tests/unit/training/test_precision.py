"""Whether a version may be computed in bfloat16: from its scores in both, and by really computing in it."""

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from headway_contract.processor import bfloat16_obstacle_here
from headway_training.precision import certificate, computing_in_bfloat16, sentence

GOLDEN = np.array([[0.9, 0.1]], np.float32)


def scores_of(predicted: NDArray[np.int32], sure: float = 0.9) -> NDArray[np.float32]:
    return np.where(np.eye(2)[predicted] > 0, sure, 1 - sure).astype(np.float32)


def measured(flipped_to_wrong: int, flipped_to_right: int = 0, shift: float = 0.0, golden_shift: float = 0.01) -> bool:
    """Of 1,000 pictures in each split, 800 right in float32; so many of the test split change."""
    labels = np.zeros(1000, np.int32)
    wide = labels.copy()
    wide[800:] = 1
    narrow = wide.copy()
    narrow[:flipped_to_wrong] = 1
    narrow[800 : 800 + flipped_to_right] = 0
    test = scores_of(narrow)
    test[999] += [-shift, shift]
    found = certificate(
        (scores_of(wide), scores_of(wide)),
        (scores_of(wide), test),
        (labels, labels),
        (GOLDEN, GOLDEN + np.float32(golden_shift)),
    )
    assert found.samples == 2000
    assert found.accuracy == pytest.approx((1600 - flipped_to_wrong + flipped_to_right) / 2000)
    assert found.accuracy_float32 == pytest.approx(0.8)
    assert found.agreement == pytest.approx(1 - (flipped_to_wrong + flipped_to_right) / 2000)
    assert found.golden_tolerance == pytest.approx(max(0.002, 2 * golden_shift), rel=1e-4)
    assert ("must not" in sentence(found)) is not found.allowed
    return found.allowed


def test_scores_that_hardly_move_are_allowed() -> None:
    labels = np.zeros(100, np.int32)
    wide = scores_of(labels)
    found = certificate((wide, wide), (wide - 0.01, wide - 0.01), (labels, labels), (GOLDEN, GOLDEN - 0.0001))
    assert found.allowed
    assert (found.agreement, found.p) == (1.0, 1.0)
    assert found.score_shift == pytest.approx(0.01, rel=1e-4)
    assert found.golden_tolerance == 0.002


@pytest.mark.parametrize("shift", [0.05, 0.25])
def test_many_labels_that_change_are_not_allowed_even_if_as_many_get_right_as_wrong(shift: float) -> None:
    assert not measured(flipped_to_wrong=25, flipped_to_right=25, shift=shift)


def test_a_few_labels_that_change_for_the_worse_are_more_than_chance() -> None:
    assert not measured(flipped_to_wrong=8)


def test_a_score_that_is_no_number_is_not_allowed() -> None:
    labels = np.zeros(100, np.int32)
    wide, narrow = scores_of(labels), scores_of(labels)
    narrow[3] = np.nan
    assert not certificate((wide, wide), (wide, narrow), (labels, labels), (GOLDEN, GOLDEN)).allowed


def test_scores_that_are_less_true_to_what_they_say_are_not_allowed() -> None:
    labels = (np.arange(1000) >= 900).astype(np.int32)
    wide = scores_of(np.zeros(1000, np.int32), 0.9)
    narrow = scores_of(np.zeros(1000, np.int32), 0.99)
    found = certificate((wide, wide), (narrow, narrow), (labels, labels), (GOLDEN, GOLDEN))
    assert found.agreement == 1.0
    assert found.calibration_error > found.calibration_error_float32 + 0.02
    assert not found.allowed


@pytest.mark.skipif(bfloat16_obstacle_here() is not None, reason="needs a processor with bfloat16")
def test_in_the_block_products_are_rounded_and_after_it_they_are_exact() -> None:
    weights = tf.constant(np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32))
    rows = tf.constant(np.random.default_rng(1).normal(size=(32, 256)).astype(np.float32))

    def product() -> NDArray[np.float32]:
        found: NDArray[np.float32] = tf.function(lambda x: tf.nn.relu(tf.matmul(x, weights)))(rows).numpy()
        return found

    exact = product()
    with computing_in_bfloat16():
        rounded = product()
    assert 0 < np.abs(rounded - exact).max() < 1
    assert (product() == exact).all()
