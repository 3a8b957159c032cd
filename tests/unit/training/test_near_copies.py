"""Near copies across the splits are found by features and named; where that is wished, training does without them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from headway_contract.preprocessing import ImageSpec
from headway_training.datasets import Splits, load_splits
from headway_training.errors import InvalidRecipe
from headway_training.near_copies import mark_near_copies
from headway_training.recipe import DataRecipe
from tests.support.picture_folders import pixels

SPEC = ImageSpec(64, 64, 3)
PARTS = {"train": 10, "validation": 4, "test": 5}


def scene(seed: int) -> Image.Image:
    """A picture of soft spots: another seed, another scene."""
    return Image.fromarray(pixels(seed, 8, 8)).resize((80, 80), Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, every picture another scene."""
    seed = 0
    for part, count in PARTS.items():
        for label in ("cat", "dog"):
            (tmp_path / part / label).mkdir(parents=True)
            for number in range(count):
                scene(seed := seed + 1).save(tmp_path / part / label / f"{number}.png")
    return tmp_path


def load(folder: Path) -> Splits:
    return load_splits(DataRecipe(dataset="folder", folder=str(folder)), SPEC, 1, None)


def features(splits: Splits, **alike: tuple[str, float]) -> dict[str, NDArray[np.float32]]:
    """Random ones, but ``of="train/cat/0.png", 0.9`` gives a picture's, which differ from that one's by a cosine."""
    random = np.random.default_rng(1)
    found = {
        name: random.normal(size=(len(getattr(splits, name)), 400)).astype(np.float32)
        for name in ("train", "validation", "test")
    }
    place_of = {
        getattr(splits, name).pictures.name(index): (name, index) for name in found for index in range(len(found[name]))
    }
    for picture, (other, cosine) in alike.items():
        (name, index), (other_name, other_index) = place_of[picture.replace("__", "/") + ".png"], place_of[other]
        one = found[other_name][other_index]
        found[name][index] = cosine * one + np.sqrt(1 - cosine**2) * found[name][index]
    return found


def names(splits: Splits) -> list[tuple[str, str]]:
    return [(pair.first.name, pair.second.name) for pair in splits.check.near_copies]


def test_different_pictures_are_no_near_copies(folder: Path) -> None:
    splits = load(folder)
    marked, kept = mark_near_copies(splits, features(splits), drop=True)
    assert (marked.check.near_copies, marked.check.warnings(), marked.digest()) == ((), (), splits.digest())
    assert {name: len(places) for name, places in kept.items()} == {"train": 20, "validation": 8, "test": 10}


def test_pictures_with_the_same_features_are_named_the_most_alike_first(folder: Path) -> None:
    splits = load(folder)
    found = features(splits, test__dog__3=("train/cat/5.png", 0.93), validation__cat__1=("train/dog/2.png", 0.99))
    marked, _ = mark_near_copies(splits, found, drop=False)
    assert names(marked) == [
        ("train/dog/2.png", "validation/cat/1.png"),
        ("train/cat/5.png", "test/dog/3.png"),
    ]
    (warning,) = marked.check.warnings()
    assert warning.startswith("2 pairs of near copies in different splits, so the accuracy partly measures memory;")
    assert "--on-near-copies drop: train/dog/2.png ~ validation/cat/1.png (0.99); train/cat/5.png ~ " in warning
    assert marked.digest() == splits.digest()
    assert marked.near_copies[0][0] == (folder / "train/dog/2.png").read_bytes()
    assert marked.check.to_mapping()["near_copies"]["count"] == 2


@pytest.mark.parametrize("saved", ["quality 60", "half the size"])
def test_a_picture_that_was_saved_again_is_found_although_its_features_differ(folder: Path, saved: str) -> None:
    picture, again = Image.open(folder / "train" / "cat" / "7.png"), folder / "test" / "cat" / "2.png"
    if saved == "half the size":
        picture.resize((40, 40)).save(again)
    else:
        picture.save(again, "JPEG", quality=60)
    splits = load(folder)
    found = features(splits, test__cat__2=("train/cat/7.png", 0.65), test__dog__2=("train/dog/7.png", 0.65))
    marked, _ = mark_near_copies(splits, found, drop=False)
    assert names(marked) == [("train/cat/7.png", "test/cat/2.png")]


def test_near_copies_are_left_out_of_what_is_not_measured_on(folder: Path) -> None:
    splits = load(folder)
    found = features(
        splits,
        train__cat__1=("test/dog/0.png", 0.95),
        train__cat__2=("test/dog/0.png", 0.95),
        train__dog__4=("validation/dog/1.png", 0.95),
        validation__cat__0=("test/cat/4.png", 0.95),
    )
    marked, kept = mark_near_copies(splits, found, drop=True)
    assert (len(marked.train), len(marked.validation), len(marked.test)) == (17, 7, 10)
    left = {marked.train.pictures.name(index) for index in range(17)}
    assert left.isdisjoint({"train/cat/1.png", "train/cat/2.png", "train/dog/4.png"})
    assert [marked.train.pictures.name(index) for index in range(17)] == [
        splits.train.pictures.name(int(place)) for place in kept["train"]
    ]
    assert [(count.train, count.validation, count.test) for count in marked.check.counts] == [(8, 3, 5), (9, 4, 5)]
    assert marked.check.warnings()[0].startswith("4 pairs of near copies in different splits, 4 left out of training")
    assert marked.digest() != splits.digest()


def test_exact_copies_across_splits_are_told_once_and_left_out_too(folder: Path) -> None:
    (folder / "test" / "cat" / "1.png").write_bytes((folder / "train" / "cat" / "1.png").read_bytes())
    splits = load(folder)
    found = features(splits, test__cat__1=("train/cat/1.png", 1.0))
    marked, _ = mark_near_copies(splits, found, drop=False)
    assert len(marked.check.leaks) == len(marked.check.warnings()) == 1
    assert marked.check.near_copies == ()
    dropped, _ = mark_near_copies(splits, found, drop=True)
    assert (dropped.check.leaks, len(dropped.train)) == ((), 19)


def test_too_few_pictures_left_of_a_class_are_refused(folder: Path) -> None:
    splits = load(folder)
    alike = {f"train__cat__{number}": ("test/cat/0.png", 0.99) for number in range(9)}
    with pytest.raises(
        InvalidRecipe, match=r"leaves too few pictures of class cat \(training 1 of 10, validation 4 of 4"
    ):
        mark_near_copies(splits, features(splits, **alike), drop=True)


def test_features_without_direction_are_like_nothing(folder: Path) -> None:
    splits = load(folder)
    zeros = {name: np.zeros_like(values) for name, values in features(splits).items()}
    assert mark_near_copies(splits, zeros, drop=False)[0].check == replace(splits.check)
