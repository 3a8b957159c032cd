"""Folders of pictures: which files are taken, what is said about bad ones, and what a second run is spared."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from headway_contract.preprocessing import ImageSpec, decode_image, to_model_input
from headway_training.datasets import Split, Splits, dataset_classes, load_splits
from headway_training.errors import BadPictures, DataMissing, InvalidRecipe
from headway_training.image_folders import folder_layout, load_folder
from headway_training.recipe import DataRecipe
from tests.support.picture_folders import pixels, write_classes, write_picture
from tests.support.training_data_dir import data_dir, needs_data

SPEC = ImageSpec(8, 8, 3)


def recipe(folder: Path | str, **fields: object) -> DataRecipe:
    return DataRecipe.model_validate({"dataset": "folder", "folder": str(folder), "validation": 0.2} | fields)


def load(folder: Path, cache: Path | None = None, **fields: object) -> Splits:
    return load_splits(recipe(folder, **fields), SPEC, seed=1, data_dir=None, cache=cache)


def names(split: Split) -> list[str]:
    return [split.pictures.name(index) for index in range(len(split))]


def found(folder: Path, *classes: str) -> list[str]:
    """The names of the train part's pictures."""
    parts, unreadable = load_folder(folder_layout(folder), folder, classes)
    assert unreadable == ()
    return [file.name for file in parts["train"].files]


# Layouts


def test_one_folder_is_split_by_seed_and_class(tmp_path: Path) -> None:
    write_classes(tmp_path, {"dog": 20, "cat": 10})
    splits = load(tmp_path, test=0.3)
    assert splits.classes == ("cat", "dog")
    assert [(count.train, count.validation, count.test) for count in splits.check.counts] == [(5, 2, 3), (10, 4, 6)]
    everything = names(splits.train) + names(splits.validation) + names(splits.test)
    assert sorted(everything) == sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    for split in (splits.train, splits.validation, splits.test):
        assert [name.split("/")[0] for name in names(split)] == [splits.classes[label] for label in split.labels]
    again, other = load(tmp_path, test=0.3), load_splits(recipe(tmp_path, test=0.3), SPEC, 2, None)
    assert names(again.train) == names(splits.train)
    assert again.digest() == splits.digest() != other.digest()


@pytest.mark.parametrize("validation", ["validation", "val"])
def test_parts_that_are_there_are_taken_as_they_are(tmp_path: Path, validation: str) -> None:
    for first_seed, part in enumerate(("train", validation, "test")):
        write_classes(tmp_path / part, {"cat": 4 + first_seed, "dog": 3}, first_seed=100 * first_seed)
    splits = load(tmp_path)
    assert [(count.train, count.validation, count.test) for count in splits.check.counts] == [(4, 5, 6), (3, 3, 3)]
    assert names(splits.validation)[0] == f"{validation}/cat/0.png"
    assert names(splits.test)[6:] == ["test/dog/0.png", "test/dog/1.png", "test/dog/2.png"]


def test_what_is_missing_is_taken_from_the_training_part(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"cat": 10, "dog": 10})
    assert [count.test for count in load(tmp_path, test=0.3).check.counts] == [3, 3]
    write_classes(tmp_path / "test", {"cat": 5, "dog": 4}, first_seed=100)
    splits = load(tmp_path, test=0.3)
    assert [(count.train, count.validation, count.test) for count in splits.check.counts] == [(8, 2, 5), (8, 2, 4)]


def test_classes_are_kept_in_the_order_of_the_recipe_and_others_are_not_read(tmp_path: Path) -> None:
    write_classes(tmp_path, {"ant": 10, "bee": 10, "cat": 10})
    (tmp_path / "bee" / "torn.png").write_bytes(b"torn")
    splits = load(tmp_path, classes=["cat", "ant"])
    assert splits.classes == ("cat", "ant")
    assert {name.split("/")[0] for name in names(splits.test)} == {"cat", "ant"}
    assert splits.classes[splits.test.labels[0]] == names(splits.test)[0].split("/")[0]
    with pytest.raises(InvalidRecipe, match=r"data.classes: folder .* has no class dog; its classes: ant, bee, cat"):
        load(tmp_path, classes=["cat", "dog"])


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    write_classes(tmp_path, {"train": 5, "car": 5, "boat": 5})
    assert folder_layout(tmp_path).classes == ("boat", "car", "train")


def test_a_folder_is_looked_for_in_the_data_folder_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_classes(tmp_path / "pets", {"cat": 5, "dog": 5})
    write_classes(tmp_path / "data" / "pets", {"ant": 5, "bee": 5})
    assert dataset_classes(recipe("pets"), tmp_path / "data") == ("ant", "bee")
    assert dataset_classes(recipe("pets"), tmp_path) == ("cat", "dog")
    assert dataset_classes(recipe("pets"), None) == ("cat", "dog")
    with pytest.raises(DataMissing, match=r"no folder .*data.birds and no folder .*birds; relative names are looked"):
        load_splits(recipe("birds"), SPEC, 1, tmp_path / "data")


@pytest.mark.parametrize("parts", [(), ("train", "test"), ("Train", "Test")])
def test_a_folder_without_class_folders_is_refused_with_the_layouts(tmp_path: Path, parts: tuple[str, ...]) -> None:
    for part in parts:
        write_picture(tmp_path / part / "1.png", seed=1)
    with pytest.raises(DataMissing, match=r"has no class folders; lay the pictures out as DIR/<class>/\*, or as DIR/"):
        load(tmp_path)


def test_two_validation_parts_and_a_single_class_are_refused(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"cat": 5})
    with pytest.raises(InvalidRecipe, match="has one class, cat; a classifier needs two or more"):
        load(tmp_path)
    for part in ("val", "validation"):
        write_classes(tmp_path / part, {"cat": 5, "dog": 5})
    with pytest.raises(DataMissing, match="has two validation parts, validation and val; keep one"):
        load(tmp_path)


# Which files


def test_folders_inside_a_class_are_walked_and_what_is_no_picture_is_left_alone(tmp_path: Path) -> None:
    cat = tmp_path / "cat"
    for name in ("b.png", "a.JPG", "deep/er/c.bmp", ".hidden.png", ".thumbnails/d.png"):
        write_picture(cat / name, seed=1)
    for name in ("notes.txt", "labels.csv", "Thumbs.db", "LICENSE", "b.png.xmp"):
        (cat / name).write_text("no picture")
    write_picture(tmp_path / "dog" / "e.png", seed=2)
    write_picture(tmp_path / ".cache" / "f.png", seed=2)
    assert folder_layout(tmp_path).classes == ("cat", "dog")
    assert found(tmp_path, "cat", "dog") == ["cat/a.JPG", "cat/b.png", "cat/deep/er/c.bmp", "dog/e.png"]


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    write_picture(elsewhere / "1.png", seed=1)
    folder = tmp_path / "pets"
    write_picture(folder / "cat" / "0.png", seed=0)
    (folder / "cat" / "linked").symlink_to(elsewhere)
    (folder / "cat" / "self").symlink_to(folder / "cat")
    (elsewhere / "back").symlink_to(folder)
    (folder / "dog").symlink_to(elsewhere)
    assert found(folder, "cat")[:1] == ["cat/0.png"]
    assert "cat/linked/1.png" in found(folder, "cat")
    assert "dog/1.png" in found(folder, "dog")


def test_a_name_that_is_no_utf8_can_be_printed_and_read(tmp_path: Path) -> None:
    write_classes(tmp_path, {"cat": 1})
    strange = Path(os.fsdecode(os.fsencode(tmp_path) + b"/cat/caf\xe9.png"))
    try:
        strange.write_bytes((tmp_path / "cat" / "0.png").read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert [name.encode() for name in found(tmp_path, "cat")] == [
        b"cat/0.png",
        "cat/caf\N{REPLACEMENT CHARACTER}.png".encode(),
    ]


# Bad files


def write_bad_files(folder: Path) -> dict[str, str]:
    """Every way in which a file can be no picture, and what is said of each."""
    good = (write_picture(folder / "good.jpg", seed=1)).read_bytes()
    (folder / "cut.jpg").write_bytes(good[:-60])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("not a picture at all")
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    with (folder / "huge.png").open("wb") as file:
        file.truncate(21 * 1024 * 1024)
    return {
        "cut.jpg": "damaged or incomplete",
        "empty.png": "is empty",
        "gone.png": "No such file",
        "huge.png": "22,020,096 bytes; at most 20,971,520",
        "phone.heic": "HEIC",
        "pipe.png": "not a regular file",
        "text.png": "not a picture in an accepted format",
    }


def test_every_bad_file_is_refused_by_name_and_reason(tmp_path: Path) -> None:
    write_classes(tmp_path, {"cat": 10, "dog": 10})
    reasons = write_bad_files(tmp_path / "cat")
    with pytest.raises(BadPictures) as refused:
        load(tmp_path)
    heading, *lines = str(refused.value).splitlines()
    assert f"folder {tmp_path}: 7 files cannot be read as pictures" in heading
    assert "--on-bad-image skip" in heading
    assert len(lines) == 7
    for line, (name, reason) in zip(lines, reasons.items(), strict=True):
        assert line.startswith(f"  cat/{name}: ")
        assert reason in line


def test_of_many_bad_files_ten_are_named_and_all_are_counted(tmp_path: Path) -> None:
    write_classes(tmp_path, {"cat": 10, "dog": 10})
    for number in range(23):
        (tmp_path / "dog" / f"x{number:02}.png").write_bytes(b"torn")
    with pytest.raises(BadPictures, match=r"23 files cannot (.|\n)*dog/x09\.png: .*\n  and 13 more$") as refused:
        load(tmp_path)
    assert "x10" not in str(refused.value)


def test_skipped_files_are_in_no_split(tmp_path: Path) -> None:
    write_classes(tmp_path, {"cat": 10, "dog": 10})
    clean = load(tmp_path)
    reasons = write_bad_files(tmp_path / "cat")
    (tmp_path / "cat" / "good.jpg").unlink()
    splits = load_splits(recipe(tmp_path), SPEC, 1, None, "skip")
    assert [picture.name for picture in splits.check.unreadable] == [f"cat/{name}" for name in reasons]
    # What is left is the same data, and it is split in the same way.
    assert splits.digest() == clean.digest()
    assert splits.train.pictures.read(range(len(splits.train))).shape == (len(clean.train), 8, 8, 3)


def test_a_class_left_with_too_few_readable_pictures_is_refused(tmp_path: Path) -> None:
    write_classes(tmp_path, {"cat": 10, "dog": 10})
    for number in range(8):
        (tmp_path / "dog" / f"{number}.png").write_bytes(b"torn")
    with pytest.raises(InvalidRecipe, match="class dog has 1 training, 1 validation and 0 test pictures"):
        load_splits(recipe(tmp_path), SPEC, 1, None, "skip")


# The cache of what was decoded


def cache_file(cache: Path) -> Path:
    (file,) = (cache / "scans").iterdir()
    return file


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "pets", {"cat": 10, "dog": 10})


def test_a_second_run_answers_from_the_cache_and_decodes_what_changed(tmp_path: Path, pets: Path) -> None:
    cache = tmp_path / "cache"
    first = load(pets, cache)
    scan = json.loads(cache_file(cache).read_text())
    # Made equal by hand, so that it shows what the second run goes by.
    one, two = (first.train.pictures.identity(index) for index in (0, 1))
    scan["contents"][one] = scan["contents"][two]
    cache_file(cache).write_text(json.dumps(scan))
    remembered = load(pets, cache)
    assert len(remembered.check.duplicates) == 1
    # A changed file is decoded: it is now equal to no other, and torn ones are noticed.
    write_picture(pets / first.train.pictures.name(0), seed=500)
    assert load(pets, cache).check.duplicates == ()
    (pets / first.train.pictures.name(1)).write_bytes(b"torn")
    with pytest.raises(BadPictures, match=first.train.pictures.name(1)):
        load(pets, cache)


def test_the_cache_changes_nothing_but_the_time(tmp_path: Path, pets: Path) -> None:
    cache, fresh = tmp_path / "cache", load(pets)
    assert load(pets, cache).digest() == fresh.digest()
    for damage in (b"", b"{", b'{"decoder": 1}', os.urandom(300), cache_file(cache).read_bytes()[:-40]):
        cache_file(cache).write_bytes(damage)
        splits = load(pets, cache)
        assert (splits.digest(), splits.check) == (fresh.digest(), fresh.check)
        assert json.loads(cache_file(cache).read_bytes())["contents"]


def test_another_decoder_begins_anew(tmp_path: Path, pets: Path) -> None:
    cache = tmp_path / "cache"
    load(pets, cache)
    scan = json.loads(cache_file(cache).read_text())
    same = dict.fromkeys(scan["contents"], "0" * 64)
    cache_file(cache).write_text(json.dumps({"decoder": "another", "contents": same}))
    assert load(pets, cache).check.duplicates == ()
    assert json.loads(cache_file(cache).read_text()) == scan


def test_a_cache_that_cannot_be_written_is_no_obstacle(tmp_path: Path, pets: Path) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("in the way")
    assert load(pets, blocked).digest() == load(pets).digest()


def test_progress_counts_every_file_to_the_end(pets: Path) -> None:
    (pets / "cat" / "torn.png").write_bytes(b"torn")
    calls: list[tuple[str, int, int]] = []
    load_splits(recipe(pets), SPEC, 1, None, "skip", lambda *call: calls.append(call))
    assert calls == [("checking pictures", done, 21) for done in range(1, 22)]


# Real pictures


@needs_data
@pytest.mark.parametrize(
    ("name", "classes", "sizes"), [("stl10", 9, (1620, 180, 900)), ("clothing", 10, (720, 80, 250))]
)
def test_real_folders_are_whole_and_free_of_copies(name: str, classes: int, sizes: tuple[int, ...]) -> None:
    spec = ImageSpec(96, 96, 3, fit="crop")
    splits = load_splits(recipe(name, validation=0.1), spec, 1, data_dir())
    assert len(splits.classes) == classes
    assert (len(splits.train), len(splits.validation), len(splits.test)) == sizes
    assert splits.check.warnings() == ()
    for index in range(0, len(splits.test), 50):
        posted = decode_image(splits.test.pictures.encoded(index), spec=spec)
        np.testing.assert_array_equal(splits.test.pictures.read([index])[0], to_model_input(posted, spec))


def test_read_pictures_are_those_of_their_files(pets: Path) -> None:
    splits = load_splits(recipe(pets), ImageSpec(9, 12, 3), 1, None)
    for split in (splits.train, splits.validation, splits.test):
        for name, picture in zip(names(split), split.pictures.read(range(len(split))), strict=True):
            animal, file = name.split("/")
            np.testing.assert_array_equal(picture, pixels(int(file.removesuffix(".png")) + 10 * (animal == "dog")))
