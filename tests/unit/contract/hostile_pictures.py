"""Pictures that are small and cost much: each hides it in another place. None has more than ``DecodeLimits`` allows."""

import io
import struct
import zlib
from collections.abc import Callable

from PIL import Image

from tests.support.contract_examples import encoded, png_chunk, png_header

GRAY = Image.new("L", (28, 28), 90)
PNG_END = png_chunk(b"IEND", b"")

Tag = tuple[int, int, int, bytes]
"""Number, type, count, and the four bytes of its value or of where it is."""


def png_with(chunks: bytes) -> bytes:
    """A good PNG with chunks before its pixels."""
    data = encoded(GRAY, "PNG")
    return data[:33] + chunks + data[33:]


def jpeg_with(segments: bytes) -> bytes:
    """A good JPEG with segments before its frame."""
    data = encoded(GRAY, "JPEG")
    return data[:2] + segments + data[2:]


def jpeg_of_scans(count: int, side: int = 4000, *, progressive: bool = True) -> bytes:
    """A JPEG whose last scan comes so many times."""
    data = encoded(Image.new("L", (side, side), 128), "JPEG", progressive=progressive)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * count + data[-2:]


def sequential_jpeg_of_scans(count: int, side: int = 64) -> bytes:
    """A baseline JPEG with a scan for each of its three components, the last of which comes so many times."""
    gray = encoded(Image.new("L", (side, side), 90), "JPEG")
    frame, scan = gray.index(b"\xff\xc0"), gray.index(b"\xff\xda")
    components = b"".join(bytes([number, 0x11, 0]) for number in (1, 2, 3))
    head = gray[:frame] + b"\xff\xc0\0\x11" + gray[frame + 4 : frame + 9] + b"\3" + components + gray[frame + 13 : scan]
    scans = [b"\xff\xda\0\x08\1" + bytes([number, 0]) + gray[scan + 7 : -2] for number in (1, 2, 3)]
    return head + scans[0] + scans[1] + scans[2] * count + gray[-2:]


def tiff(tags: list[Tag], data: bytes) -> bytes:
    """A TIFF with that directory; ``data`` lies at 8."""
    entries = b"".join(struct.pack("<HHI", *tag[:3]) + tag[3] for tag in sorted(tags))
    header = struct.pack("<4sI", b"II*\0", 8 + len(data))
    return header + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def tag(number: int, value: int, *, short: bool = False) -> Tag:
    """A tag of one number."""
    return (number, 3 if short else 4, 1, struct.pack("<I", value))


def gray_tiff(width: int, height: int, *more: Tag, compression: int = 1) -> list[Tag]:
    """The tags of a gray picture, but for where its pixels are."""
    shorts = ((258, 8), (259, compression), (262, 1), (277, 1))
    return [tag(256, width), tag(257, height), *(tag(*pair, short=True) for pair in shorts), *more]


def _tiff_of_strips() -> bytes:
    rows = 500_000
    where = [(273, 4, rows, struct.pack("<I", 8)), (279, 4, rows, struct.pack("<I", 8)), tag(278, 1)]
    return tiff(gray_tiff(1, rows, *where), struct.pack("<I", 100) * rows)


def _tiff_of_one_tile() -> bytes:
    pixels = zlib.compress(bytes(100_000_000))
    where = [tag(322, 40_000), tag(323, 40_000), tag(324, 8), tag(325, len(pixels))]
    return tiff(gray_tiff(16, 16, *where, compression=8), pixels)


def _tiff_of_tags() -> bytes:
    where = [tag(273, 8), tag(278, 16), tag(279, 256)]
    same = [(40_000 + number, 1, 4_000_000, struct.pack("<I", 8)) for number in range(500)]
    return tiff(gray_tiff(16, 16, *where, *same), bytes(4_000_000))


def _exif_of_tags() -> bytes:
    same = [(40_000 + number, 1, 60_000, struct.pack("<I", 8)) for number in range(300)]
    exif = b"Exif\0\0" + tiff(same, bytes(60_000))
    return jpeg_with(b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif)


def _run_length_bmp() -> bytes:
    body = b"\x01\x05" * 2_000_000
    header = struct.pack("<IiiHHIIiiII", 40, 6500, 6500, 1, 8, 1, len(body), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1078 + len(body), 0, 0, 1078) + header + bytes(1024) + body


def _animation(kind: str) -> bytes:
    buffer = io.BytesIO()
    frames = [Image.new("P", (200, 200), number % 200) for number in range(150)]
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def _gif_with(blocks: bytes) -> bytes:
    data = encoded(GRAY.resize((10, 10)), "GIF")
    at = data.index(b",", 13)
    return data[:at] + blocks + data[at:]


def _webp_canvas(side: int, chunks: bytes = b"") -> bytes:
    canvas = b"VP8X" + struct.pack("<I", 10) + bytes(4) + 2 * (side - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", 4 + len(canvas) + len(chunks)) + b"WEBP" + canvas + chunks


def _webp_with_profile(size: int) -> bytes:
    return encoded(GRAY.convert("RGB"), "WEBP", icc_profile=bytes(size), exif=b"Exif\0\0II*\0")


ZEROS = zlib.compress(bytes(50_000_000), 9)

BOMBS: dict[str, Callable[[], bytes]] = {
    "png 20,000 x 20,000": lambda: png_header(20_000, 20_000),
    "png of empty chunks": lambda: png_with(png_chunk(b"prVt", b"") * 400_000),
    "png of one-byte chunks of pixels": lambda: png_with(png_chunk(b"IDAT", b"x") * 60_000),
    "jpeg of empty segments": lambda: jpeg_with(b"\xff\xef\0\2" * 1_000_000),
    "jpeg of scans": lambda: jpeg_of_scans(400),
    "sequential jpeg of scans": lambda: sequential_jpeg_of_scans(400, side=2000),
    "sequential jpeg of scans of all components": lambda: jpeg_of_scans(400, side=2000, progressive=False),
    "jpeg of scans behind a false end": lambda: jpeg_of_scans(400).replace(
        b"\xff\xda", b"\xff\xfe\0\4\xff\xd9\xff\xda", 1
    ),
    "tiff of strips": _tiff_of_strips,
    "tiff of one tile": _tiff_of_one_tile,
    "large run-length bmp": _run_length_bmp,
    "png of one column": lambda: png_header(1, 50_000_000),
    "gif of comments": lambda: _gif_with(b"!\xfe" + (b"\xff" + b"c" * 255) * 75_000 + b"\0"),
    "gif of small comments": lambda: _gif_with(b"!\xfe\1c\0" * 3_000_000),
    "webp of a canvas alone": lambda: _webp_canvas(16_383),
    "webp of empty chunks": lambda: _webp_canvas(64, b"none\0\0\0\0" * 2_000_000),
}
"""Refused."""

HARMLESS: dict[str, Callable[[], bytes]] = {
    "png with a long compressed text": lambda: png_with(png_chunk(b"zTXt", b"a\0\0" + ZEROS)),
    "png with a long international text": lambda: png_with(png_chunk(b"iTXt", b"a\0\1\0\0\0" + ZEROS)),
    "png with a large profile": lambda: png_with(png_chunk(b"iCCP", b"a\0\0" + ZEROS)),
    "png with damaged exif": lambda: png_with(png_chunk(b"eXIf", b"II*\0\xff\xff\xff\xff")),
    "jpeg with much exif": lambda: jpeg_with((b"\xff\xe1\xff\xff" + b"Exif\0\0" + bytes(65_527)) * 100),
    "jpeg with much profile": lambda: jpeg_with((b"\xff\xe2\xff\xff" + b"ICC_PROFILE\0" + bytes(65_521)) * 100),
    "jpeg with exif tags over the same bytes": _exif_of_tags,
    "jpeg with bytes that belong to nothing": lambda: jpeg_with(b"\xff\xfe\0\2" + bytes(3_000_000)),
    "tiff with tags over the same bytes": _tiff_of_tags,
    "gif with long comments": lambda: _gif_with(b"!\xfe" + (b"\xff" + b"c" * 255) * 60_000 + b"\0"),
    "webp with a large profile": lambda: _webp_with_profile(15_000_000),
    "gif of many frames": lambda: _animation("GIF"),
    "tiff of many frames": lambda: _animation("TIFF"),
}
"""Read, at no more than the cost of the picture in them."""
