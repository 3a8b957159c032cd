"""Sixty compact pictures, each of which makes a decoder work as hard as its header lets it, and some only claim to."""

import struct
import zlib
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from PIL import Image

from tests.support import heic_pictures
from tests.support.contract_examples import encoded, png_chunk, png_header

SIDE = 4000
"""16 million pixels: a third of what is accepted."""

Make = Callable[[], bytes]
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_FORMS = [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (16, 2), (1, 3), (4, 3), (8, 3), (8, 4), (16, 4), (8, 6)]
_PNG_FORMS += [(16, 6)]


@cache
def zeros(count: int) -> bytes:
    """So many bytes of 0, packed by zlib."""
    packer, piece = zlib.compressobj(1), bytes(1_000_000)
    parts = [packer.compress(piece) for _ in range(count // len(piece))]
    return b"".join([*parts, packer.compress(bytes(count % len(piece))), packer.flush()])


def png(
    width: int, height: int, depth: int = 8, colour: int = 0, *, interlaced: bool = False, extra: bytes = b""
) -> bytes:
    """A black one; interlaced, it has some rows more than it needs."""
    row = 1 + (width * depth * _SAMPLES[colour] + 7) // 8
    palette = png_chunk(b"PLTE", bytes(3 * 2 ** min(depth, 8))) + png_chunk(b"tRNS", b"\x80") if colour == 3 else b""
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)),
            palette,
            extra,
            png_chunk(b"IDAT", zeros(row * height * 9 // 8 if interlaced else row * height)),
            png_chunk(b"IEND", b""),
        ]
    )


@cache
def plain(mode: str, side: int = SIDE) -> Image.Image:
    """A picture of one colour."""
    return Image.new(mode, (side, side))


def saved(kind: str, mode: str, side: int = SIDE, **options: Any) -> Make:
    """A picture of one colour in that format."""
    return lambda: encoded(plain(mode, side), kind, **options)


def gif_with(blocks: bytes) -> bytes:
    """A GIF of 10 x 10 pixels with blocks before its frame."""
    data = encoded(Image.new("L", (10, 10), 90), "GIF")
    at = data.index(b",", 13)
    return data[:at] + blocks + data[at:]


def webp_canvas(side: int, chunks: bytes = b"") -> bytes:
    """A WebP that states its canvas and shows nothing: 30 bytes."""
    canvas = b"VP8X" + struct.pack("<I", 10) + bytes(4) + 2 * (side - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", 4 + len(canvas) + len(chunks)) + b"WEBP" + canvas + chunks


def bmp_header(side: int, bits: int) -> bytes:
    """A BMP that only claims to have pixels."""
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, bits, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 10**6, 0, 0, 54) + header + bytes(1000)


def tiff(side: int, bits: int, samples: int, packed: bytes, *more: tuple[int, int]) -> bytes:
    """A TIFF of one strip, or of one tile as ``more`` says."""
    numbers = {256: side, 257: side, 258: bits, 259: 8, 262: 1 if samples == 1 else 2, 273: 8, 277: samples}
    numbers |= {278: side, 279: len(packed), **dict(more)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(numbers.items()))
    return (
        struct.pack("<4sI", b"II*\0", 8 + len(packed)) + packed + struct.pack("<H", len(numbers)) + entries + bytes(4)
    )


def _jpeg_of_segments() -> bytes:
    data = encoded(Image.new("L", (28, 28)), "JPEG")
    return data[:2] + b"\xff\xef\0\2" * 1_000_000 + data[2:]


def _gif_of_a_large_frame() -> bytes:
    data = gif_with(b"")
    size = struct.pack("<HH", 10, 10)
    return data[:6] + b"\1\0\1\0" + data[10:].replace(b"," + bytes(4) + size, b"," + bytes(4) + b"\xff" * 4)


def _heic_that_says_more() -> bytes:
    return heic_pictures.RGB.replace(struct.pack(">II", 64, 64), struct.pack(">II", 7000, 7000))


def _jpeg_of_scans() -> bytes:
    data = encoded(plain("L", 3000), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * 40 + data[-2:]


BOMBS: dict[str, Make] = {
    **{f"png {form}": partial(png, SIDE, SIDE, *form) for form in _PNG_FORMS},
    **{f"interlaced png {form}": partial(png, 3000, 3000, *form, interlaced=True) for form in _PNG_FORMS},
    "png of 50 megapixels": lambda: png(7071, 7071),
    "png of 50 megapixels in colours": lambda: png(7071, 7071, 8, 2),
    "png of one column": lambda: png(1, 50_000_000),
    "png of one row": lambda: png(50_000_000, 1),
    "png as high as may be": lambda: png(380, 65_535, 8, 2),
    "png header": lambda: png_header(7000, 7000),
    "png of chunks": lambda: png(28, 28, extra=png_chunk(b"prVt", b"") * 400_000),
    "png of texts": lambda: png(28, 28, extra=png_chunk(b"zTXt", b"a\0\0" + zeros(50_000_000)) * 20),
    "gif": saved("GIF", "P"),
    "gif of comments": lambda: gif_with(b"!\xfe" + (b"\xff" + b"c" * 255) * 75_000 + b"\0"),
    "gif of many comments": lambda: gif_with(b"!\xfe\1c\0" * 3_000_000),
    "gif of a large frame": _gif_of_a_large_frame,
    "webp canvas": lambda: webp_canvas(7000),
    "webp canvas of most pixels": lambda: webp_canvas(16_384),
    "webp of chunks": lambda: webp_canvas(64, b"none\0\0\0\0" * 2_000_000),
    "webp": saved("WEBP", "RGB", 4000, lossless=True, method=0, quality=0),
    "webp of 50 megapixels": saved("WEBP", "L", 7000, lossless=True, method=0, quality=0),
    "jpeg": saved("JPEG", "RGB", 7000),
    "progressive jpeg": saved("JPEG", "RGB", 6000, progressive=True),
    "cmyk jpeg": saved("JPEG", "CMYK"),
    "jpeg of segments": _jpeg_of_segments,
    "jpeg of scans": _jpeg_of_scans,
    "tiff": lambda: tiff(SIDE, 8, 3, zeros(3 * SIDE * SIDE)),
    "16-bit tiff": lambda: tiff(SIDE, 16, 1, zeros(2 * SIDE * SIDE)),
    "tiff of a large tile": lambda: tiff(16, 8, 1, zeros(10_000_000), (322, 40_000), (323, 40_000)),
    "bmp header": lambda: bmp_header(7000, 24),
    "bmp": saved("BMP", "L", 4400),
    "avif": saved("AVIF", "RGB", 3000, speed=10),
    "heic that says more": _heic_that_says_more,
    "bmp with 32 bits header": lambda: bmp_header(7000, 32),
    "tiff of 50 megapixels": lambda: tiff(7071, 8, 1, zeros(7071 * 7071)),
    "png of 50 megapixels with a palette": lambda: png(7071, 7071, 1, 3),
    "no picture": lambda: b"\0" * 15_000_000,
}  # fmt: skip
