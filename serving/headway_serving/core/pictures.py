"""Encoded pictures -> the pixels of one geometry; a picture that cannot be read does not spoil the others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from headway_contract.errors import ImageTooLarge, InvalidImage
from headway_contract.preprocessing import (
    DecodeLimits,
    ImageSpec,
    decode_cost,
    decode_image,
    is_small,
    to_model_input,
)
from headway_serving.core.decode_budget import DecodeBudget
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
    time_left: Callable[[], float],
    budget: DecodeBudget,
    leave_queue: Callable[[], None],
    run_long_work: RunLongWork = in_place,
) -> PreparedPictures:
    """Decode N pictures into the geometry of ``spec``, one after the other, so that only one is ever held decoded.

    ``timed`` measures a stage by name; ``time_left``: the request's seconds, raises when there are none. A single small
    picture is decoded at once, all else by ``run_long_work``, within ``budget``. Large ones wait in the budget's own
    line, so that the request gives up its turn in its model's (``leave_queue``). Raises ``Overloaded`` where there is
    no room in time; of the pictures, none raises.
    """
    work = _Work(images, spec, limits, timed, time_left)
    if len(images) == 1 and is_small(images[0]):
        work.decode([0])
        return work.result()
    costs = work.costs()
    small = [index for index, cost in costs.items() if not budget.is_large(cost)]
    if small:
        with budget.reserved(max(costs[index] for index in small), time_left):
            run_long_work(partial(work.decode, small))
    for index, cost in costs.items():
        if budget.is_large(cost):
            leave_queue()
            try:
                with budget.reserved(cost, time_left):
                    run_long_work(partial(work.decode, [index]))
            except ImageTooLarge as error:
                work.problems[index] = without_frames(error)
    return work.result()


class _Work:
    """The pictures of one request: what became of each so far."""

    def __init__(
        self,
        images: Sequence[bytes],
        spec: ImageSpec,
        limits: DecodeLimits,
        timed: Callable[[str], Any],
        time_left: Callable[[], float],
    ) -> None:
        self._images, self._spec, self._limits = images, spec, limits
        self._timed, self._time_left = timed, time_left
        self._rows: dict[int, NDArray[np.uint8]] = {}
        self.problems: dict[int, InvalidImage] = {}

    def costs(self) -> dict[int, int]:
        """What each picture takes to decode, bytes; those that are no pictures are left out, as problems."""
        costs = {}
        for index, data in enumerate(self._images):
            try:
                costs[index] = decode_cost(data, self._limits, self._spec)
            except InvalidImage as error:
                self.problems[index] = without_frames(error)
        return costs

    def decode(self, indexes: Sequence[int]) -> None:
        """Decode those; the request's time may end between two of them."""
        for index in indexes:
            self._time_left()
            try:
                with self._timed("decode"):
                    picture = decode_image(self._images[index], self._limits, self._spec)
                with self._timed("preprocess"):
                    self._rows[index] = to_model_input(picture, self._spec)
            except InvalidImage as error:
                # Its frames lead back here, and so to the error: a cycle with the pictures in it.
                self.problems[index] = without_frames(error)

    def result(self) -> PreparedPictures:
        """All of them, in their order."""
        indexes = sorted(self._rows)
        return PreparedPictures(_together([self._rows[index] for index in indexes], self._spec), indexes, self.problems)


def _together(rows: Sequence[NDArray[np.uint8]], spec: ImageSpec) -> NDArray[np.uint8]:
    if len(rows) == 1:
        return rows[0][np.newaxis]
    return np.stack(rows) if rows else np.empty((0, *spec.shape), np.uint8)


def of_pixels(pixels: NDArray[np.uint8]) -> PreparedPictures:
    """Pixels that were sent as they are."""
    return PreparedPictures(pixels, range(len(pixels)), {})
