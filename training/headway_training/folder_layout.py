"""Where the pictures of a folder are and which class each shows, found by names alone: nothing is opened or decoded.

Three layouts are read::

    DIR/<class>/**                          one pool, split by seed; a class is named as its folder
    DIR/train/<class>/**                    with DIR/test/<class>/** and DIR/validation/<class>/** if there are
    DIR/images/**  and  DIR/labels.csv      one pool, the class of each file as ``labels.csv`` says: labelled_files.py

The names of parts are read in capitals and small letters, and by their other usual names (:data:`PARTS`). Names that
look the same, but are written in two forms of Unicode, are one name. Hidden files and what archives and desktops leave
behind are skipped; everything else that is not used is reported.
"""

import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headway_training.data_check import Unused
from headway_training.errors import DataMissing

_READ = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".avif",
         ".heic", ".heif"}  # fmt: skip
# Pictures in formats that are not accepted: better named as unreadable than missed without a word.
_REFUSED = {".jxl", ".jp2", ".ico", ".psd", ".svg", ".tga", ".pgm", ".ppm", ".cr2", ".dng"}

PICTURE_SUFFIXES = frozenset(_READ | _REFUSED)
"""Suffixes, in lower case, of the files that are taken for pictures."""

PARTS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing"),
}
"""What the folder of a part may be called, in small letters or capitals."""

_PART_OF = {name: part for part, names in PARTS.items() for name in names}
_LEFT_BEHIND = frozenset({"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin"})
_LAYOUTS = "lay the pictures out as DIR/<class>/*, or as DIR/train/<class>/* with DIR/test/<class>/*"


@dataclass(frozen=True)
class FoundPicture:
    """A file with a picture's suffix. ``name``: its path below the folder, for people; ``part``: of :data:`PARTS`."""

    part: str
    label: str
    name: str
    path: Path


@dataclass(frozen=True)
class Layout:
    """What lies in a folder.

    ``parts``: of :data:`PARTS`, those that the folder has. ``classes``: sorted. ``pictures``: part by part, class by
    class, by path. ``unused``: by name.
    """

    parts: tuple[str, ...]
    classes: tuple[str, ...]
    pictures: tuple[FoundPicture, ...]
    unused: tuple[Unused, ...] = ()


def class_folders(folder: Path) -> Layout:
    """What lies in a folder with a folder for each class. Raises :class:`DataMissing` for what cannot be meant."""
    parts = _part_folders(folder)
    class_of = {
        part: sorted((readable(path.name), path) for path in folders_in(where)) for part, where in parts.items()
    }
    classes = {label for found in class_of.values() for label, _ in found}
    _check_classes(folder, classes, split=folder not in parts.values())
    pictures: list[FoundPicture] = []
    unused = list(_beside(folder, parts))
    for part, found in class_of.items():
        for label, path in found:
            for file in sorted(files_below(path)):
                name = readable(file.relative_to(folder).as_posix())
                if is_picture(file):
                    pictures.append(FoundPicture(part, label, name, file))
                else:
                    unused.append(Unused(name, "no picture by its name"))
    return Layout(tuple(parts), tuple(sorted(classes)), tuple(pictures), tuple(sorted(unused)))


def _part_folders(folder: Path) -> dict[str, Path]:
    """Where the class folders of each part are; the whole folder is the train part of one that is not split yet."""
    found: dict[str, list[Path]] = {part: [] for part in PARTS}
    for path in sorted(folders_in(folder)):
        if path.name.lower() in _PART_OF:
            found[_PART_OF[path.name.lower()]].append(path)
    if not any(any(folders_in(path)) for path in found["train"]):
        return {"train": folder}
    for part, paths in found.items():
        if len(paths) > 1:
            named = " and ".join(path.name for path in sorted(paths, reverse=True))
            raise DataMissing(f"folder {folder} has two {part} parts, {named}; keep one")
    return {part: paths[0] for part, paths in found.items() if paths}


def _check_classes(folder: Path, classes: set[str], *, split: bool) -> None:
    if {name.lower() for name in classes} <= set(_PART_OF):
        raise DataMissing(f"folder {folder} has no class folders; {_LAYOUTS}")
    if split:
        return
    for path in folders_in(folder):
        inside = {readable(each.name) for each in folders_in(path)}
        if len(classes) == 1 and len(inside) > 1:
            raise DataMissing(f"folder {folder} has one class, {path.name}, with folders in it; did you mean {path}?")
        twice = sorted(inside & classes)
        if path.name.lower() in _PART_OF and twice:
            raise DataMissing(
                f"folder {folder} has {twice[0]} and {path.name}/{twice[0]} too, but no part named train; {_LAYOUTS}"
            )


def _beside(folder: Path, parts: dict[str, Path]) -> Iterator[Unused]:
    """What lies beside the folders of the parts and of the classes."""
    used = {*parts.values()}
    if folder not in used:
        for path in folders_in(folder):
            if path not in used:
                number = sum(map(is_picture, files_below(path)))
                yield Unused(f"{readable(path.name)}/", f"neither train, validation nor test; pictures in it: {number}")
    for where in {folder, *used}:
        for path in where.iterdir():
            if not is_left_behind(path.name) and not path.is_dir():
                name = readable(path.relative_to(folder).as_posix())
                yield Unused(name, "in no class folder" if is_picture(path) else "no picture by its name")


def folders_in(folder: Path) -> Iterator[Path]:
    """The folders in a folder, if it is one; none that is hidden or was left behind by an archive or a desktop."""
    if folder.is_dir():
        yield from (path for path in folder.iterdir() if path.is_dir() and not is_left_behind(path.name))


def files_below(folder: Path) -> Iterator[Path]:
    """Files below ``folder`` that are not hidden or left behind; links are followed, each folder is walked once."""
    walked: set[str] = set()
    for directory, below, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(directory)
        # In order, so that a folder with two links to it is always found by the same one.
        below[:] = [] if real in walked else sorted(name for name in below if not is_left_behind(name))
        if real not in walked:
            walked.add(real)
            yield from (Path(directory, name) for name in names if not is_left_behind(name))


def is_picture(path: Path) -> bool:
    """Whether the name is one of a picture."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def is_left_behind(name: str) -> bool:
    """Whether a file or folder is hidden, or was left by an archive or a desktop."""
    return name.startswith(".") or name.lower() in _LEFT_BEHIND


def readable(name: str) -> str:
    """A file name that can be printed, stored and compared, whatever bytes and form of Unicode it is written in."""
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "replace"))
