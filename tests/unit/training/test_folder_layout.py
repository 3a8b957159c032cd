"""Folders as people have them: other names of parts, what archives leave behind, two forms of Unicode, loose files."""

import unicodedata
from pathlib import Path

import pytest

from headway_training.data_check import Unused
from headway_training.errors import DataMissing
from headway_training.folder_layout import PARTS, Layout, class_folders
from tests.support.picture_folders import write_classes, write_picture


def counts(layout: Layout) -> dict[tuple[str, str], int]:
    """Pictures by part and class."""
    found = [(picture.part, picture.label) for picture in layout.pictures]
    return {key: found.count(key) for key in found}


@pytest.mark.parametrize("name", [name for names in PARTS.values() for name in names])
@pytest.mark.parametrize("form", [str.lower, str.title, str.upper])
def test_parts_are_understood_by_all_their_usual_names(tmp_path: Path, name: str, form: object) -> None:
    (part,) = (part for part, names in PARTS.items() if name in names)
    write_classes(tmp_path / form(name), {"cat": 3, "dog": 2})  # type: ignore[operator]
    if part != "train":
        write_classes(tmp_path / "Train", {"cat": 4, "dog": 4})
    layout = class_folders(tmp_path)
    assert layout.classes == ("cat", "dog")
    assert (counts(layout)[part, "cat"], counts(layout)[part, "dog"]) == (3, 2)
    assert layout.unused == ()


def test_two_folders_for_one_part_are_refused_by_name(tmp_path: Path) -> None:
    for name in ("train", "valid", "Dev"):
        write_classes(tmp_path / name, {"cat": 1, "dog": 1})
    with pytest.raises(DataMissing, match="has two validation parts, valid and Dev; keep one"):
        class_folders(tmp_path)


def test_what_belongs_to_no_class_is_reported(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"cat": 3, "dog": 3})
    write_classes(tmp_path / "holdout", {"cat": 2})
    write_picture(tmp_path / "cover.png", 1)
    write_picture(tmp_path / "train" / "loose.png", 1)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no picture")
    (tmp_path / "README.md").write_text("no picture")
    assert class_folders(tmp_path).unused == (
        Unused("README.md", "no picture by its name"),
        Unused("cover.png", "in no class folder"),
        Unused("holdout/", "neither train, validation nor test; pictures in it: 2"),
        Unused("train/cat/notes.txt", "no picture by its name"),
        Unused("train/loose.png", "in no class folder"),
    )


def test_what_archives_and_desktops_leave_behind_is_skipped(tmp_path: Path) -> None:
    write_classes(tmp_path, {"cat": 2, "dog": 2})
    for name in ("__MACOSX/cat/._0.png", ".git/x.png", "cat/.DS_Store", "cat/._0.png", "dog/Thumbs.db", "desktop.ini",
                 "dog/@eaDir/0.png", "cat/__MACOSX/1.png"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"left behind")
    layout = class_folders(tmp_path)
    assert (counts(layout), layout.unused) == ({("train", "cat"): 2, ("train", "dog"): 2}, ())


def test_one_name_in_two_forms_of_unicode_is_one_class(tmp_path: Path) -> None:
    """A folder made on a Mac beside one made elsewhere: they look the same."""
    name = "caf\N{LATIN SMALL LETTER E WITH ACUTE}"
    other = unicodedata.normalize("NFD", name)
    write_classes(tmp_path / "train", {name: 2, "tea": 2})
    write_classes(tmp_path / "train", {other: 4})
    write_classes(tmp_path / "test", {other: 1, "tea": 1})
    layout = class_folders(tmp_path)
    assert layout.classes == (name, "tea")
    together = 6 if len(list((tmp_path / "train").iterdir())) == 3 else 4
    assert (counts(layout)["train", name], counts(layout)["test", name]) == (together, 1)


def test_classes_beside_a_test_part_and_a_folder_around_it_all_are_refused_by_name(tmp_path: Path) -> None:
    """Without a train part, test/ would be a class whose pictures are those of the others."""
    write_classes(tmp_path / "pets", {"cat": 2, "dog": 2})
    with pytest.raises(DataMissing, match=r"has one class, pets, with folders in it; did you mean .*/pets\?"):
        class_folders(tmp_path)
    write_classes(tmp_path / "pets" / "Test", {"cat": 2, "dog": 2})
    with pytest.raises(DataMissing, match=r"has cat and Test/cat too, but no part named train; lay the pictures out"):
        class_folders(tmp_path / "pets")


def test_classes_may_be_called_like_parts(tmp_path: Path) -> None:
    write_classes(tmp_path, {"valid": 2, "invalid": 2, "dev": 1})
    assert class_folders(tmp_path).classes == ("dev", "invalid", "valid")
