"""Encoded pictures -> the pixels of one geometry; a picture that cannot be read does not spoil the others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from headway_contract.errors import InvalidImage
from headway_contract.preprocessing import DecodeLimits, ImageSpec, decode_image, is_small, to_model_input
from headway_serving.core.errors import without_frames

T = TypeVar("T")


class RunLongWork(Protocol):
    """Runs work that takes long where it delays no request but its own."""

    def __call__(self, work: Callable[[], T]) -> T:
        """Its result. Raises what it raises."""
        ...


def in_place(work: Callable[[], T]) -> T:
    """The :class:`RunLongWork` of a caller that delays no other request anyway."""
    return work()


@dataclass(frozen=True)
class PreparedPictures:
    """``pixels``: ``uint8[M, H, W, C]`` of the pictures that could be read, in their order.

    ``indexes``: the place of each of them in the request, from 0. ``problems``: why the others could not be read.
    """

    pixels: NDArray[np.uint8]
    indexes: Sequence[int]
    problems: Mapping[int, InvalidImage]


def prepare(
    images: Sequence[bytes],
    spec: ImageSpec,
    limits: DecodeLimits,
    timed: Callable[[str], Any],
    check_time: Callable[[], object],
    run_long_work: RunLongWork = in_place,
) -> PreparedPictures:
    """Decode N pictures into the geometry of ``spec``, one after the other, so that only one is ever held decoded.

    ``timed`` measures a stage by name, ``check_time`` raises when the request has no time left. Of the pictures, none
    raises. A single small one is decoded at once, all else by ``run_long_work``.
    """

    def decoded() -> PreparedPictures:
        rows: list[NDArray[np.uint8]] = []
        indexes: list[int] = []
        problems: dict[int, InvalidImage] = {}
        for index, data in enumerate(images):
            check_time()
            try:
                with timed("decode"):
                    picture = decode_image(data, limits, spec)
                with timed("preprocess"):
                    rows.append(to_model_input(picture, spec))
            except InvalidImage as error:
                # Its frames lead back here, and so to the error: a cycle with the pictures in it.
                problems[index] = without_frames(error)
            else:
                indexes.append(index)
        return PreparedPictures(_together(rows, spec), indexes, problems)

    return decoded() if len(images) == 1 and is_small(images[0]) else run_long_work(decoded)


def _together(rows: Sequence[NDArray[np.uint8]], spec: ImageSpec) -> NDArray[np.uint8]:
    if len(rows) == 1:
        return rows[0][np.newaxis]
    return np.stack(rows) if rows else np.empty((0, *spec.shape), np.uint8)


def of_pixels(pixels: NDArray[np.uint8]) -> PreparedPictures:
    """Pixels that were sent as they are."""
    return PreparedPictures(pixels, range(len(pixels)), {})
