"""The pictures of a split, brought into a model's geometry when they are asked for and not before.

Both kinds go through the contract's geometry: rows of an array (named datasets) and files (folders of pictures), of
which never more are decoded than one call asks for. ``tests/unit/training/test_datasets_pictures.py`` holds one
conformance test over both.
"""

import copy
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headway_contract.errors import ContractError
from headway_contract.preprocessing import ImageSpec, decode_image, encode_png, to_model_input
from headway_contract.regular_files import read_regular_file
from headway_contract.strokes import is_in_place
from headway_training.errors import BadPictures

Indices = Sequence[int] | NDArray[np.intp]

_WORKERS = min(8, os.cpu_count() or 1)
"""Threads that decode; Pillow releases the interpreter lock while it decodes and resizes."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Pictures(Protocol):
    """The pictures of one split, in the model's geometry, decoded when asked for. Indices run from 0 to len - 1."""

    def __len__(self) -> int: ...

    def read(self, indices: Indices) -> NDArray[np.uint8]:
        """Return the pictures at ``indices``, in that order: C-contiguous ``uint8[n, H, W, C]``."""
        ...

    def identity(self, index: int) -> str:
        """Return the SHA-256 (64 hex digits) of the content before geometry: equal content, equal identity."""
        ...

    def content(self, index: int) -> str:
        """Return what copies of one picture have in common, also copies in other formats."""
        ...

    def name(self, index: int) -> str:
        """Return a name for people: ``train/cat/17.png`` or ``mnist test 4711``."""
        ...

    def encoded(self, index: int) -> bytes:
        """Return the picture as a client would post it: the file's bytes, or a PNG of an array's row."""
        ...

    def take(self, members: Indices) -> Self:
        """Return the pictures at ``members``, in that order, without reading them."""
        ...


def block_means(batch: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float32]:
    """The means of whole blocks of ``height`` x ``width`` pixels: ``uint8[N, H, W, C]`` -> ``float32[N, D]``."""
    count, rows, columns = len(batch), batch.shape[1] // height, batch.shape[2] // width
    whole = batch[:, : rows * height, : columns * width].astype(np.float32)
    blocks = whole.reshape(count, rows, height, columns, width, batch.shape[3])
    means: NDArray[np.float32] = blocks.mean(axis=(2, 4)).reshape(count, -1)
    return means


class ArrayPictures:
    """Grayscale pictures that lie in memory as ``uint8[N, h, w]``; parts of it share the array."""

    def __init__(self, rows: NDArray[np.uint8], title: str, spec: ImageSpec) -> None:
        """``title`` and a row's number make the name: ``mnist test`` gives ``mnist test 0`` and so on."""
        self._rows, self._title, self._spec = rows, title, spec
        self._numbers: NDArray[np.intp] = np.arange(len(rows))
        self._identities = [hashlib.sha256(row.tobytes()).hexdigest() for row in rows]

    def __len__(self) -> int:
        return len(self._numbers)

    def read(self, indices: Indices) -> NDArray[np.uint8]:
        """Return the pictures at ``indices``: ``uint8[n, H, W, C]``."""
        chosen = self._rows[self._numbers[np.asarray(indices, dtype=np.intp)]]
        if chosen.shape[1:] == (self._spec.height, self._spec.width):
            return _without_resizing(chosen, self._spec)
        return _in_parallel(lambda row: _row_to_input(row, self._spec), list(chosen), self._spec)

    def identity(self, index: int) -> str:
        """Return the SHA-256 of the row's pixels."""
        return self._identities[int(self._numbers[index])]

    def content(self, index: int) -> str:
        """Return what copies of one picture have in common; of a row, its identity."""
        return self.identity(index)

    def name(self, index: int) -> str:
        """Return the title and the row's number in the whole array."""
        return f"{self._title} {self._numbers[index]}"

    def encoded(self, index: int) -> bytes:
        """Return the row as a PNG."""
        return encode_png(self._rows[self._numbers[index]][..., np.newaxis])

    def take(self, members: Indices) -> Self:
        """Return the pictures at ``members``, in that order, without copying pixels."""
        part = copy.copy(self)
        part._numbers = self._numbers[np.asarray(members, dtype=np.intp)]
        return part


@dataclass(frozen=True)
class PictureFile:
    """A file that was decoded once without an error.

    ``identity``: SHA-256 of its bytes. ``content``: SHA-256 of its decoded pixels, equal for copies in other formats.
    """

    path: Path
    name: str
    identity: str
    content: str


class FilePictures:
    """Pictures in files, decoded by the contract's function at every read; only one call's pictures are in memory."""

    def __init__(self, files: Sequence[PictureFile], spec: ImageSpec) -> None:
        self._files, self._spec = tuple(files), spec

    def __len__(self) -> int:
        return len(self._files)

    def read(self, indices: Indices) -> NDArray[np.uint8]:
        """Return the pictures at ``indices``: ``uint8[n, H, W, C]``.

        Raises :class:`BadPictures` for a file that was readable when the folder was checked and is no more.
        """
        return _in_parallel(self._decode, [self._files[index] for index in indices], self._spec)

    def identity(self, index: int) -> str:
        """Return the SHA-256 of the file's bytes."""
        return self._files[index].identity

    def content(self, index: int) -> str:
        """Return the SHA-256 of the decoded pixels."""
        return self._files[index].content

    def name(self, index: int) -> str:
        """Return the file's path below the folder of the dataset."""
        return self._files[index].name

    def encoded(self, index: int) -> bytes:
        """Return the file's bytes."""
        return read_regular_file(self._files[index].path)

    def take(self, members: Indices) -> Self:
        """Return the pictures at ``members``, in that order."""
        return type(self)([self._files[member] for member in members], self._spec)

    def _decode(self, file: PictureFile) -> NDArray[np.uint8]:
        try:
            return to_model_input(decode_image(read_regular_file(file.path), spec=self._spec), self._spec)
        except (ContractError, OSError) as error:
            raise BadPictures(
                f"{file.path} could be read when the pictures were checked and cannot be now: {error}; "
                "leave the folder unchanged while it is trained on"
            ) from error


def in_threads(function: Callable[[_Item], _Result], items: Sequence[_Item]) -> Iterator[_Result]:
    """``map`` in a small pool of threads, in order; an error or an interruption drops what has not begun."""
    pool = ThreadPoolExecutor(_WORKERS)
    try:
        yield from pool.map(function, items)
    finally:
        pool.shutdown(cancel_futures=True)


def content_digest(image: Image.Image) -> str:
    """SHA-256 over size and pixels of a decoded picture; a grayscale picture equals its copy in RGB."""
    digest = hashlib.sha256(repr(image.size).encode())
    digest.update(image.convert("RGB").tobytes())
    return digest.hexdigest()


def _in_parallel(
    decode: Callable[[_Item], NDArray[np.uint8]], items: Sequence[_Item], spec: ImageSpec
) -> NDArray[np.uint8]:
    pictures = np.empty((len(items), *spec.shape), dtype=np.uint8)
    for index, picture in enumerate(in_threads(decode, items)):
        pictures[index] = picture
    return pictures


def _row_to_input(row: NDArray[np.uint8], spec: ImageSpec) -> NDArray[np.uint8]:
    return to_model_input(Image.fromarray(row), spec)


def _without_resizing(rows: NDArray[np.uint8], spec: ImageSpec) -> NDArray[np.uint8]:
    """``to_model_input`` of many grayscale rows that have the model's size, in a third of the time or less.

    Proven bit-equal to the contract's function by test.
    """
    pictures = np.repeat(rows[..., np.newaxis], spec.channels, axis=3)
    if spec.centre == "mass" or spec.polarity == "auto":
        for index, row in enumerate(rows):
            if not is_in_place(row):
                pictures[index] = _row_to_input(row, spec)
    elif spec.polarity == "light_on_dark":
        border = np.concatenate([rows[:, 0], rows[:, -1], rows[:, :, 0], rows[:, :, -1]], axis=1)
        light = np.median(border, axis=1) > 127
        pictures[light] = 255 - pictures[light]
    return pictures
