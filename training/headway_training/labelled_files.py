"""``images/`` and ``labels.csv``: pictures in one folder, and a table that says which class each of them shows.

::

    file,label
    0001.jpg,cat
    dogs/0002.jpg,dog

The first line names the columns ``file`` and ``label``; ``file`` is a path below ``images/``.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from headway_contract.regular_files import read_regular_file
from headway_training.data_check import Unused
from headway_training.errors import DataMissing
from headway_training.folder_layout import FoundPicture, Layout, files_below, is_left_behind, is_picture, readable

_NAMED = 5


def has_labels(folder: Path) -> bool:
    """Whether a folder is laid out like this."""
    return (folder / "labels.csv").exists() and (folder / "images").is_dir()


def labelled_files(folder: Path) -> Layout:
    """What lies in such a folder. Raises :class:`DataMissing` naming the lines of the table that are wrong."""
    table, images = folder / "labels.csv", folder / "images"
    there = {readable(path.relative_to(images).as_posix()): path for path in sorted(files_below(images))}
    labels: dict[str, str] = {}
    wrong: list[str] = []
    for line, file, label in _rows(table):
        # What people copy from a listing: with the folder's name, or beginning with ./
        name = file if file in there else file.removeprefix("./").removeprefix("images/")
        if not label:
            wrong.append(f"line {line}: no label")
        elif name not in there:
            wrong.append(f"line {line}: there is no images/{name}")
        elif labels.setdefault(name, label) != label:
            wrong.append(f"line {line}: images/{name} is {label} here and {labels[name]} before")
    if wrong or not labels:
        told = "; ".join(wrong[:_NAMED]) or "it names no file"
        more = f"; and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise DataMissing(f"{table}: {told}{more}; each line names a file below {images} and its class")
    pictures = [
        FoundPicture("train", label, f"images/{name}", there[name])
        for label, name in sorted((label, name) for name, label in labels.items())
    ]
    unused = [Unused(f"images/{name}", _why(path)) for name, path in there.items() if name not in labels]
    unused += [Unused(readable(name), "beside images/ and labels.csv") for name in _others(folder)]
    return Layout(("train",), tuple(sorted(set(labels.values()))), tuple(pictures), tuple(sorted(unused)))


def _rows(table: Path) -> Iterator[tuple[int, str, str]]:
    """Line, file and label. Raises :class:`DataMissing`."""
    try:
        text = read_regular_file(table).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataMissing(f"{table} is not UTF-8 ({error}); save it as CSV UTF-8") from error
    except OSError as error:
        raise DataMissing(f"{table} cannot be read: {error.strerror}") from error
    # Spreadsheets write semicolons where the comma is a decimal sign.
    heading = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text), delimiter=";" if ";" in heading and "," not in heading else ",", strict=True)
    try:
        columns = [name.strip().lower() for name in next(reader, [])]
        if not {"file", "label"} <= set(columns):
            raise DataMissing(f"{table}: the first line must name the columns file and label, not {heading.strip()!r}")
        file, label = columns.index("file"), columns.index("label")
        for row in reader:
            if any(map(str.strip, row)):
                padded: Sequence[str] = row + [""] * len(columns)
                yield reader.line_num, readable(padded[file].strip()), readable(padded[label].strip())
    except csv.Error as error:
        raise DataMissing(f"{table}: line {reader.line_num} is not CSV: {error}") from error


def _why(path: Path) -> str:
    return "not in labels.csv" if is_picture(path) else "no picture by its name"


def _others(folder: Path) -> Iterator[str]:
    for path in folder.iterdir():
        if path.name not in ("images", "labels.csv") and not is_left_behind(path.name):
            yield f"{path.name}/" if path.is_dir() else path.name
