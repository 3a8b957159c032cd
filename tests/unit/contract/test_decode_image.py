"""What ``decode_image`` refuses, and how it says so. What it makes of odd pictures: ``tests/golden``."""

import struct
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from headway_contract.errors import ImageTooLarge, InvalidImage, UnsupportedImage
from headway_contract.preprocessing import (
    ACCEPTED_FORMATS,
    DecodeLimits,
    ImageSpec,
    decode_image,
    encode_png,
    to_model_input,
)
from tests.support.contract_examples import encoded, png_chunk, png_header
from tests.unit.contract.hostile_pictures import gray_tiff, tag, tiff

WRITTEN = [kind for kind in ACCEPTED_FORMATS if kind != "HEIC"]
"""Those that Pillow writes too."""


def noise(height: int, width: int, channels: int = 3) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(pixels.squeeze())


def test_no_bytes_are_refused() -> None:
    with pytest.raises(InvalidImage, match="empty"):
        decode_image(b"")


@pytest.mark.parametrize(
    "data",
    [b"seven", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7\n", b"\0" * 64, encoded(noise(8, 8), "ICO")],
    ids=["text", "svg", "pdf", "zeros", "ico"],
)
def test_what_is_no_accepted_picture_is_refused_and_the_accepted_formats_are_named(data: bytes) -> None:
    with pytest.raises(UnsupportedImage, match="JPEG, PNG, WEBP, GIF, BMP, TIFF"):
        decode_image(data)


@pytest.mark.parametrize("kind", WRITTEN)
def test_every_accepted_format_is_read_whatever_it_is_called(kind: str) -> None:
    image = decode_image(encoded(noise(20, 30), kind))
    assert (image.mode, image.size) == ("RGB", (30, 20))


@pytest.mark.parametrize("kind", [kind for kind in WRITTEN if kind != "GIF"])
def test_a_truncated_picture_is_refused(kind: str) -> None:
    data = encoded(noise(64, 64), kind)
    for share in (0.3, 0.6, 0.95):
        with pytest.raises(InvalidImage):
            decode_image(data[: int(len(data) * share)])


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_truncated_picture_is_said_to_be_incomplete(kind: str) -> None:
    data = encoded(noise(64, 64), kind)
    with pytest.raises(InvalidImage, match=f"the {kind} picture is damaged or incomplete"):
        decode_image(data[: len(data) // 2])


def test_a_picture_of_too_many_bytes_is_refused_with_both_figures() -> None:
    data = encoded(noise(40, 40), "PNG")
    assert decode_image(data, DecodeLimits(max_bytes=len(data))).size == (40, 40)
    with pytest.raises(ImageTooLarge, match=f"{len(data):,} bytes; at most {len(data) - 1:,}"):
        decode_image(data, DecodeLimits(max_bytes=len(data) - 1))


def test_a_picture_of_too_many_pixels_is_refused_with_both_figures() -> None:
    data = encoded(noise(40, 50), "PNG")
    assert decode_image(data, DecodeLimits(max_pixels=2000)).size == (50, 40)
    with pytest.raises(ImageTooLarge, match=r"50 x 40 = 2,000 pixels; at most 1,999"):
        decode_image(data, DecodeLimits(max_pixels=1999))


@pytest.mark.parametrize(("width", "height"), [(30_000, 30_000), (10_000, 9_500), (50_000_001, 1)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_header_that_claims_too_many_pixels_is_refused_without_decoding(width: int, height: int) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ImageTooLarge):
            decode_image(png_header(width, height))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_a_small_header_with_missing_pixels_is_incomplete() -> None:
    with pytest.raises(InvalidImage, match="incomplete"):
        decode_image(png_header(100, 100))


def test_32_bit_samples_are_refused_with_the_way_out() -> None:
    floats = Image.fromarray(np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4))
    with pytest.raises(UnsupportedImage, match="save it with 8 or 16 bits"):
        decode_image(encoded(floats, "TIFF"))


@pytest.mark.parametrize(
    ("size", "spec", "decoded"),
    [
        ((3000, 2000), ImageSpec(28, 28, 1), (375, 250)),
        ((640, 427), ImageSpec(224, 224, 3), (640, 427)),
        ((1000, 900), ImageSpec(224, 224, 3), (500, 450)),
        ((896, 448), ImageSpec(224, 224, 3), (896, 448)),
        # Cropped, the shorter side fills the frame; padded, the longer one.
        ((628, 2000), ImageSpec(224, 224, 3, fit="crop"), (314, 1000)),
        ((627, 2000), ImageSpec(224, 224, 3, fit="crop"), (627, 2000)),
        ((640, 427), ImageSpec(224, 224, 3, fit="pad"), (320, 214)),
        ((427, 626), ImageSpec(224, 224, 3, fit="pad"), (427, 626)),
        # Revision 2 keeps twice the frame.
        ((896, 2000), ImageSpec(224, 224, 3, fit="crop", revision=2), (448, 1000)),
        ((895, 2000), ImageSpec(224, 224, 3, fit="crop", revision=2), (895, 2000)),
        ((300, 1792), ImageSpec(224, 224, 3, fit="pad", revision=2), (75, 448)),
        ((300, 1791), ImageSpec(224, 224, 3, fit="pad", revision=2), (150, 896)),
        # Where strokes are looked for, six times the frame stay.
        ((3000, 2000), ImageSpec(28, 28, 1, polarity="auto", centre="mass"), (375, 250)),
        ((600, 400), ImageSpec(28, 28, 1, polarity="auto", centre="mass"), (300, 200)),
        ((300, 200), ImageSpec(28, 28, 1, polarity="auto", centre="mass"), (300, 200)),
        ((3000, 2000), ImageSpec(28, 28, 1, resample="nearest"), (3000, 2000)),
        ((3000, 2000), ImageSpec(28, 28, 1, revision=1), (3000, 2000)),
        ((3000, 2000), None, (3000, 2000)),
    ],
)
def test_a_jpeg_is_decoded_as_small_as_leaves_it_clearly_larger(
    size: tuple[int, int], spec: ImageSpec | None, decoded: tuple[int, int]
) -> None:
    image = Image.linear_gradient("L").resize(size).convert("RGB")
    assert decode_image(encoded(image, "JPEG"), None, spec).size == decoded
    turned = Image.Exif()
    turned[0x0112] = 8
    sideways = encoded(image.transpose(Image.Transpose.ROTATE_270), "JPEG", exif=turned)
    assert decode_image(sideways, None, spec).size == decoded


def test_one_channel_is_the_luma_of_the_jpeg_itself() -> None:
    data = encoded(noise(64, 48), "JPEG", quality=95, subsampling=0)
    luma = decode_image(data, None, ImageSpec(64, 48, 1))
    assert luma.mode == "L"
    converted = decode_image(data).convert("L")
    # Colours out of range are cut off on the way through RGB.
    assert np.abs(np.asarray(luma).astype(int) - np.asarray(converted)).mean() < 1
    assert decode_image(data, None, ImageSpec(64, 48, 3)).mode == "RGB"
    assert decode_image(data, None, ImageSpec(64, 48, 1, revision=1)).mode == "RGB"


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_the_transparent_level_of_a_gray_png_is_found_at_every_depth(depth: int) -> None:
    levels = np.arange(2**depth).repeat(8 // depth)[: 8 * 2**depth // depth]
    bits = (levels[:, np.newaxis] >> np.arange(depth)[::-1]) & 1
    row = b"\0" + np.packbits(bits.astype(np.uint8)).tobytes()
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", len(levels), 1, depth, 0, 0, 0, 0)),
        (b"tRNS", struct.pack(">H", 1)),
        (b"IDAT", zlib.compress(row)),
        (b"IEND", b""),
    ]
    found = np.asarray(decode_image(b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)))
    np.testing.assert_array_equal(found[0], np.where(levels == 1, 255, levels * (255 // (2**depth - 1))))


def test_gray_with_opacity_at_16_bits_keeps_both() -> None:
    samples = np.array([[0x12FF, 0xFFFF], [0x12FF, 0x0000]], dtype=">u2")
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 4, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0" + samples.tobytes())),
        (b"IEND", b""),
    ]
    found = np.asarray(decode_image(b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)))
    np.testing.assert_array_equal(found[0, :, 0], [0x12, 255])


def test_a_picture_of_unknown_samples_is_unsupported() -> None:
    tags = gray_tiff(4, 4, tag(273, 8), tag(278, 4), tag(279, 64))
    tags = [
        (258, 3, 1, struct.pack("<I", 7)) if number == 258 else (number, kind, count, value)
        for number, kind, count, value in tags
    ]
    with pytest.raises(UnsupportedImage, match="save it as PNG"):
        decode_image(tiff(tags, bytes(64)))


@pytest.mark.parametrize("compression", [6, 34925, 50001])
def test_a_rare_compression_of_tiff_is_unsupported(compression: int) -> None:
    with pytest.raises(UnsupportedImage, match=f"compression {compression}; save it with"):
        decode_image(tiff(gray_tiff(4, 4, tag(273, 8), tag(279, 64), compression=compression), bytes(64)))


@settings(deadline=None)
@given(
    position=st.integers(0, 10_000),
    value=st.integers(0, 255),
    kind=st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "WEBP"]),
)
def test_a_damaged_picture_gives_a_picture_or_invalid_image_and_nothing_else(
    position: int, value: int, kind: str
) -> None:
    data = bytearray(encoded(noise(12, 12), kind))
    data[position % len(data)] = value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = decode_image(bytes(data))
        except InvalidImage:
            return
    assert image.mode in ("L", "RGB")


@settings(deadline=None)
@given(
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    frame=st.tuples(st.integers(1, 64), st.integers(1, 64)),
    channels=st.sampled_from([1, 3]),
    fit=st.sampled_from(["stretch", "crop", "pad"]),
    resample=st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"]),
    polarity=st.sampled_from(["keep", "light_on_dark"]),
)
def test_any_picture_fits_any_geometry(
    size: tuple[int, int], frame: tuple[int, int], channels: int, fit: str, resample: str, polarity: str
) -> None:
    spec = ImageSpec(*frame, channels, fit=fit, resample=resample, polarity=polarity)
    image = Image.new("RGB", size, (10, 200, 30))
    first, second = to_model_input(image, spec), to_model_input(image, spec)
    assert first.shape == spec.shape
    assert first.dtype == np.uint8
    assert first.flags.c_contiguous
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("channels", [1, 3])
def test_png_round_trip_is_without_loss(channels: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (9, 7, channels), dtype=np.uint8)
    image = decode_image(encode_png(pixels))
    np.testing.assert_array_equal(to_model_input(image, ImageSpec(9, 7, channels)), pixels)


def bmp(header: int, opacity: int) -> bytes:
    """Two pixels in blue, green, red and opacity, with the masks that say so."""
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    head = (struct.pack("<IiiHHIIiiII", header, 2, 1, 1, 32, 3, 8, 0, 0, 0, 0) + masks).ljust(header, b"\0")
    return b"BM" + struct.pack("<IHHI", 22 + header, 0, 0, 14 + header) + head + bytes([10, 20, 200, opacity]) * 2


@pytest.mark.parametrize("header", [56, 108, 124], ids=["V3", "V4", "V5"])
def test_a_bmp_whose_opacity_is_0_everywhere_has_none(header: int) -> None:
    assert np.asarray(decode_image(bmp(header, 0))).tolist() == [[[200, 20, 10]] * 2]
    assert np.asarray(decode_image(bmp(header, 128))).tolist() == [[[227, 137, 132]] * 2]


def test_an_unknown_layout_of_a_bmp_is_unsupported() -> None:
    with pytest.raises(UnsupportedImage, match="save it as PNG"):
        decode_image(bmp(108, 0).replace(struct.pack("<I", 0xFF0000), struct.pack("<I", 0x3FF00000)))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG"])
def test_exif_whose_prefix_comes_twice_keeps_its_orientation(kind: str) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    stated = turned.tobytes().removeprefix(b"Exif\0\0")
    for prefix in (b"Exif\0\0", b"Exif\0\0" * 2):
        data = encoded(noise(2, 4), kind, exif=prefix + stated)
        assert decode_image(data).size == (2, 4)
