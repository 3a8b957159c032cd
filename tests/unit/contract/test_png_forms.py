"""PNG in every form: the pixels are those of Pillow's own reader, and what is damaged is refused."""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from headway_contract.errors import InvalidImage
from headway_contract.preprocessing import decode_image
from tests.support.contract_examples import png_chunk

FORMS = [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (16, 2), (1, 3), (2, 3), (4, 3), (8, 3)]
FORMS += [(8, 4), (16, 4), (8, 6), (16, 6)]
"""Bit depths and colour types that exist. Source: PNG specification, third edition, table 12."""

SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Of a pixel, by colour type."""

PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
"""Of Adam7: first column and row, and the steps between columns and rows."""

Chunk = tuple[bytes, bytes]


def scanlines(width: int, height: int, bits: int, random: np.random.Generator) -> Iterator[bytes]:
    for _ in range(height if width else 0):
        filtered = bytes([random.integers(5)])
        yield filtered + random.integers(0, 256, (width * bits + 7) // 8, dtype=np.uint8).tobytes()


def chunks(
    depth: int, colour: int, *, interlaced: bool = False, pieces: int = 1, opacities: bytes | None = None
) -> list[Chunk]:
    """A picture of 13 x 11 pixels of noise."""
    random = np.random.default_rng(depth * 10 + colour)
    bits = depth * SAMPLES[colour]
    made = [(b"IHDR", struct.pack(">IIBBBBB", 13, 11, depth, colour, 0, 0, interlaced))]
    if colour == 3:
        made.append((b"PLTE", random.integers(0, 256, 3 * 2**depth, dtype=np.uint8).tobytes()))
    if opacities is not None:
        made.append((b"tRNS", opacities))
    passes = PASSES if interlaced else [(0, 0, 1, 1)]
    lines = [
        line
        for left, top, right, down in passes
        for line in scanlines(-((left - 13) // right), -((top - 11) // down), bits, random)
    ]
    packed = zlib.compress(b"".join(lines))
    size = -(-len(packed) // pieces)
    made += [(b"IDAT", packed[start : start + size]) for start in range(0, len(packed), size)]
    return [*made, (b"IEND", b"")]


def png(parts: list[Chunk]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts)


def as_pillow_reads_it(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    if image.mode == "I;16":
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("LA", "RGBA") or "transparency" in image.info:
        opaque = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


@pytest.mark.parametrize("interlaced", [False, True], ids=["", "interlaced"])
@pytest.mark.parametrize(("depth", "colour"), FORMS)
def test_every_form_has_the_pixels_that_pillows_reader_finds(depth: int, colour: int, interlaced: bool) -> None:
    expected = as_pillow_reads_it(png(chunks(depth, colour, interlaced=interlaced)))
    for pieces in (1, 4):
        image = decode_image(png(chunks(depth, colour, interlaced=interlaced, pieces=pieces)))
        assert image.mode == expected.mode
        np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))


@pytest.mark.parametrize("opacities", [b"\xff\0\xff", b"\xff\xff", b"", bytes(range(0, 250, 20)), b"\0" * 16])
def test_the_opacities_of_a_palette_are_those_that_pillows_reader_finds(opacities: bytes) -> None:
    data = png(chunks(4, 3, opacities=opacities))
    np.testing.assert_array_equal(np.asarray(decode_image(data)), np.asarray(as_pillow_reads_it(data)))


@pytest.mark.parametrize("interlaced", [False, True], ids=["", "interlaced"])
@pytest.mark.parametrize(("depth", "colour"), FORMS)
def test_a_stream_that_ends_at_a_rows_border_is_incomplete(depth: int, colour: int, interlaced: bool) -> None:
    parts = chunks(depth, colour, interlaced=interlaced)
    rows = zlib.decompress(dict(parts)[b"IDAT"])
    line = 1 + ((7 if interlaced else 13) * depth * SAMPLES[colour] + 7) // 8
    for missing in (1, 3, 5):
        short = [(name, zlib.compress(rows[: -missing * line]) if name == b"IDAT" else each) for name, each in parts]
        with pytest.raises(InvalidImage, match="damaged or incomplete"):
            decode_image(png(short))


def test_what_lies_around_the_pixels_makes_no_difference() -> None:
    whole = chunks(8, 2, pieces=5)
    more: list[Chunk] = [(b"tEXt", b"a\0b"), (b"prVt", bytes(9))]
    around = [whole[0], *more, *whole[1:-1], *more, whole[-1]]
    assert decode_image(png(around)).tobytes() == decode_image(png(whole)).tobytes()
    assert decode_image(png(whole[:-1])).tobytes() == decode_image(png(whole)).tobytes()


def test_a_header_that_is_damaged_or_states_what_does_not_exist_is_refused() -> None:
    good = chunks(8, 0)

    def stating(depth: int, colour: int, filters: int = 0) -> bytes:
        return png([(b"IHDR", struct.pack(">IIBBBBB", 13, 11, depth, colour, 0, filters, 0)), *good[1:]])

    with pytest.raises(InvalidImage, match="header cannot be read: colour type 2 with 4 bits does not exist"):
        decode_image(stating(4, 2))
    with pytest.raises(InvalidImage, match="header cannot be read: filter method 1 does not exist"):
        decode_image(stating(8, 0, filters=1))
    with pytest.raises(InvalidImage, match="header cannot be read: it is not at the file's beginning"):
        decode_image(png([(b"tEXt", b"a\0b"), *good]))
    with pytest.raises(InvalidImage, match="the checksum of its chunk IHDR does not match"):
        decode_image(png(good).replace(bytes([0, 0, 0, 13, 0, 0, 0, 11]), bytes([0, 0, 0, 12, 0, 0, 0, 11])))


def test_a_palette_that_is_damaged_or_missing_is_refused() -> None:
    whole = chunks(8, 3)
    palette = whole[1][1]
    with pytest.raises(InvalidImage, match="the checksum of its chunk PLTE does not match"):
        decode_image(png(whole).replace(palette, palette[::-1]))
    with pytest.raises(InvalidImage, match="its palette is missing"):
        decode_image(png([whole[0], *whole[2:]]))


def test_pixels_in_two_places_are_damage_as_for_every_viewer() -> None:
    head, first, second, end = chunks(8, 0, pieces=2)
    with pytest.raises(InvalidImage, match="not in one place"):
        decode_image(png([head, first, (b"tEXt", b"a\0b"), second, end]))


def test_a_palette_behind_the_pixels_is_none() -> None:
    head, palette, *pixels, end = chunks(8, 3)
    with pytest.raises(InvalidImage, match="palette is missing"):
        decode_image(png([head, *pixels, palette, end]))
