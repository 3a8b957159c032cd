"""A head gives probabilities, is calibrated inside its weights, and leaves a frozen base's statistics alone."""

from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from headway_contract.preprocessing import ImageSpec
from headway_training.calibration import apply_temperature
from headway_training.head import build_head, compose, divide_logits
from headway_training.layers import NETWORKS
from headway_training.networks import build_network
from headway_training.recipe import HeadRecipe

SPEC = ImageSpec(28, 28, 1)
TWO_CLASSES = [HeadRecipe(), HeadRecipe(output="sigmoid", hidden=()), HeadRecipe(output="sigmoid", hidden=(3,))]


@pytest.fixture(scope="module")
def features() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(50, 10)).astype(np.float32)


def run(model: Any, inputs: Any) -> NDArray[np.float32]:
    return np.asarray(model(inputs, training=False))


def test_one_sigmoid_unit_is_the_score_of_the_second_class(features: NDArray[np.float32]) -> None:
    head = build_head(10, 2, HeadRecipe(output="sigmoid", hidden=()))
    kernel, bias = head.get_layer("scores").get_weights()
    assert kernel.shape == (10, 1)
    second = 1 / (1 + np.exp(-(features @ kernel + bias)[:, 0]))
    scores = run(head, features)
    np.testing.assert_allclose(scores[:, 1], second, atol=1e-6)
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("recipe", TWO_CLASSES)
@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_dividing_the_logits_gives_the_softmax_of_the_divided_log_scores(
    features: NDArray[np.float32], recipe: HeadRecipe, temperature: float
) -> None:
    head = build_head(10, 2, recipe)
    expected = apply_temperature(run(head, features), temperature)
    divide_logits(head, temperature)
    np.testing.assert_allclose(run(head, features), expected, atol=1e-6)


def test_an_initializer_and_activation_are_the_recipes(features: NDArray[np.float32]) -> None:
    """A SELU layer started by LeCun keeps mean 0 and variance 1 of wide inputs; Glorot's and ReLU's would not."""
    keras.utils.set_random_seed(1)
    inputs = np.random.default_rng(1).normal(size=(500, 300)).astype(np.float32)
    head = build_head(300, 2, HeadRecipe(hidden=(300,), activation="selu", initializer="lecun_normal", dropout=0))
    hidden = run(keras.Model(head.input, head.get_layer("hidden_1").output), inputs)
    assert abs(hidden.mean()) < 0.05
    assert abs(hidden.std() - 1) < 0.05


def test_a_frozen_base_keeps_its_statistics_while_its_head_is_fitted() -> None:
    """Unless the base itself is trained; then the batches' statistics count."""
    base = build_network(NETWORKS["strided-cnn"], SPEC)
    composed = compose(base, build_head(base.output_shape[-1], 2, HeadRecipe()))
    images = np.random.default_rng(0).integers(0, 256, (8, 28, 28, 1), dtype=np.uint8)
    before = [np.array(weight) for weight in base.get_weights()]
    base.trainable = False
    composed(images, training=True)
    for weight, kept in zip(base.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, kept)
    base.trainable = True
    composed(images, training=True)
    assert any((weight != kept).any() for weight, kept in zip(base.get_weights(), before, strict=True))
