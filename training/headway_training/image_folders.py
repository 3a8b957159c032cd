"""A folder of pictures -> its classes and parts, every file decoded once by the contract's function before training.

What a file is, is decided by its content; the suffix only tells pictures from notes and listings that lie beside them.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from pydantic import BaseModel, ValidationError

from headway_contract.durable_files import write_atomically
from headway_contract.errors import ContractError, ImageTooLarge, InvalidImage
from headway_contract.preprocessing import SPEC_REVISION, DecodeLimits, decode_image
from headway_contract.regular_files import read_regular_file
from headway_training.data_check import BadPicture
from headway_training.folder_layout import FoundPicture, Layout, class_folders
from headway_training.labelled_files import has_labels, labelled_files
from headway_training.pictures import PictureFile, content_digest, in_threads

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many are done, and of how many."""

_CACHE_REVISION = 1


@dataclass(frozen=True)
class FolderPart:
    """The pictures of one part, class by class and by path within a class, and the class of each."""

    files: tuple[PictureFile, ...]
    labels: tuple[str, ...]


def folder_layout(folder: Path) -> Layout:
    """What lies in a folder of pictures, by names alone. Raises :class:`DataMissing` for another layout."""
    return labelled_files(folder) if has_labels(folder) else class_folders(folder)


def load_folder(
    layout: Layout, folder: Path, classes: Sequence[str], cache: Path | None = None, progress: Progress | None = None
) -> tuple[dict[str, FolderPart], tuple[BadPicture, ...]]:
    """Find the pictures of ``classes`` and decode each once, holding few at a time.

    Returns the parts that the folder has, of ``train``, ``validation`` and ``test``, and the files that cannot be
    read. ``cache`` is a folder that remembers, by content, what was decoded before: any of it may be
    deleted at any time.
    """
    wanted = set(classes)
    candidates = [picture for picture in layout.pictures if picture.label in wanted]
    memory = _Memory(cache, folder)
    files: dict[str, list[PictureFile]] = {part: [] for part in layout.parts}
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

    def checked(self, candidate: FoundPicture) -> PictureFile | BadPicture:
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
    return read_regular_file(path)


def _read_known(path: Path, decoder: str) -> dict[str, str]:
    """What a cache file holds; nothing of one that is absent, damaged or of another decoder."""
    try:
        scan = _Scan.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return {}
    return scan.contents if scan.decoder == decoder else {}
