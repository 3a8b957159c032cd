"""The bundled digits are split by class and seed, without overlap, through the contract's geometry."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from headway_contract.preprocessing import ImageSpec, decode_image, to_model_input
from headway_training.data_check import DataCheck
from headway_training.datasets import Split, Splits, load_splits
from headway_training.errors import InvalidRecipe
from headway_training.pictures import ArrayPictures
from headway_training.recipe import DataRecipe

SPEC = ImageSpec(28, 28, 1, polarity="light_on_dark")
THREE = DataRecipe(dataset="digits", classes=("7", "3", "9"))


@pytest.fixture(scope="module")
def splits() -> Splits:
    return load(THREE, seed=1)


def load(recipe: DataRecipe, seed: int, spec: ImageSpec = SPEC) -> Splits:
    return load_splits(recipe, spec, seed, data_dir=None)


def parts(splits: Splits) -> tuple[Split, Split, Split]:
    return splits.train, splits.validation, splits.test


def images(split: Split) -> NDArray[np.uint8]:
    return split.pictures.read(range(len(split)))


def pictures(split: Split) -> list[bytes]:
    return [image.tobytes() for image in images(split)]


def test_the_splits_have_the_recipes_shares_of_every_class(splits: Splits) -> None:
    assert splits.classes == ("7", "3", "9")
    # 500 of each digit: 70 %, 10 % and 20 %.
    for split, of_each in zip(parts(splits), (350, 50, 100), strict=True):
        assert np.bincount(split.labels).tolist() == [of_each] * 3
        assert images(split).shape == (3 * of_each, 28, 28, 1)
        assert split.labels.dtype == np.int32
        assert len(split) == len(split.pictures) == 3 * of_each
    assert splits.check.warnings() == ()


def test_no_picture_is_in_two_splits(splits: Splits) -> None:
    train, validation, test = (set(pictures(split)) for split in parts(splits))
    assert train.isdisjoint(validation)
    assert train.isdisjoint(test)
    assert validation.isdisjoint(test)


def test_a_label_index_means_its_class(splits: Splits) -> None:
    """Each picture has the label it has in the data, whatever the order of the classes is."""
    reversed_classes = DataRecipe(dataset="digits", classes=("9", "3", "7"))
    other = load(reversed_classes, seed=2)
    label_of = {
        picture: splits.classes[label]
        for split in parts(splits)
        for picture, label in zip(pictures(split), split.labels, strict=True)
    }
    for split in parts(other):
        for picture, label in zip(pictures(split), split.labels, strict=True):
            assert label_of[picture] == other.classes[label]


def test_the_same_seed_gives_the_same_splits_and_another_seed_others(splits: Splits) -> None:
    again, other = load(THREE, seed=1), load(THREE, seed=2)
    for first, second in zip(parts(splits), parts(again), strict=True):
        np.testing.assert_array_equal(images(first), images(second))
        np.testing.assert_array_equal(first.labels, second.labels)
    assert splits.digest() == again.digest() != other.digest()
    everything = sorted(picture for split in parts(splits) for picture in pictures(split))
    assert everything == sorted(picture for split in parts(other) for picture in pictures(split))
    assert set(pictures(splits.test)) != set(pictures(other.test))


def test_the_digest_changes_with_any_pixel_label_class_order_or_geometry() -> None:
    def small(pixel: int = 0, label: int = 0, order: tuple[int, ...] = (0, 2, 4), **fields: Any) -> Splits:
        rows = np.arange(24, dtype=np.uint8).reshape(6, 2, 2)
        rows[pixel, 1, 1] += 100 * bool(pixel)
        labels = np.array([0, 1] * 3, dtype=np.int32)
        labels[label] ^= bool(label)
        spec = fields.get("image", ImageSpec(2, 2, 1))
        first, second, third = (Split(ArrayPictures(rows[i : i + 2], "rows", spec), labels[i : i + 2]) for i in order)
        return Splits(
            first, second, third, **{"classes": ("a", "b"), "image": spec, "check": DataCheck(counts=())} | fields
        )

    assert small().digest() == small().digest()
    changed = [
        small(),
        *(small(pixel=index) for index in (1, 3, 5)),
        *(small(label=index) for index in (1, 3, 5)),
        small(order=(2, 0, 4)),
        small(classes=("a", "c")),
        small(classes=("b", "a")),
        small(image=ImageSpec(4, 4, 1)),
        small(image=ImageSpec(2, 2, 1, polarity="light_on_dark")),
    ]
    assert len({splits.digest() for splits in changed}) == len(changed)


def test_a_test_picture_posted_as_png_becomes_the_pixels_that_were_trained_on(splits: Splits) -> None:
    for index in range(0, 300, 25):
        posted = to_model_input(decode_image(splits.test.pictures.encoded(index), spec=SPEC), SPEC)
        np.testing.assert_array_equal(posted, splits.test.pictures.read([index])[0])


def test_pictures_are_brought_into_the_recipes_geometry() -> None:
    spec = ImageSpec(20, 12, 3, fit="crop")
    found = images(load(THREE, 1, spec).test)
    assert found.shape[1:] == (20, 12, 3)
    np.testing.assert_array_equal(found[..., 0], found[..., 2])


def test_a_class_the_dataset_lacks_is_refused_and_its_classes_are_named() -> None:
    recipe = DataRecipe(dataset="digits", classes=("7", "x", "ten"))
    with pytest.raises(InvalidRecipe, match=r"digits has no class ten, x; its classes: 0, 1, 2, .* 9"):
        load(recipe, seed=1)


def test_a_share_too_small_for_one_picture_is_refused() -> None:
    recipe = DataRecipe(dataset="digits", classes=("7", "3"), validation=0.0001)
    with pytest.raises(InvalidRecipe, match=r"class 7 has 400 training, 0 validation and 100 test pictures; class 3"):
        load(recipe, seed=1)


def test_no_named_class_means_all_in_the_datasets_order() -> None:
    splits = load(DataRecipe(dataset="digits"), seed=1)
    assert splits.classes == tuple("0123456789")
    assert np.bincount(splits.test.labels).tolist() == [100] * 10
