"""What of a PNG file makes its pixels, found before a decoder sees it.

Pillow reads every chunk in Python and unpacks compressed text and profiles: 20 MB of empty chunks take it three
seconds and 190 MB, and a long text makes it refuse a good picture.
"""

import struct
from dataclasses import dataclass

from headway_contract.errors import InvalidImage
from headway_contract.exif import orientation

_MOST_CHUNKS = 50_000
_PIXELS = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
_GRAY, _RGB = 0, 2


@dataclass(frozen=True)
class PngPixels:
    """A PNG without metadata. ``transparent``: the gray or RGB sample that is transparent, at the file's depth."""

    data: bytes
    orientation: int
    depth: int
    transparent: tuple[int, ...] | None


def pixel_chunks(data: bytes) -> PngPixels:
    """Leave out all chunks but those of the pixels. Source: PNG specification, third edition, sections 5 and 11.

    The transparent sample of gray and RGB pictures is taken out too: Pillow compares it at another depth than it has.
    Raises :class:`InvalidImage` for more chunks than any program writes.
    """
    depth, colour = (data[24], data[25]) if len(data) > 25 else (8, _RGB)
    kept, turned, transparent = [data[:8]], 1, None
    position = start = 8
    for _ in range(_MOST_CHUNKS):
        if position + 8 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        keep = kind in _PIXELS
        if kind == b"tRNS":
            keep = colour not in (_GRAY, _RGB)
            if not keep and length in (2, 6) and end <= len(data):
                transparent = struct.unpack_from(f">{length // 2}H", data, position + 8)
        elif kind == b"eXIf":
            turned = orientation(data[position + 8 : end - 4])
        if not keep:
            # What lies between two dropped chunks is kept as one piece.
            kept.append(data[start:position])
            start = end
        position = end
        if kind == b"IEND":
            break
    else:
        raise InvalidImage(f"the PNG picture has more than {_MOST_CHUNKS:,} chunks")
    pixels = data if len(kept) == 1 else b"".join([*kept, data[start:]])
    return PngPixels(pixels, turned, depth, transparent)
