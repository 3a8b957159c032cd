"""Each recipe that ends in as-published does what its document does: the document's numbers stand here, by hand."""

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headway_contract.preprocessing import ImageSpec
from headway_training.datasets import Splits, load_splits
from headway_training.head import build_head, compose
from headway_training.networks import build_network
from headway_training.recipe import AugmentationRecipe, DataRecipe, Recipe
from headway_training.recipe_files import builtin_recipes, load_recipe

DATA = Path(os.environ.get("HEADWAY_DATA_DIR", "."))


@dataclass(frozen=True)
class Published:
    """What a document does. ``pictures``: training, validation, test; ``parameters``: all, and those trained."""

    pictures: tuple[int, int, int]
    parameters: tuple[int, int]
    optimizer: str
    rate: float
    batch: int
    epochs: int
    head: tuple[str, tuple[int, ...], float, str]
    """Its start, its hidden layers, the dropout behind them, its output."""
    base: str | None = None
    accuracy: float | None = None


KEPT = "base", (128,), 0.5, "softmax"
FRESH = "fresh", (128,), 0.5, "softmax"
ONE_LAYER = "fresh", (), 0.5, "softmax"
ONE_UNIT = "fresh", (), 0.5, "sigmoid"
LAST_KEPT = "base", (), 0.5, "softmax"
ADADELTA = "adadelta", 0.001, 128, 5
SGD = "sgd", 0.001, 32, 5
ADAM = "adam", 0.001, 32, 1
SEED_CNN, SEED_HEAD = (600_165, 600_165), (600_165, 590_597)
TEN, TEN_LAST = (600_810, 600_810), (600_810, 1_290)
B, B_ON_A = (275_801, 275_801), (275_801, 51)

PUBLISHED = {
    # 001: digits 5 to 9, then 0 to 4. The test pictures are the validation data of fit.
    "mnist-5to9": Published((29_404, 4_861, 4_861), SEED_CNN, *ADADELTA, FRESH, None, 0.7147),
    "mnist-0to4": Published((30_596, 5_139, 5_139), SEED_HEAD, *ADADELTA, KEPT, "mnist-5to9", 0.6908),
    # 004: Fashion-MNIST halves, both ways, by the same code; then with the convolutions unfrozen too.
    "fashion-5to9": Published((30_000, 5_000, 5_000), SEED_CNN, *ADADELTA, FRESH, None, 0.6614),
    "fashion-0to4-on-5to9": Published((30_000, 5_000, 5_000), SEED_HEAD, *ADADELTA, KEPT, "fashion-5to9", 0.5592),
    "fashion-0to4": Published((30_000, 5_000, 5_000), SEED_CNN, *ADADELTA, FRESH, None, 0.6258),
    "fashion-5to9-on-0to4": Published((30_000, 5_000, 5_000), SEED_HEAD, *ADADELTA, KEPT, "fashion-0to4", 0.6988),
    "fashion-depths": Published((30_000, 5_000, 5_000), SEED_HEAD, *ADADELTA, KEPT, "fashion-5to9"),
    # 002: network A on eight classes, B on two. 30,000 training pictures, the first 5,000 of them validation.
    "fashion-a-8-classes": Published((19_875, 4_014, 4_033), (276_158, 276_158), *SGD, ONE_LAYER),
    "sandal-or-shirt-scratch": Published((5_125, 986, 967), B, *SGD, ONE_LAYER, None, 0.4984),
    "sandal-or-shirt-sigmoid": Published((5_125, 986, 967), B, *SGD, ONE_UNIT),
    "sandal-or-shirt-sigmoid-200": Published((200, 986, 967), B, *SGD, ONE_UNIT),
    "sandal-or-shirt": Published((5_125, 986, 967), B_ON_A, *SGD, ONE_UNIT, "fashion-a-8-classes", 0.9886),
    "sandal-or-shirt-200": Published((200, 986, 967), B_ON_A, *SGD, ONE_UNIT, "fashion-a-8-classes"),
    # 000: all ten classes, one epoch; the head is a copy of the network for digits.
    "mnist": Published((60_000, 10_000, 10_000), TEN, *ADAM, ONE_LAYER, None, 0.95),
    "fashion": Published((60_000, 10_000, 10_000), TEN, *ADAM, ONE_LAYER, None, 0.89),
    "fashion-head": Published((60_000, 10_000, 10_000), TEN_LAST, *ADAM, LAST_KEPT, "mnist"),
    "fashion-sweep": Published((60_000, 10_000, 10_000), TEN_LAST, *ADAM, LAST_KEPT, "mnist"),
}
OF_A_FOLDER = "densenet121-as-published"


def recipe_of(name: str) -> Recipe:
    return load_recipe(f"{name}-as-published")


def test_every_recipe_as_published_stands_in_the_table() -> None:
    assert {f"{name}-as-published" for name in PUBLISHED} | {OF_A_FOLDER} == {
        name for name in builtin_recipes() if name.endswith("-as-published")
    }


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_is_fitted_as_its_document_says(name: str) -> None:
    recipe, published = recipe_of(name), PUBLISHED[name]
    fitting, head = recipe.fitting, recipe.head
    assert (fitting.optimizer, fitting.learning_rate) == (published.optimizer, published.rate)
    assert (fitting.batch_size, fitting.epochs) == (published.batch, published.epochs)
    assert (head.start, head.hidden, head.dropout, head.output) == published.head
    assert recipe.base == (f"{published.base}-as-published" if published.base else None)
    assert recipe.published_accuracy == published.accuracy


@pytest.mark.parametrize("name", [*PUBLISHED, OF_A_FOLDER.removesuffix("-as-published")])
def test_nothing_of_ours_is_mixed_in(name: str) -> None:
    recipe = recipe_of(name)
    fitting = recipe.fitting
    assert (fitting.solver, fitting.schedule, fitting.momentum, fitting.weight_decay) == ("gradient", "constant", 0, 0)
    assert (fitting.label_smoothing, fitting.patience, recipe.evaluation.calibrated) == (0, 0, False)
    assert recipe.augmentation == AugmentationRecipe()
    image = recipe.image_spec() if recipe.image is not None else ImageSpec(28, 28, 1)
    assert image == ImageSpec(image.height, image.width, image.channels)
    if recipe.kind == "head" and name != "densenet121":
        assert not recipe.head.cache_features


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_has_as_many_parameters_as_its_document_shows(name: str) -> None:
    recipe, published = recipe_of(name), PUBLISHED[name]
    base = recipe_of(published.base) if published.base else recipe
    network = build_network(base.network_layers, ImageSpec(28, 28, 1))
    network.trainable = recipe.kind == "base"
    classes = len(recipe.data.classes or "0123456789")
    model = compose(network, build_head(network.output_shape[-1], classes, recipe.head))
    trained = sum(int(weight.numpy().size) for weight in model.trainable_weights)
    assert (model.count_params(), trained) == published.parameters


@functools.cache
def splits_of(data: DataRecipe) -> Splits:
    return load_splits(data, ImageSpec(28, 28, 1), 1, DATA)


@pytest.mark.skipif(not (DATA / "fashion_mnist.npz").exists(), reason="HEADWAY_DATA_DIR has no mnist, fashion_mnist")
@pytest.mark.parametrize("name", PUBLISHED)
def test_it_has_the_pictures_of_its_document(name: str) -> None:
    splits = splits_of(recipe_of(name).data)
    counts = tuple(len(split) for split in (splits.train, splits.validation, splits.test))
    assert counts == PUBLISHED[name].pictures
    assert not any("more than one split" in warning for warning in splits.check.warnings())


@pytest.mark.skipif(not (DATA / "fashion_mnist.npz").exists(), reason="HEADWAY_DATA_DIR has no fashion_mnist")
def test_rows_are_the_first_ones_in_the_datasets_own_order() -> None:
    splits = splits_of(recipe_of("sandal-or-shirt-200").data)
    with np.load(DATA / "fashion_mnist.npz") as arrays:
        wanted = np.flatnonzero(np.isin(arrays["y_train"], (5, 6)))
    for split, rows in ((splits.train, wanted[wanted >= 5_000][:200]), (splits.validation, wanted[wanted < 5_000])):
        names = [split.pictures.name(index) for index in range(len(split))]
        assert sorted(names) == sorted(f"fashion-mnist train {row}" for row in rows)


def test_the_sweeps_start_each_depth_from_the_base_and_change_nothing_else() -> None:
    found: dict[str, Any] = {}
    for name in ("fashion-sweep", "fashion-depths"):
        recipe = recipe_of(name)
        tuning = recipe.fine_tuning
        found[name] = tuning.depths, tuning.after_head
        assert (tuning.epochs, tuning.learning_rate) == (recipe.fitting.epochs, recipe.fitting.learning_rate)
    assert found == {"fashion-sweep": ((1, 2, 3), False), "fashion-depths": ((1, 2), False)}
