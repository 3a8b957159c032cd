"""Strokes of any picture come where MNIST has them; what is there already is not touched."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from headway_contract.preprocessing import ImageSpec, decode_image, to_model_input
from headway_contract.strokes import is_in_place
from headway_training.named_datasets import load_arrays
from tests.unit.contract.drawn_digits import VARIANTS, photographed_sheet, png
from tests.unit.training.training_data_dir import data_dir, needs_data

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
    assert is_in_place(rows, 28, 28).all()
    for row in rows[::50]:
        np.testing.assert_array_equal(seen(png(row))[..., 0], row)


@needs_data
def test_mnist_stays_what_it_is() -> None:
    with np.load(data_dir() / "mnist.npz") as arrays:
        moved = {part: int((~is_in_place(arrays[part], 28, 28)).sum()) for part in ("x_train", "x_test")}
    # Two of the 60,000 have their centre of mass a fiftieth of a pixel too far out.
    assert moved == {"x_train": 2, "x_test": 0}


@needs_data
def test_clothes_are_not_taken_for_centred_digits() -> None:
    with np.load(data_dir() / "fashion_mnist.npz") as arrays:
        assert is_in_place(arrays["x_test"], 28, 28).mean() < 0.05


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
