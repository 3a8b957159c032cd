"""Test pictures with their true labels, stored beside a version: ``assets.extra/test_pictures.zip``.

A plain zip that people can open: the pictures as they would be posted, named by their place, and ``labels.json``, the
true label of each in the same order. Nothing is compressed (pictures are already), so no entry can be larger than it
looks, and equal pictures give an equal file. What a later version is asked, to be compared with this one, is in it.
"""

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headway_contract.errors import InvalidTestPictures
from headway_contract.regular_files import open_regular_file

TEST_PICTURES_FILE = Path("assets.extra/test_pictures.zip")

MOST_PICTURES = 500
MOST_BYTES = 8 * 1024 * 1024
"""Of all encoded pictures together."""

_LABELS = "labels.json"
_MOST_LABEL_BYTES = 1024 * 1024


@dataclass(frozen=True)
class LabelledPicture:
    """An encoded picture as it would be posted, and its true label."""

    image: bytes
    label: str


def labelled_pictures_file(pictures: Sequence[LabelledPicture]) -> bytes:
    """The content of the file. Raises :class:`InvalidTestPictures` for more than is read again."""
    size = sum(len(each.image) for each in pictures)
    if len(pictures) > MOST_PICTURES or size > MOST_BYTES:
        raise InvalidTestPictures(
            f"{len(pictures)} pictures of {size} bytes: at most {MOST_PICTURES} and {MOST_BYTES} bytes are stored"
        )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        # A ZipInfo made by name has the date 1980, so that the same pictures give the same bytes.
        labels = json.dumps([each.label for each in pictures], ensure_ascii=False)
        archive.writestr(zipfile.ZipInfo(_LABELS), labels.encode())
        for place, each in enumerate(pictures):
            archive.writestr(zipfile.ZipInfo(_name(place)), each.image)
    return buffer.getvalue()


def read_labelled_pictures(path: Path) -> tuple[LabelledPicture, ...]:
    """Read what :func:`labelled_pictures_file` made; nothing is unpacked and no more read than is allowed.

    Raises :class:`InvalidTestPictures` with what is wrong, and FileNotFoundError.
    """
    try:
        with open_regular_file(path) as stream, zipfile.ZipFile(stream) as archive:
            return _read(archive)
    except FileNotFoundError:
        raise
    # What zipfile and json raise for archives that are damaged, encrypted, or compressed in a way that is not read.
    except (OSError, ValueError, KeyError, RecursionError, NotImplementedError, RuntimeError, zipfile.BadZipFile,
            EOFError) as error:  # fmt: skip
        raise InvalidTestPictures(f"{path} holds no test pictures that can be read: {error}") from error


def _read(archive: zipfile.ZipFile) -> tuple[LabelledPicture, ...]:
    entries = {entry.filename: entry for entry in archive.infolist()}
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
        raise ValueError("an entry is compressed")
    if entries[_LABELS].file_size > _MOST_LABEL_BYTES:
        raise ValueError(f"{_LABELS} is larger than {_MOST_LABEL_BYTES} bytes")
    labels = json.loads(archive.read(_LABELS))
    if not (isinstance(labels, list) and all(isinstance(label, str) and label for label in labels)):
        raise ValueError(f"{_LABELS} is no list of labels")
    if not (len(labels) == len(entries) - 1 <= MOST_PICTURES):
        raise ValueError(f"{len(labels)} labels for {len(entries) - 1} pictures; at most {MOST_PICTURES} are read")
    found = [entries[_name(place)] for place in range(len(labels))]
    if sum(entry.file_size for entry in found) > MOST_BYTES:
        raise ValueError(f"the pictures have more than {MOST_BYTES} bytes")
    return tuple(LabelledPicture(archive.read(entry), label) for entry, label in zip(found, labels, strict=True))


def _name(place: int) -> str:
    return f"{place:03d}"
