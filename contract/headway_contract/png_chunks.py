"""What of a PNG file makes its pixels, found before a decoder sees it.

Pillow's own reader takes every chunk in Python and unpacks compressed text and profiles: 20 MB of empty chunks take it
three seconds and 190 MB, and a long text makes it refuse a good picture. Its decoder alone also takes half as long for
a small picture.
"""

import struct
import zlib
from typing import NamedTuple

from headway_contract.errors import InvalidImage
from headway_contract.exif import orientation

_MOST_CHUNKS = 50_000
_GRAY, _RGB, _PALETTE = 0, 2, 3
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by colour type
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Of each pass: first column and row, and the steps between columns and rows."""

_PIECE = 1_000_000
_FIRST_CHUNK = b"\0\0\0\x0dIHDR"
_HEADER = struct.Struct(">IIBBxBB")
_CHUNK = struct.Struct(">I4s")


class PngPixels(NamedTuple):
    """A PNG without metadata. A tuple, because making a frozen dataclass takes a tenth of decoding a digit.

    ``depth`` and ``colour``: bits of a sample and colour type, as in the file, which need not go together.
    ``packed``: the pixels, filtered and compressed. ``palette``: R, G and B of each index. ``opacities``: of each index
    of the palette, where stated. ``transparent``: the gray or RGB sample that is transparent, at the file's depth
    (Pillow would compare it at another). ``orientation``: EXIF's.
    """

    size: tuple[int, int]
    depth: int
    colour: int
    interlaced: bool
    packed: bytes | memoryview
    palette: bytes | None
    opacities: bytes | None
    transparent: tuple[int, ...] | None
    orientation: int


def pixel_chunks(data: bytes) -> PngPixels:
    """Take the chunks of the pixels. Source: PNG specification, third edition, sections 5 and 11.

    Raises :class:`InvalidImage` for a damaged header or palette, and for more chunks than any program writes.
    """
    if data[8:16] != _FIRST_CHUNK or len(data) < 33:
        raise InvalidImage("the PNG picture's header cannot be read: it is not at the file's beginning")
    _check_sum(data, 8, 13)
    width, height, depth, colour, filters, interlaced = _HEADER.unpack_from(data, 16)
    if filters:
        raise InvalidImage(f"the PNG picture's header cannot be read: filter method {filters} does not exist")
    view, palette, opacities, transparent, turned = memoryview(data), None, None, None, 1
    packed: list[memoryview] = []
    position, behind = 33, 0
    for _ in range(_MOST_CHUNKS):
        if position + 8 > len(data):
            break
        length, kind = _CHUNK.unpack_from(data, position)
        start, end = position + 8, position + 8 + length
        if kind == b"IDAT":
            if packed and position != behind:
                raise InvalidImage("the PNG picture is damaged: its pixels are not in one place")
            packed.append(view[start:end])
            behind = end + 4
        elif kind == b"IEND":
            break
        elif kind == b"PLTE" and colour == _PALETTE and not packed:
            _check_sum(data, position, length)
            palette = data[start:end]
        elif kind == b"tRNS" and colour == _PALETTE:
            _check_sum(data, position, length)
            opacities = data[start:end]
        elif kind == b"tRNS" and colour in (_GRAY, _RGB) and length in (2, 6) and end + 4 <= len(data):
            transparent = struct.unpack_from(f">{length // 2}H", data, start)
        elif kind == b"eXIf":
            turned = orientation(data[start:end])
        position = end + 4
    else:
        raise InvalidImage(f"the PNG picture has more than {_MOST_CHUNKS:,} chunks")
    pixels = packed[0] if len(packed) == 1 else b"".join(packed)
    return PngPixels((width, height), depth, colour, interlaced != 0, pixels, palette, opacities, transparent, turned)


def _check_sum(data: bytes, position: int, length: int) -> None:
    """Raise :class:`InvalidImage` if the chunk at ``position`` is not what was written. Pixels have their own sum."""
    end = position + 8 + length
    if zlib.crc32(data[position + 4 : end]) != int.from_bytes(data[end : end + 4]):
        name = data[position + 4 : position + 8].decode("ascii")
        raise InvalidImage(f"the PNG picture is damaged: the checksum of its chunk {name} does not match")


def check_all_rows(png: PngPixels) -> None:
    """Raise :class:`InvalidImage` if the pixels unpack to fewer rows than the header states; as long as decoding."""
    bits = png.depth * _SAMPLES[png.colour]
    passes = _ADAM7 if png.interlaced else ((0, 0, 1, 1),)
    sizes = [(-((left - png.size[0]) // right), -((top - png.size[1]) // down)) for left, top, right, down in passes]
    missing = sum(height * (1 + (width * bits + 7) // 8) for width, height in sizes if width > 0 and height > 0)
    stream, rest = zlib.decompressobj(), bytes(png.packed)
    while missing > 0:
        piece = stream.decompress(rest, _PIECE)
        rest, missing = stream.unconsumed_tail, missing - len(piece)
        if not piece:
            raise InvalidImage("the PNG picture is damaged or incomplete: its last rows are missing")
