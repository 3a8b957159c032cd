"""Refuses TIFF files whose directory asks for more than their pixels are worth, before a decoder sees them.

Two million strips of one row take Pillow seven seconds and 660 MB, a picture of 16x16 pixels in a tile of
40,000x40,000 takes libtiff 1.6 GB.
"""

import struct

from headway_contract.errors import ImageTooLarge, InvalidImage, UnsupportedImage

_COMPRESSION, _TILE_WIDTH, _TILE_LENGTH = 259, 322, 323
_OFFSETS = {273, 279, 324, 325}  # where strips and tiles begin, and their sizes
_MOST_STRIPS = 65_536
_COMPRESSIONS = {1, 2, 3, 4, 5, 7, 8, 32773, 32946}
"""None, CCITT (2 to 4), LZW, JPEG, Deflate, PackBits, old Deflate; the others' decoders have no limits."""


def check_directory(data: bytes, max_pixels: int) -> None:
    """Look through the first directory of a TIFF file. Source: TIFF revision 6.0, section 2.

    Raises :class:`UnsupportedImage` (BigTIFF, a rare compression), :class:`ImageTooLarge` (tiles over ``max_pixels``)
    or :class:`InvalidImage` (too many strips, no directory).
    """
    order = "<" if data[:2] == b"II" else ">"
    if data[2:4] in (b"+\0", b"\0+"):
        raise UnsupportedImage("the picture is a BigTIFF; save it as TIFF or PNG")
    found: dict[int, int] = {}
    try:
        (directory,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, directory)
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(f"{order}HHI", data, entry)
            if tag in _OFFSETS and values > _MOST_STRIPS:
                raise InvalidImage(f"the TIFF picture has {values:,} strips; at most {_MOST_STRIPS:,} are read")
            if tag in (_COMPRESSION, _TILE_WIDTH, _TILE_LENGTH):
                (value,) = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, entry + 8)
                # A tag may come twice, and readers differ in which one counts.
                found[tag] = max(value, found.get(tag, 0))
    except struct.error as error:
        raise InvalidImage("the TIFF picture's directory is damaged or incomplete") from error
    if found.get(_COMPRESSION, 1) not in _COMPRESSIONS:
        raise UnsupportedImage(f"the TIFF picture has compression {found[_COMPRESSION]}; save it with LZW or Deflate")
    if found.get(_TILE_WIDTH, 1) * found.get(_TILE_LENGTH, 1) > max_pixels:
        raise ImageTooLarge(
            f"the TIFF picture has tiles of {found[_TILE_WIDTH]} x {found[_TILE_LENGTH]} pixels; "
            f"at most {max_pixels:,} pixels are accepted"
        )
