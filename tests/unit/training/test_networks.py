"""The networks have the parameters that are known of them, and a base is frozen below its head."""

from typing import Any

import numpy as np
import pytest

from headway_contract.preprocessing import ImageSpec
from headway_training.head import augmented, build_head, compose
from headway_training.layers import NETWORKS
from headway_training.networks import build_network
from headway_training.recipe import AugmentationRecipe, HeadRecipe

SPEC = ImageSpec(28, 28, 1)


def parameters(weights: Any) -> int:
    return int(sum(np.prod(weight.shape) for weight in weights))


@pytest.fixture(scope="module")
def images() -> Any:
    return np.random.default_rng(0).integers(0, 256, (4, 28, 28, 1), dtype=np.uint8)


def test_the_seed_base_with_five_classes_has_600165_parameters() -> None:
    base = build_network(NETWORKS["seed-cnn"], SPEC)
    composed = compose(base, build_head(base.output_shape[-1], 5, HeadRecipe()))
    assert composed.count_params() == 600_165
    assert parameters(composed.trainable_weights) == 600_165
    assert base.input_shape == (None, 28, 28, 1)
    assert composed.output_shape == (None, 5)


def test_a_head_of_five_classes_trains_590597_parameters_above_9568_frozen_ones() -> None:
    base = build_network(NETWORKS["seed-cnn"], SPEC)
    base.trainable = False
    composed = compose(base, build_head(base.output_shape[-1], 5, HeadRecipe()))
    assert parameters(composed.trainable_weights) == 590_597
    assert parameters(composed.non_trainable_weights) == base.count_params() == 9_568


def test_a_network_takes_the_recipes_geometry() -> None:
    base = build_network(NETWORKS["seed-cnn"], ImageSpec(32, 48, 3))
    # Two 3x3 convolutions take four pixels of each side, pooling halves, 32 filters.
    assert base.output_shape == (None, 14 * 22 * 32)
    assert base(np.zeros((2, 32, 48, 3), dtype=np.uint8)).shape == (2, 14 * 22 * 32)


@pytest.mark.parametrize(("hidden", "expected"), [((), 44), ((7,), 10 * 7 + 7 + 7 * 4 + 4)])
def test_a_head_has_the_recipes_hidden_layers_and_gives_probabilities(hidden: tuple[int, ...], expected: int) -> None:
    head = build_head(10, 4, HeadRecipe(hidden=hidden))
    assert head.count_params() == expected
    scores = np.asarray(head(np.random.default_rng(0).normal(size=(5, 10)).astype(np.float32)))
    assert scores.shape == (5, 4)
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)


def test_augmentation_changes_pictures_while_training_only(images: Any) -> None:
    base = build_network(NETWORKS["seed-cnn"], SPEC)
    composed = compose(base, build_head(base.output_shape[-1], 5, HeadRecipe(dropout=0)))
    model = augmented(composed, AugmentationRecipe(rotation=0.2, translation=0.2, zoom=0.2))
    np.testing.assert_array_equal(model(images, training=False), composed(images, training=False))
    assert np.abs(np.asarray(model(images, training=True)) - np.asarray(composed(images, training=True))).max() > 1e-4
    assert parameters(model.trainable_weights) == 600_165
    assert augmented(composed, AugmentationRecipe()) is composed


def test_scaling_is_part_of_the_network(images: Any) -> None:
    base = build_network(NETWORKS["seed-cnn"], SPEC)
    features = np.asarray(base(images, training=False))
    inner = images.astype(np.float32) / 255
    for layer in base.layers[2:]:
        inner = layer(inner)
    np.testing.assert_allclose(features, np.asarray(inner), atol=1e-6)
