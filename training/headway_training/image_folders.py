"""A folder of pictures -> its classes and parts, every file decoded once by the contract's function before training.

Two layouts are read, a class being named as its folder::

    DIR/<class>/**                          one pool, split by seed
    DIR/train/<class>/**                    with DIR/test/<class>/** and DIR/validation/<class>/** (or val) if there are

What a file is, is decided by its content; the suffix only tells pictures from notes and listings that lie beside them.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from pydantic import BaseModel, ValidationError

from headway_contract.durable_files import write_atomically
from headway_contract.errors import ContractError, ImageTooLarge, InvalidImage
from headway_contract.preprocessing import SPEC_REVISION, DecodeLimits, decode_image
from headway_training.data_check import BadPicture
from headway_training.errors import DataMissing
from headway_training.pictures import PictureFile, content_digest, in_threads

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many are done, and of how many."""

_READ = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".avif"}
# Pictures in formats that are not accepted: better named as unreadable than missed without a word.
_REFUSED = {".heic", ".heif", ".jxl", ".jp2", ".ico", ".psd", ".svg", ".tga", ".pgm", ".ppm", ".cr2", ".dng"}

PICTURE_SUFFIXES = frozenset(_READ | _REFUSED)
"""Suffixes, in lower case, of the files that are taken for pictures."""

_PARTS = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}
_CACHE_REVISION = 1


@dataclass(frozen=True)
class FolderPart:
    """The pictures of one part, class by class and by path within a class, and the class of each."""

    files: tuple[PictureFile, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class _Candidate:
    part: str
    label: str
    name: str
    path: Path


def folder_classes(folder: Path) -> tuple[str, ...]:
    """The names of the class folders of all parts, sorted. Raises :class:`DataMissing` for another layout."""
    parts = _part_folders(folder).values()
    classes = {_readable(path.name) for part in parts for path in _folders(part)}
    if {name.lower() for name in classes} <= {name for names in _PARTS.values() for name in names}:
        raise DataMissing(
            f"folder {folder} has no class folders; lay the pictures out as DIR/<class>/*, or as DIR/train/<class>/* "
            "with DIR/test/<class>/*"
        )
    return tuple(sorted(classes))


def load_folder(
    folder: Path, classes: Sequence[str], cache: Path | None = None, progress: Progress | None = None
) -> tuple[dict[str, FolderPart], tuple[BadPicture, ...]]:
    """Find the pictures of ``classes`` and decode each once, holding few at a time.

    Returns the parts that the folder has, of ``train``, ``validation`` and ``test``, and the files that cannot be
    read. Hidden files, other suffixes than :data:`PICTURE_SUFFIXES` and other classes are left alone; folders inside a
    class are walked. ``cache`` is a folder that remembers, by content, what was decoded before: any of it may be
    deleted at any time.
    """
    candidates = list(_candidates(folder, set(classes)))
    memory = _Memory(cache, folder)
    files: dict[str, list[PictureFile]] = {part: [] for part in _part_folders(folder)}
    labels: dict[str, list[str]] = {part: [] for part in files}
    unreadable = []
    checked = zip(candidates, in_threads(memory.checked, candidates), strict=True)
    for done, (candidate, found) in enumerate(checked, start=1):
        if isinstance(found, BadPicture):
            unreadable.append(found)
        else:
            files[candidate.part].append(found)
            labels[candidate.part].append(candidate.label)
        if progress:
            progress("checking pictures", done, len(candidates))
    memory.keep()
    parts = {part: FolderPart(tuple(files[part]), tuple(labels[part])) for part in files}
    return parts, tuple(unreadable)


def _part_folders(folder: Path) -> dict[str, Path]:
    """Where the class folders of each part are; the whole folder is the train part of one that is not split yet."""
    if not any(_folders(folder / "train")):
        return {"train": folder}
    found = {part: [folder / name for name in names if (folder / name).is_dir()] for part, names in _PARTS.items()}
    for part, paths in found.items():
        if len(paths) > 1:
            raise DataMissing(f"folder {folder} has two {part} parts, {paths[0].name} and {paths[1].name}; keep one")
    return {part: paths[0] for part, paths in found.items() if paths}


def _folders(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _candidates(folder: Path, classes: set[str]) -> Iterator[_Candidate]:
    for part, where in _part_folders(folder).items():
        for class_folder in sorted(_folders(where)):
            label = _readable(class_folder.name)
            if label in classes:
                for path in sorted(_picture_paths(class_folder)):
                    yield _Candidate(part, label, _readable(path.relative_to(folder).as_posix()), path)


def _picture_paths(folder: Path) -> Iterator[Path]:
    """Files with a picture's suffix below ``folder``; links are followed, each folder is walked once."""
    walked: set[str] = set()
    for directory, below, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(directory)
        # In order, so that a folder with two links to it is always found by the same one.
        below[:] = [] if real in walked else sorted(name for name in below if not name.startswith("."))
        if real not in walked:
            walked.add(real)
            for name in names:
                if not name.startswith(".") and Path(name).suffix.lower() in PICTURE_SUFFIXES:
                    yield Path(directory, name)


def _readable(name: str) -> str:
    """A file name that can be printed and stored, whatever bytes it is made of."""
    return os.fsencode(name).decode("utf-8", "replace")


class _Scan(BaseModel):
    """A cache file. ``contents``: the digest of the decoded pixels by the SHA-256 of the file they were in."""

    decoder: str
    contents: dict[str, str]


class _Memory:
    """What each file's content was decoded to before, so that a second run reads and hashes, but decodes nothing.

    One file per folder of pictures, rewritten with what the last check saw. Keyed by content, so never stale; another
    decoder begins anew.
    """

    def __init__(self, cache: Path | None, folder: Path) -> None:
        key = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()
        self._path = cache / "scans" / f"{key}.json" if cache else None
        self._decoder = f"cache {_CACHE_REVISION}, rules {SPEC_REVISION}, pillow {version('pillow')}"
        self._known = _read_known(self._path, self._decoder) if self._path else {}
        self._seen: dict[str, str] = {}

    def checked(self, candidate: _Candidate) -> PictureFile | BadPicture:
        """Read a file, and decode it if its content was not decoded before."""
        try:
            data = _content(candidate.path)
            identity = hashlib.sha256(data).hexdigest()
            content = self._known.get(identity) or content_digest(decode_image(data))
        except (OSError, ContractError) as error:
            return BadPicture(candidate.name, getattr(error, "strerror", None) or str(error))
        self._seen[identity] = content
        return PictureFile(candidate.path, candidate.name, identity, content)

    def keep(self) -> None:
        """Write what was seen, if anything of it is new. A place that cannot be written to costs only time."""
        if self._path and self._seen != self._known:
            scan = _Scan(decoder=self._decoder, contents=self._seen)
            with contextlib.suppress(OSError):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(self._path, scan.model_dump_json().encode())


def _content(path: Path) -> bytes:
    """The bytes of a picture's file. Raises OSError or a ContractError that says why it is not read."""
    limit = DecodeLimits().max_bytes
    size = path.stat().st_size
    if not path.is_file():
        raise InvalidImage("not a regular file")  # reading a pipe would wait for ever
    if size > limit:
        raise ImageTooLarge(f"the file has {size:,} bytes; at most {limit:,} are read")
    return path.read_bytes()


def _read_known(path: Path, decoder: str) -> dict[str, str]:
    """What a cache file holds; nothing of one that is absent, damaged or of another decoder."""
    try:
        scan = _Scan.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return {}
    return scan.contents if scan.decoder == decoder else {}
