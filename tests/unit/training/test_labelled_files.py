"""A folder of pictures with a table of labels is read; a line that is wrong is named."""

import os
import unicodedata
from pathlib import Path

import pytest

from headway_contract.preprocessing import ImageSpec
from headway_training.data_check import Unused
from headway_training.datasets import load_splits
from headway_training.errors import DataMissing
from headway_training.labelled_files import has_labels, labelled_files
from headway_training.recipe import DataRecipe
from tests.support.picture_folders import write_picture


def write(folder: Path, table: str | bytes, *pictures: str) -> Path:
    for seed, name in enumerate(pictures):
        write_picture(folder / "images" / name, seed)
    (folder / "images").mkdir(exist_ok=True)
    (folder / "labels.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    return folder


def labels(folder: Path) -> dict[str, str]:
    return {picture.name: picture.label for picture in labelled_files(folder).pictures}


def test_each_file_has_the_class_of_its_line(tmp_path: Path) -> None:
    table = 'file,label\n1.png,cat\ndeep/2.png,dog\n"3, old.png",dog\n\nimages/4.png,cat\n./5.png, cat \n1.png,cat\n'
    folder = write(tmp_path, table, "1.png", "deep/2.png", "3, old.png", "4.png", "5.png", "6.png")
    (folder / "images" / "notes.txt").write_text("no picture")
    write_picture(folder / "more" / "7.png", 7)
    assert has_labels(folder)
    assert labels(folder) == {
        "images/1.png": "cat", "images/4.png": "cat", "images/5.png": "cat",
        "images/3, old.png": "dog", "images/deep/2.png": "dog",
    }  # fmt: skip
    layout = labelled_files(folder)
    assert (layout.parts, layout.classes) == (("train",), ("cat", "dog"))
    assert layout.unused == (
        Unused("images/6.png", "not in labels.csv"),
        Unused("images/notes.txt", "no picture by its name"),
        Unused("more/", "beside images/ and labels.csv"),
    )


@pytest.mark.parametrize(
    "table",
    [
        b"\xef\xbb\xbffile,label\r\n1.png,cat\r\n2.png,dog\r\n",
        b"File;Label\r\n1.png;cat\r\n2.png;dog\r\n",
        b"id,label,file\n7,cat,1.png\n8,dog,2.png\n",
    ],
    ids=["mark and CRLF", "semicolons", "other columns"],
)
def test_tables_as_spreadsheets_write_them_are_read(tmp_path: Path, table: bytes) -> None:
    assert labels(write(tmp_path, table, "1.png", "2.png")) == {"images/1.png": "cat", "images/2.png": "dog"}


def test_names_and_labels_are_the_same_in_both_forms_of_unicode(tmp_path: Path) -> None:
    name = "\N{LATIN SMALL LETTER A WITH DIAERESIS}"
    other = unicodedata.normalize("NFD", name)
    folder = write(tmp_path, f"file,label\n{other}.png,{name}\n2.png,{other}\n", f"{name}.png", "2.png")
    assert labels(folder) == {f"images/{name}.png": name, "images/2.png": name}


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("", "the first line must name the columns file and label, not ''"),
        ("1.png,cat\n", "the first line must name the columns file and label, not '1.png,cat'"),
        ("file,label\n", "it names no file"),
        ("file,label\n1.png,cat\n9.png,dog\n", "line 3: there is no images/9.png"),
        ("file,label\n1.png,\n", "line 2: no label"),
        ("file,label\n1.png\n", "line 2: no label"),
        ("file,label\n1.png,cat\n1.png,dog\n", "line 3: images/1.png is dog here and cat before"),
        ("file,label\n../labels.csv,cat\n", "line 2: there is no images/../labels.csv"),
        ("file,label\n" + "9.png,cat\n" * 7, "; and 2 more; each line names a file below"),
        ('file,label\n"1.png,cat\n', "line 2 is not CSV"),
        (b"file,label\n1.png,caf\xe9\n", "is not UTF-8"),
    ],
)
def test_a_table_that_is_wrong_is_refused_with_the_line(tmp_path: Path, table: str | bytes, says: str) -> None:
    write(tmp_path, table, "1.png", "2.png")
    with pytest.raises(DataMissing) as refused:
        labelled_files(tmp_path)
    assert str(tmp_path / "labels.csv") in str(refused.value)
    assert says in str(refused.value)


def test_a_pipe_in_its_place_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    write(tmp_path, "", "1.png")
    (tmp_path / "labels.csv").unlink()
    os.mkfifo(tmp_path / "labels.csv")
    with pytest.raises(DataMissing, match="not a regular file"):
        labelled_files(tmp_path)


def test_the_pictures_are_split_like_those_of_class_folders(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(40)]
    rows = "".join(f"{name},{'dog' if number % 2 else 'cat'}\n" for number, name in enumerate(names))
    write(tmp_path, "file,label\n" + rows, *names, "41.png")
    recipe = DataRecipe(dataset="folder", folder=str(tmp_path))
    check = load_splits(recipe, ImageSpec(8, 8, 3), 1, None).check
    assert [(count.label, count.train, count.validation, count.test) for count in check.counts] == [
        ("cat", 14, 2, 4), ("dog", 14, 2, 4),
    ]  # fmt: skip
    assert "1 file or folder not used: images/41.png (not in labels.csv)" in check.warnings()


def test_class_folders_beside_a_table_are_class_folders(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,label\n")
    assert not has_labels(tmp_path)
