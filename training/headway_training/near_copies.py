"""Pictures of different splits that show the same: saved again, resized, cut or retouched, or taken a moment later.

Exact copies are found by their pixels (``data_check``); these are not equal. They are found by the features that a
pretrained backbone gives, less their mean, so that what all pictures have in common does not count:

* a cosine of :data:`ALIKE` or more is a near copy;
* a cosine of :data:`CANDIDATE` or more is one if both look the same when they are shrunk to 32 x 32 pixels as well.

Measured with ``efficientnet-lite0``: of 2,700 pictures of ``stl10`` three pairs lie across the splits at 0.89 and more,
all of them the same scene; of 1,050 of ``clothing`` none, and the most alike are at 0.84. Saved again as JPEG (quality
60 and more) or at half their size, pictures agree to 0.989 and more at 32 x 32 pixels; different shirts before one
curtain to at most 0.979.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headway_training.data_check import SPLITS, Copy, NearCopy
from headway_training.datasets import Splits, splits_of, without
from headway_training.pictures import Pictures, block_means

ALIKE = 0.88
CANDIDATE = 0.55
SAME_WHEN_SMALL = 0.985

_NEAREST = 3  # candidates of a picture, the most alike first, that are looked at
_SIDE = 32
_ROWS = 512  # pictures that are compared with all others at a time
_BATCH = 64  # pictures that are decoded at a time
_SHOWN = 12

Features = Mapping[str, NDArray[np.float32]]
"""``float32[N, D]`` of the pictures of each split, by its name."""


class _Pair(NamedTuple):
    """A picture of a split, and one of a later split, each by its place; later ones are the ones measured on."""

    split: str
    place: int
    later: str
    later_place: int
    cosine: float


def mark_near_copies(splits: Splits, features: Features, *, drop: bool) -> tuple[Splits, dict[str, NDArray[np.intp]]]:
    """The splits with their near copies named in the check, and the places of the pictures that are kept of each split.

    With ``drop``, pictures of training that have a copy or near copy in validation or test are left out, and pictures
    of validation that have one in the test; the test stays as it is.
    """
    pairs = _pairs(splits, features)
    leaked = {frozenset((one.name, other.name)) for group in splits.check.leaks for one in group for other in group}
    near = [pair for pair in pairs if frozenset(_names(splits, pair)) not in leaked]
    kept = {name: np.arange(len(splits_of(splits, name))) for name in SPLITS}
    copies = tuple(_near_copy(splits, pair) for pair in near)
    shown = tuple((_encoded(splits, pair.split, pair.place), _encoded(splits, pair.later, pair.later_place))
                  for pair in near[:_SHOWN])  # fmt: skip
    gone: dict[str, set[int]] = {name: set() for name in SPLITS}
    if drop:
        for pair in pairs:
            gone[pair.split].add(pair.place)
        kept = {name: np.array([place for place in places if place not in gone[name]], np.intp)
                for name, places in kept.items()}  # fmt: skip
    left = without(splits, gone) if any(gone.values()) else splits
    check = replace(left.check, near_copies=copies, dropped=sum(map(len, gone.values())))
    return replace(left, check=check, near_copies=shown), kept


def _pairs(splits: Splits, features: Features) -> list[_Pair]:
    """Pairs across splits, the most alike first."""
    centre = np.concatenate([features[name] for name in SPLITS]).mean(axis=0)
    directions = {name: _directions(features[name] - centre) for name in SPLITS}
    found = []
    for number, later in enumerate(SPLITS):
        for split in SPLITS[:number]:
            for start in range(0, len(directions[later]), _ROWS):
                cosines = directions[later][start : start + _ROWS] @ directions[split].T
                found += _candidates(split, later, start, cosines)
    looked_at = {name: set[int]() for name in SPLITS}
    for pair in found:
        if pair.cosine < ALIKE:
            looked_at[pair.split].add(pair.place)
            looked_at[pair.later].add(pair.later_place)
    small = {name: _small(splits_of(splits, name).pictures, sorted(places)) for name, places in looked_at.items()}
    near = [
        pair
        for pair in found
        if pair.cosine >= ALIKE
        or float(small[pair.split][pair.place] @ small[pair.later][pair.later_place]) >= SAME_WHEN_SMALL
    ]
    return sorted(near, key=lambda pair: -pair.cosine)


def _candidates(split: str, later: str, start: int, cosines: NDArray[np.float32]) -> list[_Pair]:
    """All that are alike by ``cosines[later, split]``, and of each picture the nearest that may be."""
    nearest = np.argpartition(-cosines, min(_NEAREST, cosines.shape[1]) - 1, axis=1)[:, :_NEAREST]
    chosen = cosines >= ALIKE
    np.put_along_axis(chosen, nearest, np.take_along_axis(cosines, nearest, axis=1) >= CANDIDATE, axis=1)
    rows, places = np.nonzero(chosen)
    return [
        _Pair(split, place, later, start + row, float(cosines[row, place]))
        for row, place in zip(rows.tolist(), places.tolist(), strict=True)
    ]


def _small(pictures: Pictures, places: Sequence[int]) -> dict[int, NDArray[np.float32]]:
    """Pictures by their places, shrunk to 32 x 32 pixels by the means of blocks, as directions ``float32[D]``."""
    small: dict[int, NDArray[np.float32]] = {}
    for start in range(0, len(places), _BATCH):
        chosen = places[start : start + _BATCH]
        batch = pictures.read(chosen)
        height, width = (size // min(_SIDE, size) for size in batch.shape[1:3])
        means = block_means(batch[:, : height * _SIDE, : width * _SIDE], height, width)
        small |= dict(zip(chosen, _directions(means - means.mean(axis=1, keepdims=True)), strict=True))
    return small


def _directions(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1; one of zeros stays what it is, and is like nothing."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    directions: NDArray[np.float32] = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return directions


def _names(splits: Splits, pair: _Pair) -> tuple[str, str]:
    first, second = splits_of(splits, pair.split), splits_of(splits, pair.later)
    return first.pictures.name(pair.place), second.pictures.name(pair.later_place)


def _near_copy(splits: Splits, pair: _Pair) -> NearCopy:
    first, second = _names(splits, pair)
    labels = splits_of(splits, pair.split).labels[pair.place], splits_of(splits, pair.later).labels[pair.later_place]
    return NearCopy(
        Copy(pair.split, splits.classes[labels[0]], first),
        Copy(pair.later, splits.classes[labels[1]], second),
        round(pair.cosine, 4),
    )


def _encoded(splits: Splits, split: str, index: int) -> bytes:
    return splits_of(splits, split).pictures.encoded(index)
