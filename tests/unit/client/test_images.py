"""Whatever is passed as an image reaches the gateway with the same pixels."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from headway_client import UnsupportedInput
from headway_client.images import encoded_image

NOISE = np.random.default_rng(7).integers(0, 256, size=(9, 7, 3), dtype=np.uint8)


def decoded(image: Any) -> Image.Image:
    return Image.open(io.BytesIO(encoded_image(image)))


@pytest.mark.parametrize(
    ("array", "mode"),
    [
        (NOISE, "RGB"),
        (NOISE[:, :, 0], "L"),
        (NOISE[:, :, :1], "L"),
        (NOISE[:1, :1], "RGB"),
        (NOISE[:, :3, 0], "L"),
        (NOISE[::-1, ::2], "RGB"),
        (np.asfortranarray(NOISE), "RGB"),
        (NOISE.transpose(1, 0, 2), "RGB"),
        (NOISE[..., ::-1], "RGB"),
    ],
    ids=[
        "rgb",
        "grey",
        "one channel",
        "one pixel",
        "3 wide",
        "flipped",
        "fortran order",
        "transposed",
        "bgr view",
    ],
)
def test_an_array_keeps_every_pixel(array: np.ndarray[Any, Any], mode: str) -> None:
    picture = decoded(array)

    assert picture.format == "PNG"
    assert picture.mode == mode
    np.testing.assert_array_equal(np.asarray(picture), array.reshape(array.shape[:2]) if mode == "L" else array)


def test_a_large_array_keeps_every_pixel() -> None:
    array = np.random.default_rng(1).integers(0, 256, size=(1080, 1920, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(decoded(array)), array)


@pytest.mark.parametrize(
    ("array", "advice"),
    [
        (NOISE.astype(np.float32) / 255, "astype('uint8')"),
        (NOISE.astype(np.int64), "astype('uint8')"),
        (NOISE > 127, "astype('uint8')"),
        (np.zeros((4, 4, 4), np.uint8), "no alpha"),
        (np.zeros((3, 28, 28), np.uint8), "channels last"),
        (np.zeros((2, 28, 28, 3), np.uint8), "classify_many"),
        (np.zeros(784, np.uint8), "[H,W]"),
        (np.zeros((0, 28), np.uint8), "[0, 28]"),
    ],
    ids=["float", "int64", "bool", "alpha", "channels first", "batch", "flat", "empty"],
)
def test_an_array_that_is_not_one_uint8_image_is_refused_with_advice(array: np.ndarray[Any, Any], advice: str) -> None:
    with pytest.raises(UnsupportedInput) as caught:
        encoded_image(array)
    assert advice in str(caught.value)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P", "I;16"])
def test_a_pillow_image_in_a_mode_of_png_keeps_mode_and_pixels(mode: str) -> None:
    image = Image.new(mode, (5, 4)) if mode == "I;16" else Image.fromarray(NOISE).convert(mode)
    if mode == "I;16":
        image.putpixel((2, 1), 40_000)

    picture = decoded(image)

    assert picture.mode == mode
    assert picture.tobytes() == image.tobytes()


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "RGBX"])
def test_a_pillow_image_in_another_mode_becomes_rgb(mode: str) -> None:
    image = Image.fromarray(NOISE).convert(mode)
    picture = decoded(image)
    assert picture.mode == "RGB"
    assert picture.tobytes() == image.convert("RGB").tobytes()


def test_a_32_bit_pillow_image_keeps_its_16_bits_of_grey() -> None:
    image = Image.new("I", (2, 1))
    image.putpixel((1, 0), 40_000)
    picture = decoded(image)
    assert [picture.getpixel((0, 0)), picture.getpixel((1, 0))] == [0, 40_000]


def test_a_float_pillow_image_is_refused_with_advice() -> None:
    with pytest.raises(UnsupportedInput, match=r"scale it to 0\.\.255"):
        encoded_image(Image.new("F", (2, 2)))


def test_the_orientation_of_a_photograph_travels_along(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(NOISE).save(tmp_path / "turned.jpg", exif=exif)

    with Image.open(tmp_path / "turned.jpg") as photograph:
        assert decoded(photograph).getexif()[0x0112] == 6


def test_what_is_encoded_already_is_passed_on_untouched(tmp_path: Path) -> None:
    data = b"\x00 any bytes: judging them is the gateway's part \xff"
    path = tmp_path / "picture"
    path.write_bytes(data)

    with path.open("rb") as file:
        assert encoded_image(file) == data
    for image in (data, bytearray(data), memoryview(data), path, str(path), io.BytesIO(data)):
        assert encoded_image(image) == data


def test_a_missing_file_is_the_usual_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        encoded_image(tmp_path / "nowhere.png")


@pytest.mark.parametrize("nonsense", [None, 7, ["a.png"], {"image": b""}])
def test_anything_else_is_refused_and_the_message_lists_what_is_accepted(nonsense: Any) -> None:
    with pytest.raises(UnsupportedInput, match="a Pillow image or a numpy array"):
        encoded_image(nonsense)


def test_a_file_opened_as_text_is_refused_with_advice() -> None:
    file: Any = io.StringIO("text")
    with pytest.raises(UnsupportedInput, match="binary mode"):
        encoded_image(file)


@pytest.mark.parametrize(("mode", "sent"), [("PA", "RGBA"), ("La", "LA"), ("RGBa", "RGBA")])
def test_a_pillow_image_in_another_mode_with_opacity_keeps_it(mode: str, sent: str) -> None:
    opaque = Image.fromarray(NOISE).convert({"PA": "RGBA", "La": "LA", "RGBa": "RGBA"}[mode])
    opaque.putalpha(Image.fromarray(NOISE[:, :, 0]))
    image = opaque.convert("P").convert("PA") if mode == "PA" else opaque.convert(mode)
    if mode == "PA":
        image.putalpha(Image.fromarray(NOISE[:, :, 0]))
    picture = decoded(image)
    assert picture.mode == sent
    np.testing.assert_array_equal(np.asarray(picture.getchannel("A")), NOISE[:, :, 0])


def test_mode_i_is_sent_with_the_bits_that_its_values_need() -> None:
    levels = NOISE[:, :, 0].astype(np.int32)
    eight, sixteen = decoded(Image.fromarray(levels)), decoded(Image.fromarray(levels * 257))
    assert (eight.mode, sixteen.mode) == ("L", "I;16")
    np.testing.assert_array_equal(np.asarray(eight), NOISE[:, :, 0])
    np.testing.assert_array_equal(np.asarray(sixteen) >> 8, NOISE[:, :, 0])


@pytest.mark.parametrize("value", [-1, 65_536])
def test_mode_i_of_another_range_is_refused(value: int) -> None:
    with pytest.raises(UnsupportedInput, match="no agreed range"):
        encoded_image(Image.new("I", (2, 2), value))
