"""Every kind of pictures gives what the contract makes of the posted bytes, in the order that was asked for."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headway_contract.preprocessing import ImageSpec, decode_image, to_model_input
from headway_training.errors import BadPictures
from headway_training.image_folders import folder_layout, load_folder
from headway_training.named_datasets import load_arrays
from headway_training.pictures import ArrayPictures, FilePictures, Pictures
from tests.support.picture_folders import write_classes, write_picture
from tests.support.training_data_dir import data_dir, needs_data

SPECS = {
    "same size": ImageSpec(9, 12, 1),
    "same size, strokes light": ImageSpec(9, 12, 1, polarity="light_on_dark"),
    "same size, colour": ImageSpec(9, 12, 3, polarity="light_on_dark"),
    "stretched": ImageSpec(20, 16, 1, resample="lanczos"),
    "cropped, colour": ImageSpec(6, 6, 3, fit="crop"),
    "revision 1": ImageSpec(6, 6, 1, revision=1),
    "padded, strokes light": ImageSpec(16, 16, 1, fit="pad", polarity="light_on_dark", pad_value=7),
}
COUNT = 7


def array_pictures(folder: Path, spec: ImageSpec) -> ArrayPictures:
    rows = np.random.default_rng(5).integers(0, 256, (COUNT, 9, 12), dtype=np.uint8)
    rows[4] = rows[1]
    # Ink on paper, so that there is something to invert.
    rows[2, (0, -1)], rows[2, :, (0, -1)] = 250, 250
    return ArrayPictures(rows, "noise train", spec)


def file_pictures(folder: Path, spec: ImageSpec) -> FilePictures:
    write_classes(folder, {"cat": COUNT - 1})
    write_picture(folder / "cat" / "9.jpg", seed=9)
    (folder / "cat" / "4.png").write_bytes((folder / "cat" / "1.png").read_bytes())
    parts, unreadable = load_folder(folder_layout(folder), folder, ["cat"])
    assert not unreadable
    return FilePictures(parts["train"].files, spec)


@pytest.fixture(params=[array_pictures, file_pictures], ids=["array", "files"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[ImageSpec], Pictures]:
    return lambda spec: request.param(tmp_path, spec)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_pictures_are_read_as_the_posted_bytes_are(make: Callable[[ImageSpec], Pictures], spec: ImageSpec) -> None:
    pictures = make(spec)
    assert len(pictures) == COUNT
    expected = [to_model_input(decode_image(pictures.encoded(index), spec=spec), spec) for index in range(COUNT)]
    assert len({array.tobytes() for array in expected}) >= COUNT - 2
    read = pictures.read(range(COUNT))
    assert read.dtype == np.uint8
    assert read.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(read, np.stack(expected))


def test_pictures_come_in_the_order_asked_for(make: Callable[[ImageSpec], Pictures]) -> None:
    spec = SPECS["stretched"]
    pictures = make(spec)
    everything = pictures.read(range(COUNT))
    for indices in ([6, 0, 3], [2, 2], np.array([5, 1])):
        np.testing.assert_array_equal(pictures.read(indices), everything[np.asarray(indices)])
    assert pictures.read([]).shape == (0, *spec.shape)


def test_reading_leaves_the_pictures_as_they_are(make: Callable[[ImageSpec], Pictures]) -> None:
    pictures = make(SPECS["same size, strokes light"])
    first = pictures.read(range(COUNT))
    first_copy = first.copy()
    first[:] = 0
    np.testing.assert_array_equal(pictures.read(range(COUNT)), first_copy)


def test_identity_is_of_the_content_and_a_name_of_one_picture(make: Callable[[ImageSpec], Pictures]) -> None:
    pictures, other = make(SPECS["same size"]), make(SPECS["cropped, colour"])
    identities = [pictures.identity(index) for index in range(COUNT)]
    assert identities[4] == identities[1]
    assert len(set(identities)) == COUNT - 1
    assert all(len(identity) == 64 for identity in identities)
    # Before geometry: another model's input size is still the same data.
    assert identities == [other.identity(index) for index in range(COUNT)]
    assert len({pictures.name(index) for index in range(COUNT)}) == COUNT


def test_a_part_keeps_each_pictures_name_identity_and_pixels(make: Callable[[ImageSpec], ArrayPictures]) -> None:
    pictures = make(SPECS["same size"])
    part = pictures.take([5, 0, 3]).take([2, 0])
    assert len(part) == 2
    for index, origin in enumerate((3, 5)):
        assert part.name(index) == pictures.name(origin)
        assert part.identity(index) == pictures.identity(origin)
        assert part.content(index) == pictures.content(origin)
        assert part.encoded(index) == pictures.encoded(origin)
    np.testing.assert_array_equal(part.read([0, 1]), pictures.read([3, 5]))


def test_names_lead_back_to_the_data(tmp_path: Path) -> None:
    assert array_pictures(tmp_path, SPECS["same size"]).name(6) == "noise train 6"
    files = file_pictures(tmp_path, SPECS["same size"])
    assert files.name(0) == "cat/0.png"
    assert files.identity(0) == hashlib.sha256((tmp_path / "cat" / "0.png").read_bytes()).hexdigest()


def test_a_file_that_disappears_after_the_check_is_named(tmp_path: Path) -> None:
    pictures = file_pictures(tmp_path, SPECS["same size"])
    (tmp_path / "cat" / "2.png").unlink()
    with pytest.raises(BadPictures, match=r"cat.2\.png could be read when the pictures were checked"):
        pictures.read(range(COUNT))


def test_borders_around_the_threshold_are_judged_as_the_contract_does() -> None:
    """The border's median decides the polarity; with 6 x 5 pixels it is the mean of two values near 127.5."""
    generator = np.random.default_rng(1)
    rows = generator.choice(np.array([0, 126, 127, 128, 129, 255], dtype=np.uint8), (500, 6, 5))
    for channels in (1, 3):
        spec = ImageSpec(6, 5, channels, polarity="light_on_dark")
        pictures = ArrayPictures(rows, "borders", spec)
        expected = np.stack([to_model_input(decode_image(pictures.encoded(i)), spec) for i in range(len(rows))])
        np.testing.assert_array_equal(pictures.read(range(len(rows))), expected)
        inverted = (expected[..., 0] != rows).any(axis=(1, 2)).mean()
        assert 0.2 < inverted < 0.8


@pytest.mark.parametrize("channels", [1, 3])
def test_digits_in_and_out_of_place_are_read_as_the_posted_bytes_are(channels: int) -> None:
    rows = load_arrays("digits", None)["train"][0][::100].copy()
    rows[:10] = np.roll(rows[:10], 3, axis=2)
    rows[10:20] = 255 - rows[10:20]
    rows[20] = 0
    spec = ImageSpec(28, 28, channels, polarity="auto", centre="mass")
    pictures = ArrayPictures(rows, "digits", spec)
    expected = np.stack([to_model_input(decode_image(pictures.encoded(i), spec=spec), spec) for i in range(len(rows))])
    np.testing.assert_array_equal(pictures.read(range(len(rows))), expected)
    changed = (expected[..., 0] != rows).any(axis=(1, 2))
    assert changed[:20].all()
    assert not changed[20:].any()


@needs_data
@pytest.mark.parametrize("file", ["mnist.npz", "fashion_mnist.npz"])
def test_real_rows_read_at_once_equal_the_contracts_one_by_one(file: str) -> None:
    with np.load(data_dir() / file) as arrays:
        rows = arrays["x_test"]
    # As they are, and as ink on paper.
    rows = np.concatenate([rows, 255 - rows[:2000]])
    spec = ImageSpec(28, 28, 1, polarity="light_on_dark")
    pictures = ArrayPictures(rows, "real", spec)
    expected = np.stack([to_model_input(Image.fromarray(row), spec) for row in rows])
    assert 1000 < (expected[..., 0] != rows).any(axis=(1, 2)).sum() < 11_000
    np.testing.assert_array_equal(pictures.read(range(len(rows))), expected)
    placed = ImageSpec(28, 28, 1, polarity="auto", centre="mass")
    some = np.concatenate([rows[:1000], rows[-100:]])
    expected = np.stack([to_model_input(Image.fromarray(row), placed) for row in some])
    np.testing.assert_array_equal(ArrayPictures(some, "real", placed).read(range(len(some))), expected)
