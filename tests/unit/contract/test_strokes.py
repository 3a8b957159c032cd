"""Strokes of any picture come where MNIST has them; what is there already is not touched."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from headway_contract.preprocessing import ImageSpec, decode_image, to_model_input
from headway_contract.strokes import is_in_place
from headway_training.named_datasets import load_arrays
from tests.support.drawn_digits import VARIANTS, photographed_sheet, png
from tests.support.training_data_dir import data_dir, needs_data

DIGITS = ImageSpec(28, 28, 1, polarity="auto", centre="mass")
AUTO = ImageSpec(28, 28, 1, polarity="auto")


def seen(data: bytes, spec: ImageSpec = DIGITS) -> NDArray[np.uint8]:
    return to_model_input(decode_image(data, None, spec), spec)


def seven(size: tuple[int, int], paper: int, ink: int, width: int) -> Image.Image:
    image = Image.new("L", size, paper)
    ImageDraw.Draw(image).line([(30, 20), (80, 20), (50, 90)], fill=ink, width=width)
    return image


def test_the_bundled_digits_stay_what_they_are() -> None:
    rows, _ = load_arrays("digits", None)["train"]
    assert all(is_in_place(row) for row in rows)
    for row in rows[::50]:
        np.testing.assert_array_equal(seen(png(row))[..., 0], row)


@needs_data
def test_mnist_stays_what_it_is() -> None:
    with np.load(data_dir() / "mnist.npz") as arrays:
        moved = {part: sum(not is_in_place(row) for row in arrays[part]) for part in ("x_train", "x_test")}
    # Two of the 60,000 have their centre of mass a fiftieth of a pixel too far out.
    assert moved == {"x_train": 2, "x_test": 0}


@needs_data
def test_clothes_are_not_taken_for_centred_digits() -> None:
    with np.load(data_dir() / "fashion_mnist.npz") as arrays:
        assert np.mean([is_in_place(row) for row in arrays["x_test"]]) < 0.05


def in_place_by_definition(pixels: NDArray[np.uint8]) -> bool:
    """What :func:`is_in_place` states, in whole numbers and in the order in which it is written."""
    height, width = pixels.shape
    levels = pixels.astype(object)
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    if 2 * np.count_nonzero(pixels) >= pixels.size or pixels.max() < 128:
        return False
    spare = [max(1, round(side * 20 / 28)) - np.ptp(places) - 1 for side, places in ((height, rows), (width, columns))]
    if min(spare) not in (0, 1):
        return False
    moments = (levels.sum(axis=1) @ range(height), height), (levels.sum(axis=0) @ range(width), width)
    return all(abs(2 * moment - side * levels.sum()) <= levels.sum() for moment, side in moments)


@settings(deadline=None, max_examples=500)
@given(
    size=st.tuples(st.integers(1, 32), st.integers(1, 32)),
    offset=st.tuples(st.integers(-2, 2), st.integers(-2, 2)),
    excess=st.tuples(st.integers(-2, 1), st.integers(-2, 1)),
    levels=st.lists(st.sampled_from([0, 0, 1, 126, 127, 128, 129, 255]), min_size=1, max_size=4),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**16),
)
def test_in_place_is_what_its_definition_says(
    size: tuple[int, int],
    offset: tuple[int, int],
    excess: tuple[int, int],
    levels: list[int],
    share: float,
    seed: int,
) -> None:
    """About the edges of all that is asked: strokes that fill a box or nearly, near the middle, and half black."""
    pixels = np.zeros(size, dtype=np.uint8)
    random = np.random.default_rng(seed)
    box = [max(1, round(side * 20 / 28) + more) for side, more in zip(size, excess, strict=True)]
    top, left = (max(0, (side - part + 1) // 2 + by) for side, part, by in zip(size, box, offset, strict=True))
    inside = pixels[top : top + box[0], left : left + box[1]]
    inside[:] = random.choice(np.array(levels, dtype=np.uint8), inside.shape)
    inside[random.random(inside.shape) < share] = 0
    assert is_in_place(pixels) == in_place_by_definition(pixels)


@settings(deadline=None, max_examples=300)
@given(
    number=st.integers(0, 4999),
    shift=st.tuples(st.integers(-1, 1), st.integers(-1, 1)),
    scattered=st.integers(0, 3),
    strength=st.sampled_from([0.49, 0.5, 1.0]),
    turned=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_digits_and_what_is_nearly_one_are_in_place_as_the_definition_says(
    number: int, shift: tuple[int, int], scattered: int, strength: float, turned: bool, seed: int
) -> None:
    row = load_arrays("digits", None)["train"][0][number]
    pixels = (np.roll(row, shift, axis=(0, 1)) * strength).astype(np.uint8)
    random = np.random.default_rng(seed)
    for _ in range(scattered):
        pixels[random.integers(28), random.integers(28)] = random.integers(256)
    pixels = pixels.T if turned else pixels
    assert is_in_place(pixels) == in_place_by_definition(pixels)


def test_an_outline_is_in_place_if_one_side_fills_the_box() -> None:
    for tall, wide in itertools.product(range(17, 23), repeat=2):
        pixels = np.zeros((28, 28), dtype=np.uint8)
        top, left = (28 - tall + 1) // 2, (28 - wide + 1) // 2
        pixels[top : top + tall, left : left + wide] = 128
        pixels[top + 1 : top + tall - 1, left + 1 : left + wide - 1] = 0
        assert is_in_place(pixels) == (19 <= max(tall, wide) <= 20) == in_place_by_definition(pixels)


@pytest.mark.parametrize(("emptied", "expected"), [(6, False), (8, False), (10, True)])
def test_a_picture_is_in_place_only_if_more_than_half_of_it_is_black(emptied: int, expected: bool) -> None:
    pixels = np.zeros((28, 28), dtype=np.uint8)
    pixels[4:24, 4:24] = 255  # 400 of 784; half of them are 392
    # Above and to the left: the centre of mass, half a pixel away on that side, comes nearer to the middle.
    pixels[6:8, 5 : 5 + emptied // 2] = 0
    assert is_in_place(pixels) == expected == in_place_by_definition(pixels)


def test_sums_over_the_largest_frame_are_exact() -> None:
    """One level on one side more than within half a pixel allows, of 4096 x 4096."""
    pixels = np.zeros((4096, 4096), dtype=np.uint8)
    pixels[586:3511, 1000:3000:2] = 255
    assert is_in_place(pixels) == in_place_by_definition(pixels)
    pixels[586, 2999] = 1
    assert is_in_place(pixels) == in_place_by_definition(pixels)


@pytest.mark.parametrize(("paper", "ink"), [(255, 0), (0, 255), (200, 90), (60, 160), (90, 255)])
def test_strokes_fill_the_box_and_their_mass_is_in_the_middle(paper: int, ink: int) -> None:
    pixels = seen(png(np.asarray(seven((300, 200), paper, ink, 9))))[..., 0].astype(int)
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
    assert np.ptp(columns) + 1 == pytest.approx(20 * 60 / 80, abs=2)
    for axis in (0, 1):
        assert np.average(np.arange(28), weights=pixels.sum(axis=1 - axis)) == pytest.approx(14, abs=0.51)
    assert pixels.max() == 255
    assert (pixels == 0).mean() > 0.6


@pytest.mark.parametrize("corner", [(0, 0), (40, 0), (13, 37)])
def test_where_a_digit_was_drawn_makes_no_difference(corner: tuple[int, int]) -> None:
    drawing = seven((120, 120), 255, 0, 9)
    moved = Image.new("L", (160, 160), 255)
    moved.paste(drawing, corner)
    np.testing.assert_array_equal(seen(png(np.asarray(moved))), seen(png(np.asarray(drawing))))


@settings(deadline=None)
@given(number=st.integers(0, 4999), name=st.sampled_from(sorted(VARIANTS)))
def test_what_was_brought_into_place_is_in_place(number: int, name: str) -> None:
    row = load_arrays("digits", None)["train"][0][number]
    placed = seen(VARIANTS[name](row, np.random.default_rng(number)))
    np.testing.assert_array_equal(seen(png(placed[..., 0])), placed)


def test_paper_under_a_lamp_becomes_black_where_nothing_is_written() -> None:
    row = load_arrays("digits", None)["train"][0][0]
    pixels = seen(photographed_sheet(row, np.random.default_rng(4)), ImageSpec(100, 130, 1, polarity="auto"))
    assert (pixels == 0).mean() > 0.85
    assert pixels.max() > 200


@pytest.mark.parametrize("level", [0, 1, 127, 254, 255])
@pytest.mark.parametrize("size", [(1, 1), (28, 28), (1, 300), (300, 1), (2, 2), (500, 400)])
def test_a_flat_picture_has_no_strokes(size: tuple[int, int], level: int) -> None:
    for spec in (DIGITS, AUTO):
        assert not to_model_input(Image.new("L", size, level), spec).any()


@pytest.mark.parametrize(("resample", "level"), [("nearest", 255), ("bilinear", 1)])
def test_strokes_of_which_resizing_leaves_nothing_become_black(resample: str, level: int) -> None:
    pixels = np.zeros((60, 60), dtype=np.uint8)
    pixels[[0, 0, -1, -1], [0, -1, 0, -1]] = level
    spec = ImageSpec(28, 28, 1, centre="mass", resample=resample)
    assert not to_model_input(Image.fromarray(pixels), spec).any()


def test_blank_paper_with_noise_and_a_lamp_has_no_strokes() -> None:
    random = np.random.default_rng(1)
    paper = 180 + np.linspace(-50, 50, 300) + random.normal(0, 4, (200, 300))
    assert not to_model_input(Image.fromarray(paper.clip(0, 255).astype(np.uint8)), DIGITS).any()


@settings(deadline=None, max_examples=200)
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    frame=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    channels=st.sampled_from([1, 3]),
    polarity=st.sampled_from(["auto", "light_on_dark", "keep"]),
    centre=st.sampled_from(["mass", "frame"]),
    seed=st.integers(0, 2**16),
)
def test_any_picture_gives_the_frame(
    size: tuple[int, int], frame: tuple[int, int], channels: int, polarity: str, centre: str, seed: int
) -> None:
    spec = ImageSpec(*frame, channels, polarity=polarity, centre=centre)
    random = np.random.default_rng(seed)
    pixels = random.choice(random.integers(0, 256, 3, dtype=np.uint8), (*size, 3))
    array = to_model_input(Image.fromarray(pixels), spec)
    assert array.shape == spec.shape
    assert array.dtype == np.uint8
    assert array.flags.c_contiguous


def test_three_channels_are_alike() -> None:
    image = seven((120, 120), 255, 0, 9).convert("RGB")
    spec = ImageSpec(28, 28, 3, polarity="auto", centre="mass")
    np.testing.assert_array_equal(to_model_input(image, spec), np.repeat(to_model_input(image, DIGITS), 3, axis=2))


def test_a_frame_of_another_size_has_its_box_in_proportion() -> None:
    spec = ImageSpec(56, 84, 1, polarity="auto", centre="mass")
    pixels = to_model_input(seven((120, 120), 255, 0, 9), spec)[..., 0]
    assert np.ptp(np.flatnonzero(pixels.any(axis=1))) + 1 == 40
