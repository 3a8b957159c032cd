"""What of a TIFF file makes its pixels, found before a decoder sees it; files that ask for more are refused.

Two million strips of one row take Pillow seven seconds and 660 MB, a picture of 16x16 pixels in a tile of
40,000x40,000 takes libtiff 1.6 GB, and 500 tags of the same 4 MB would be read 500 times.
"""

import struct
from dataclasses import dataclass

from headway_contract.errors import ImageTooLarge, InvalidImage, UnsupportedImage

_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES = 256, 257, 258, 259, 262, 277
_TILE_WIDTH, _TILE_LENGTH, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 322, 323, 338, 339
_OFFSETS = {273, 279, 324, 325}  # where strips and tiles begin, and their sizes
_PIXEL_TAGS = {
    *(254, _WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, 266, 274, _SAMPLES, 278, 284, 292, 293, 317, 320),
    *(_TILE_WIDTH, _TILE_LENGTH, 332, _EXTRA_SAMPLES, _SAMPLE_FORMAT, 347, 512, 513, 514, 515, 519, 520, 521),
    *(529, 530, 531, 532, *_OFFSETS),
}
"""Tags that say how pixels are stored. All others (EXIF, profiles, texts) are left out."""

_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_MOST_TAG_BYTES = 393_216  # the colour map of 16 bits
_MOST_STRIPS = 65_536
_COMPRESSIONS = {1, 2, 3, 4, 5, 7, 8, 32773, 32946}
"""None, CCITT (2 to 4), LZW, JPEG, Deflate, PackBits, old Deflate; the others' decoders have no limits."""

_CCITT = {2, 3, 4}
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _LAB = 0, 1, 2, 3, 8
_COLOUR_MAP = 320
_CMYK = 5
_SIGNED = 2
_PLANAR, _IN_PLANES = 284, 2
_INLINE = 4  # bytes of values that stand in the directory itself
_NUMBERS = {1: "B", 3: "H", 4: "I"}


@dataclass(frozen=True, slots=True)
class TiffPixels:
    """``data``: the file with one directory, of the tags that make its pixels.

    ``bits``: of a sample. ``inverted``: whether 0 is white and the decoder has been told otherwise. ``opacity_stated``:
    whether the file says what its samples beyond the colours are.
    """

    data: bytes
    bits: int
    inverted: bool
    opacity_stated: bool


@dataclass(frozen=True, slots=True)
class _Tag:
    """``value``: its four bytes in the directory. ``first``: its first number, 0 if it is no number."""

    kind: int
    count: int
    value: bytes
    first: int


_Tags = dict[int, _Tag]


def stated_size(data: bytes) -> tuple[int, int]:
    """Width and height that the first directory states, 0 where it states none. Raises as :func:`pixel_tags`."""
    _, tags = _directory(data)
    return _number(tags, _WIDTH, 0), _number(tags, _LENGTH, 0)


def pixel_tags(data: bytes, max_pixels: int) -> TiffPixels:
    """Look through the first directory of a TIFF file. Source: TIFF revision 6.0, sections 2 and 8.

    Raises :class:`UnsupportedImage` (BigTIFF, a rare compression or form of samples), :class:`ImageTooLarge`
    (tiles over ``max_pixels``) or :class:`InvalidImage` (too many strips, no directory).
    """
    order, tags = _directory(data)
    compression = _number(tags, _COMPRESSION, 1)
    if compression not in _COMPRESSIONS:
        raise UnsupportedImage(f"the TIFF picture has compression {compression}; save it with LZW or Deflate")
    width, length = _number(tags, _TILE_WIDTH, 1), _number(tags, _TILE_LENGTH, 1)
    if width * length > max_pixels:
        raise ImageTooLarge(
            f"the TIFF picture has tiles of {width} x {length} pixels; at most {max_pixels:,} pixels are accepted"
        )
    if _number(tags, _SAMPLE_FORMAT, 1) == _SIGNED:
        raise UnsupportedImage("the TIFF picture has signed samples; save it with unsigned ones of 8 or 16 bits")
    if _number(tags, _PHOTOMETRIC, _RGB) == _LAB:
        raise UnsupportedImage("the TIFF picture has CIELAB colours; save it as RGB")
    bits, samples = _number(tags, _BITS, 1), _number(tags, _SAMPLES, 1)
    _check_planes(order, tags, samples)
    _check_colour_map(tags, bits)
    if bits == 16 and samples > 1 and compression == 1 and _number(tags, _PLANAR, 1) == _IN_PLANES:
        # Pillow would take the bytes of two samples for two samples.
        raise UnsupportedImage(
            "the TIFF picture has 16-bit colours in separate planes without compression; save it with LZW or Deflate"
        )
    if _PHOTOMETRIC not in tags:
        # As libtiff guesses: fax is black ink on white, all else gray or colours.
        guess = _WHITE_IS_ZERO if compression in _CCITT else _BLACK_IS_ZERO if samples < 3 else _RGB
        tags[_PHOTOMETRIC] = _short(order, guess)
    inverted = samples == 1 and bits > 8 and tags[_PHOTOMETRIC].first == _WHITE_IS_ZERO
    if inverted:
        # Pillow reads such samples as if 0 were black, or not at all.
        tags[_PHOTOMETRIC] = _short(order, _BLACK_IS_ZERO)
    return TiffPixels(_with_directory(data, order, tags), bits, inverted, _EXTRA_SAMPLES in tags)


def _check_planes(order: str, tags: _Tags, samples: int) -> None:
    """One plane is as good as none. Raises :class:`UnsupportedImage` for opacity in a plane, which Pillow misreads."""
    if _number(tags, _PLANAR, 1) != _IN_PLANES:
        return
    if samples == 1:
        # Pillow reads such samples without looking at which of them is white.
        tags[_PLANAR] = _short(order, 1)
    elif samples != 3 and not (samples == 4 and _EXTRA_SAMPLES in tags) and not _is_cmyk(tags, samples):
        raise UnsupportedImage(
            f"the TIFF picture has its {samples} samples a pixel in separate planes; save it with all of them together"
        )


def _is_cmyk(tags: _Tags, samples: int) -> bool:
    return samples == 4 and _number(tags, _PHOTOMETRIC, _RGB) == _CMYK


def _check_colour_map(tags: _Tags, bits: int) -> None:
    """Raise :class:`InvalidImage` where colours by number have no map, or one of another size."""
    if _number(tags, _PHOTOMETRIC, _RGB) != _PALETTE:
        return
    if _COLOUR_MAP not in tags:
        raise InvalidImage("the TIFF picture is damaged: it has colours by number, and no colour map")
    count = tags[_COLOUR_MAP].count
    if count != 3 * 2**bits:
        raise InvalidImage(f"the TIFF picture is damaged: {count} values in its colour map, and {bits} bits a sample")


def _directory(data: bytes) -> tuple[str, _Tags]:
    """The byte order and the tags of pixels in the first directory; of one that comes twice, the last."""
    order = "<" if data[:2] == b"II" else ">"
    if data[2:4] in (b"+\0", b"\0+"):
        raise UnsupportedImage("the picture is a BigTIFF; save it as TIFF or PNG")
    tags: _Tags = {}
    try:
        (directory,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, directory)
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(f"{order}HHI", data, entry)
            if tag not in _PIXEL_TAGS or kind not in _VALUE_BYTES:
                continue
            if tag in _OFFSETS and values > _MOST_STRIPS:
                raise InvalidImage(f"the TIFF picture has {values:,} strips; at most {_MOST_STRIPS:,} are read")
            if values * _VALUE_BYTES[kind] > _MOST_TAG_BYTES:
                raise InvalidImage(f"the TIFF picture's tag {tag} has {values:,} values, more than any program writes")
            first = _first(data, order, kind, values, entry + 8)
            tags[tag] = _Tag(kind, values, data[entry + 8 : entry + 12], first)
    except struct.error as error:
        raise InvalidImage("the TIFF picture's directory is damaged or incomplete") from error
    return order, tags


def _first(data: bytes, order: str, kind: int, count: int, at: int) -> int:
    """The first number of a tag, whose value or its place stands at ``at``; 0 of one that is no whole number."""
    if kind not in _NUMBERS or not count:
        return 0
    if count * _VALUE_BYTES[kind] > _INLINE:
        (at,) = struct.unpack_from(f"{order}I", data, at)
    return int(struct.unpack_from(order + _NUMBERS[kind], data, at)[0])


def _number(tags: _Tags, number: int, default: int) -> int:
    return tags[number].first if number in tags else default


def _short(order: str, value: int) -> _Tag:
    return _Tag(3, 1, struct.pack(f"{order}HH", value, 0), value)


def _with_directory(data: bytes, order: str, tags: _Tags) -> bytes:
    """The file with a directory of these tags alone behind it; what they point to stays where it is."""
    entries = [
        struct.pack(f"{order}HHI", number, tag.kind, tag.count) + tag.value for number, tag in sorted(tags.items())
    ]
    fill = bytes(len(data) % 2)  # a directory begins at an even place
    head = data[:4] + struct.pack(f"{order}I", len(data) + len(fill))
    return b"".join([head, data[8:], fill, struct.pack(f"{order}H", len(tags)), *entries, bytes(4)])
