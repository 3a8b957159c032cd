"""The bundled digits are split by class and seed, without overlap, through the contract's geometry."""

import numpy as np
import pytest

from headway_contract.preprocessing import ImageSpec, decode_image, encode_png, to_model_input
from headway_training.datasets import Split, Splits, load_splits
from headway_training.errors import InvalidRecipe
from headway_training.recipe import DataRecipe

SPEC = ImageSpec(28, 28, 1, polarity="light_on_dark")
THREE = DataRecipe(dataset="digits", classes=("7", "3", "9"))


@pytest.fixture(scope="module")
def splits() -> Splits:
    return load_splits(THREE, SPEC, seed=1)


def parts(splits: Splits) -> tuple[Split, Split, Split]:
    return splits.train, splits.validation, splits.test


def pictures(split: Split) -> list[bytes]:
    return [image.tobytes() for image in split.images]


def test_the_splits_have_the_recipes_shares_of_every_class(splits: Splits) -> None:
    assert splits.classes == ("7", "3", "9")
    # 500 of each digit: 70 %, 10 % and 20 %.
    for split, of_each in zip(parts(splits), (350, 50, 100), strict=True):
        assert np.bincount(split.labels).tolist() == [of_each] * 3
        assert split.images.shape == (3 * of_each, 28, 28, 1)
        assert (split.images.dtype, split.labels.dtype) == (np.dtype(np.uint8), np.dtype(np.int32))
        assert len(split) == 3 * of_each


def test_no_picture_is_in_two_splits(splits: Splits) -> None:
    train, validation, test = (set(pictures(split)) for split in parts(splits))
    assert train.isdisjoint(validation)
    assert train.isdisjoint(test)
    assert validation.isdisjoint(test)


def test_a_label_index_means_its_class(splits: Splits) -> None:
    """Each picture has the label it has in the data, whatever the order of the classes is."""
    reversed_classes = DataRecipe(dataset="digits", classes=("9", "3", "7"))
    other = load_splits(reversed_classes, SPEC, seed=2)
    label_of = {
        picture: splits.classes[label]
        for split in parts(splits)
        for picture, label in zip(pictures(split), split.labels, strict=True)
    }
    for split in parts(other):
        for picture, label in zip(pictures(split), split.labels, strict=True):
            assert label_of[picture] == other.classes[label]


def test_the_same_seed_gives_the_same_splits_and_another_seed_others(splits: Splits) -> None:
    again, other = load_splits(THREE, SPEC, seed=1), load_splits(THREE, SPEC, seed=2)
    for first, second in zip(parts(splits), parts(again), strict=True):
        np.testing.assert_array_equal(first.images, second.images)
        np.testing.assert_array_equal(first.labels, second.labels)
    assert splits.digest() == again.digest() != other.digest()
    everything = sorted(picture for split in parts(splits) for picture in pictures(split))
    assert everything == sorted(picture for split in parts(other) for picture in pictures(split))
    assert set(pictures(splits.test)) != set(pictures(other.test))


def test_the_digest_changes_with_any_pixel_label_or_class() -> None:
    def small() -> Splits:
        images = np.arange(24, dtype=np.uint8).reshape(6, 2, 2, 1)
        labels = np.array([0, 1], dtype=np.int32)
        train, validation, test = (Split(images[i : i + 2].copy(), labels.copy()) for i in (0, 2, 4))
        return Splits(train, validation, test, ("a", "b"))

    assert small().digest() == small().digest()
    digests = {small().digest()}
    for index in range(3):
        pixel, label = small(), small()
        parts(pixel)[index].images[1, 1, 0, 0] += 1
        parts(label)[index].labels[0] = 1
        digests |= {pixel.digest(), label.digest()}
    changed = small()
    digests.add(Splits(changed.train, changed.validation, changed.test, ("a", "c")).digest())
    digests.add(Splits(changed.validation, changed.train, changed.test, ("a", "b")).digest())
    assert len(digests) == 9


def test_a_test_picture_posted_as_png_becomes_the_pixels_that_were_trained_on(splits: Splits) -> None:
    for image in splits.test.images[::25]:
        np.testing.assert_array_equal(to_model_input(decode_image(encode_png(image)), SPEC), image)


def test_pictures_are_brought_into_the_recipes_geometry() -> None:
    spec = ImageSpec(20, 12, 3, fit="crop")
    images = load_splits(THREE, spec, seed=1).test.images
    assert images.shape[1:] == (20, 12, 3)
    np.testing.assert_array_equal(images[..., 0], images[..., 2])


def test_a_class_the_dataset_lacks_is_refused_and_its_classes_are_named() -> None:
    recipe = DataRecipe(dataset="digits", classes=("7", "x", "ten"))
    with pytest.raises(InvalidRecipe, match=r"digits has no class ten, x; its classes: 0, 1, 2, .* 9"):
        load_splits(recipe, SPEC, seed=1)


def test_a_share_too_small_for_one_picture_is_refused() -> None:
    recipe = DataRecipe(dataset="digits", classes=("7", "3"), validation=0.0001)
    with pytest.raises(InvalidRecipe, match="class 7 has 500 pictures, too few for three splits"):
        load_splits(recipe, SPEC, seed=1)
