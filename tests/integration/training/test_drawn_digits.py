"""Digits drawn on a canvas or photographed on paper are told apart as well as MNIST's own.

The nearest neighbours among 4,000 bundled digits decide: they know no drawing, no photo and no augmentation, so that
it is the geometry which is measured.
"""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier

from headway_contract.preprocessing import ImageSpec, decode_image, to_model_input
from headway_training.named_datasets import load_arrays
from tests.support.drawn_digits import VARIANTS, png

DIGITS = ImageSpec(28, 28, 1, polarity="auto", centre="mass")
PLAIN = ImageSpec(28, 28, 1)
COUNT = 500

Right = NDArray[np.bool_]
Ask = Callable[[list[bytes], ImageSpec], Right]


@pytest.fixture(scope="module")
def rows() -> NDArray[np.uint8]:
    return _shuffled()[0][4000 : 4000 + COUNT]


@pytest.fixture(scope="module")
def ask() -> Ask:
    pixels, labels = _shuffled()
    known = KNeighborsClassifier(3).fit(_flat([png(row) for row in pixels[:4000]], DIGITS), labels[:4000])
    return lambda pictures, spec: known.predict(_flat(pictures, spec)) == labels[4000 : 4000 + COUNT]


def test_mnists_own_digits_are_told_apart_as_without_the_geometry(rows: NDArray[np.uint8], ask: Ask) -> None:
    pictures = [png(row) for row in rows]
    right = ask(pictures, DIGITS)
    np.testing.assert_array_equal(right, ask(pictures, PLAIN))
    assert right.mean() > 0.9


@pytest.mark.parametrize("name", VARIANTS)
def test_digits_as_people_send_them_are_told_apart_as_well(name: str, rows: NDArray[np.uint8], ask: Ask) -> None:
    random = np.random.default_rng(7)
    reference = ask([png(row) for row in rows], DIGITS)
    pictures = [VARIANTS[name](row, random) for row in rows]
    drawn = ask(pictures, DIGITS)
    lost, won = np.count_nonzero(reference & ~drawn), np.count_nonzero(~reference & drawn)
    # McNemar: of the pictures whose answer changed, half change for the worse by chance; three standard deviations.
    assert lost - won <= 3 * np.sqrt(lost + won)
    assert drawn.mean() > 0.9
    assert ask(pictures, PLAIN).mean() < drawn.mean() - 0.05, "the geometry makes no difference to these"


def _shuffled() -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    pixels, labels = load_arrays("digits", None)["train"]
    order = np.random.default_rng(0).permutation(len(pixels))
    return pixels[order], labels[order]


def _flat(pictures: list[bytes], spec: ImageSpec) -> NDArray[np.float32]:
    arrays = [to_model_input(decode_image(picture, None, spec), spec) for picture in pictures]
    return np.stack(arrays).reshape(len(arrays), -1).astype(np.float32)
