"""The first frame of a GIF file alone, found before a decoder sees it.

Pillow reads and joins every comment in Python: 20 MB of them take it 0.7 GB.
"""

import struct

from headway_contract.errors import InvalidImage

_MOST_BLOCKS = 65_536  # of comments and the like before the first frame: 16 MB
_EXTENSION, _IMAGE, _END = 0x21, 0x2C, 0x3B
_GRAPHIC_CONTROL = 0xF9


def first_frame(data: bytes) -> tuple[bytes, tuple[int, int, int, int]]:
    """The file without what stands before its first frame and makes no pixels, and where on the canvas that frame is.

    The place: left, top, right and bottom in pixels. Source: GIF89a specification, sections 17 to 26. Raises
    :class:`InvalidImage` for a file without a frame, and for more blocks before it than any program writes.
    """
    try:
        flags = data[10]
        position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        head, control, left_over = position, b"", _MOST_BLOCKS
        while data[position] != _IMAGE:
            if data[position] == _END:
                raise InvalidImage("the GIF picture is damaged or incomplete: it has no frame")
            if data[position] != _EXTENSION:
                position += 1  # as viewers do: bytes that belong to nothing are passed over
                left_over -= 1
            else:
                start, position = position, position + 2
                while size := data[position]:
                    position += 1 + size
                    left_over -= 1
                    if left_over < 0:
                        break
                position += 1
                if data[start + 1] == _GRAPHIC_CONTROL:
                    control = data[start:position]
            if left_over < 0:
                raise InvalidImage(f"the GIF picture has more than {_MOST_BLOCKS:,} blocks before its first frame")
        left, top, width, height = struct.unpack_from("<HHHH", data, position + 1)
    except (IndexError, struct.error):
        raise InvalidImage("the GIF picture is damaged or incomplete: it ends before its first frame") from None
    frame = data if position == head + len(control) else b"".join([data[:head], control, data[position:]])
    return frame, (left, top, left + width, top + height)
