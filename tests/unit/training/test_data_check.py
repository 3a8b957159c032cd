"""Faults of a dataset are found, named and counted: copies, leaks, wrong labels, imbalance, too few pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headway_contract.preprocessing import ImageSpec
from headway_training.data_check import BadPicture, Copy, DataCheck, Sighting, check_data
from headway_training.datasets import Splits, load_splits
from headway_training.errors import InvalidRecipe
from headway_training.recipe import DataRecipe
from tests.support.picture_folders import write_classes, write_picture

SPEC = ImageSpec(8, 8, 3)
CLEAN = {"cat": 20, "dog": 20}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes in a train and a test part, with nothing to find."""
    write_classes(tmp_path / "train", CLEAN)
    write_classes(tmp_path / "test", {"cat": 6, "dog": 6}, first_seed=1000)
    return tmp_path


def load(folder: Path, seed: int = 1, **fields: object) -> Splits:
    recipe = DataRecipe.model_validate({"dataset": "folder", "folder": str(folder), "validation": 0.2} | fields)
    return load_splits(recipe, SPEC, seed, data_dir=None, on_bad_image="skip")


def names(group: tuple[Copy, ...]) -> set[str]:
    return {copy.name for copy in group}


def test_a_dataset_without_faults_has_no_warning(folder: Path) -> None:
    check = load(folder).check
    assert check.warnings() == ()
    assert [(count.label, count.train, count.validation, count.test) for count in check.counts] == [
        ("cat", 16, 4, 6), ("dog", 16, 4, 6),
    ]  # fmt: skip
    assert check.imbalance == 1


def test_a_copy_in_another_format_is_a_duplicate(folder: Path) -> None:
    write_picture(folder / "test" / "cat" / "same.bmp", seed=1002)
    check = load(folder).check
    assert [names(group) for group in check.duplicates] == [{"test/cat/2.png", "test/cat/same.bmp"}]
    assert check.leaks == check.conflicts == ()
    (warning,) = check.warnings()
    assert warning == "1 picture more than once in a split (1 surplus): test/cat/2.png = test/cat/same.bmp"


def test_a_picture_of_train_and_test_is_a_leak(folder: Path) -> None:
    write_picture(folder / "test" / "dog" / "known.png", seed=25)
    check = load(folder).check
    assert check.duplicates == check.conflicts == ()
    ((first, second),) = check.leaks
    assert (first.name, second) == ("train/dog/5.png", Copy("test", "dog", "test/dog/known.png"))
    (warning,) = check.warnings()
    assert warning.endswith("the accuracy partly measures memory: train/dog/5.png = test/dog/known.png")


def test_one_picture_with_two_labels_is_a_conflict(folder: Path) -> None:
    write_picture(folder / "test" / "cat" / "known.tiff", seed=25)
    check = load(folder).check
    assert check.conflicts == check.leaks
    assert (
        "1 picture with different labels in different places: "
        "train/dog/5.png (dog) = test/cat/known.tiff (cat)"
    ) in check.warnings()  # fmt: skip


def test_a_grayscale_picture_equals_its_copy_in_colour(folder: Path) -> None:
    """A PNG with one channel and one with three equal ones show the same."""
    gray = Image.fromarray(np.arange(96, dtype=np.uint8).reshape(8, 12))
    gray.save(folder / "test" / "cat" / "gray.png")
    gray.convert("RGB").save(folder / "test" / "cat" / "gray.bmp")
    assert [names(group) for group in load(folder).check.duplicates] == [{"test/cat/gray.bmp", "test/cat/gray.png"}]


def test_empty_sheets_of_different_shape_are_different_pictures(folder: Path) -> None:
    for width, height in ((6, 8), (8, 6)):
        Image.new("RGB", (width, height), "white").save(folder / "test" / "cat" / f"{width}x{height}.png")
    assert load(folder).check.duplicates == ()


@pytest.mark.parametrize("seed", range(8))
def test_copies_are_never_parted_by_the_split(tmp_path: Path, seed: int) -> None:
    """A folder without parts, in which each picture of a class is there one to six times."""
    generator = np.random.default_rng(seed)
    for name, first_seed in (("cat", 0), ("dog", 100)):
        for picture in range(12):
            for copy in range(generator.integers(1, 7)):
                write_picture(tmp_path / name / f"{picture}-{copy}.png", first_seed + picture)
    splits = load(tmp_path, seed, test=0.3)
    assert splits.check.leaks == ()
    assert splits.check.duplicates
    total = sum(1 for _ in tmp_path.rglob("*.png"))
    assert len(splits.train) + len(splits.validation) + len(splits.test) == total


@pytest.fixture(scope="module")
def with_ten_copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class of 40 pictures, one of them ten times, and one of 40 different ones."""
    folder = write_classes(tmp_path_factory.mktemp("copied"), {"cat": 31, "dog": 40})
    for copy in range(9):
        write_picture(folder / "cat" / f"copy-{copy}.png", seed=7)
    return folder


@pytest.mark.parametrize("seed", range(20))
def test_a_class_of_40_with_ten_copies_is_taken_with_every_seed(with_ten_copies: Path, seed: int) -> None:
    check = load(with_ten_copies, seed, validation=0.1, test=0.2).check
    assert [(count.train, count.validation, count.test) for count in check.counts] == [(28, 4, 8), (28, 4, 8)]
    assert check.leaks == ()


def test_where_copies_are_the_reason_for_too_few_pictures_it_is_said(tmp_path: Path) -> None:
    write_classes(tmp_path, {"cat": 2, "dog": 40})
    for copy in range(38):
        write_picture(tmp_path / "cat" / f"copy-{copy:02}.png", seed=1)
    with pytest.raises(InvalidRecipe) as refused:
        load(tmp_path)
    assert (
        "class cat has 39 training, 1 validation and 0 test pictures, for copies of a picture are kept in one split "
        "and only 2 of its 40 are different (cat/1.png = cat/copy-00.png = ...); "
    ) in str(refused.value)


def test_imbalance_and_few_pictures_are_warned_of(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"cat": 100, "dog": 9})
    write_classes(tmp_path / "test", {"cat": 5, "dog": 4}, first_seed=1000)
    check = load(tmp_path).check
    assert check.imbalance == pytest.approx(80 / 7)
    imbalance, training, test = check.warnings()
    assert imbalance.startswith("imbalance: class cat has 80 training pictures, dog has 7;")
    assert training == "fewer than 10 training pictures of 1 class: dog 7"
    assert test == "fewer than 5 test pictures of 1 class: dog 4"


@pytest.mark.parametrize(
    ("train", "test", "problem"),
    [
        ({"cat": 20, "dog": 2}, {"cat": 5, "dog": 5}, "class dog has 2 training, 0 validation and 5 test pictures"),
        ({"cat": 20, "dog": 20}, {"cat": 5}, "class dog has 16 training, 4 validation and 0 test pictures"),
        ({"cat": 20}, {"cat": 5, "dog": 5}, "class dog has 0 training, 0 validation and 5 test pictures"),
    ],
)
def test_a_class_that_cannot_be_learnt_or_measured_is_refused(
    tmp_path: Path, train: dict[str, int], test: dict[str, int], problem: str
) -> None:
    write_classes(tmp_path / "train", train)
    write_classes(tmp_path / "test", test, first_seed=1000)
    with pytest.raises(InvalidRecipe, match=rf"data: {problem}; each class needs 2, 1 and 1: add pictures"):
        load(tmp_path)


def test_many_classes_with_too_few_pictures_are_counted(tmp_path: Path) -> None:
    write_classes(tmp_path, {f"c{number:02}": 1 for number in range(13)})
    with pytest.raises(InvalidRecipe, match=r"class c09 has .*; and 3 more; each class needs") as refused:
        load(tmp_path)
    assert "c10" not in str(refused.value)


def test_copies_in_arrays_are_found_too(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).integers(0, 256, (200, 28, 28), dtype=np.uint8)
    numbers = np.arange(200) % 10
    rows[150] = rows[100]  # both 0, both in the test part
    rows[107] = rows[7]  # a 7 of the train part in the test part
    np.savez(tmp_path / "mnist.npz", x_train=rows[:100], y_train=numbers[:100], x_test=rows[100:], y_test=numbers[100:])
    recipe = DataRecipe(dataset="mnist", validation=0.2)
    check = load_splits(recipe, ImageSpec(28, 28, 1), 1, tmp_path).check
    assert [names(group) for group in check.duplicates] == [{"mnist test 0", "mnist test 50"}]
    assert [names(group) for group in check.leaks] == [{"mnist train 7", "mnist test 7"}]


def test_a_group_in_two_splits_with_copies_in_one_is_told_as_both() -> None:
    check = check_data(
        ["a", "b"],
        [Sighting("train", "a", "1", "x"), Sighting("train", "b", "2", "x"), Sighting("test", "a", "3", "x")],
    )
    assert [names(group) for group in check.duplicates] == [{"1", "2"}]
    assert [names(group) for group in check.leaks] == [{"1", "2", "3"}]
    # The wrong label is one finding, told with every place.
    assert check.conflicts == check.leaks


def test_the_json_form_counts_everything_and_names_the_first_ten() -> None:
    sightings = [Sighting("train", "a", f"{copy}", f"{number}") for number in range(12) for copy in range(30)]
    bad = [BadPicture(f"{number}.png", "torn") for number in range(11)]
    check = check_data(["a"], sightings, bad)
    mapping = json.loads(json.dumps(check.to_mapping()))
    assert mapping["counts"] == [{"label": "a", "train": 360, "validation": 0, "test": 0}]
    assert mapping["unreadable"]["count"] == 11
    assert mapping["unreadable"]["first"][9] == {"name": "9.png", "reason": "torn"}
    assert (mapping["duplicates"]["count"], len(mapping["duplicates"]["first"])) == (12, 10)
    group = mapping["duplicates"]["first"][0]
    assert (group["count"], len(group["first"])) == (30, 10)
    assert mapping["leaks"] == {"count": 0, "first": []}
    assert mapping["warnings"] == list(check.warnings())
    for warning in check.warnings():
        assert len(warning) < 600
    assert json.dumps(DataCheck(counts=check_data(["a"], []).counts).to_mapping(), allow_nan=False)


def test_skipped_files_are_told_with_the_reason(folder: Path) -> None:
    (folder / "train" / "cat" / "torn.png").write_bytes(b"")
    check = load(folder).check
    assert [picture.name for picture in check.unreadable] == ["train/cat/torn.png"]
    (warning,) = check.warnings()
    assert warning.startswith("1 file left out, not readable as pictures: train/cat/torn.png (the picture is empty")
