"""What of a WebP file makes its pixels, found before a decoder sees it."""

import struct

from headway_contract.errors import InvalidImage
from headway_contract.exif import orientation

_MOST_CHUNKS = 10_000
_LEFT_OUT = {b"ICCP", b"XMP ", b"EXIF"}


def pixel_chunks(data: bytes) -> tuple[bytes, int]:
    """The file without profiles and metadata, and its EXIF orientation, 1 to 8. Source: RFC 9649, 2.

    Raises :class:`InvalidImage` for more chunks than any program writes.
    """
    if data[12:16] != b"VP8X":
        return data, 1  # a picture alone, in one chunk
    kept, turned, position = [data[12:30]], 1, 30
    for _ in range(_MOST_CHUNKS):
        if position + 8 > len(data):
            break
        kind, length = struct.unpack_from("<4sI", data, position)
        end = position + 8 + length + length % 2
        if kind == b"EXIF" and turned == 1:
            turned = orientation(data[position + 8 : position + 8 + length])
        if kind not in _LEFT_OUT:
            kept.append(data[position:end])
        position = end
    else:
        raise InvalidImage(f"the WEBP picture has more than {_MOST_CHUNKS:,} chunks")
    if position > len(data) + 1:
        return data, turned  # cut short, which its decoder is to say
    body = b"".join(kept)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body, turned
