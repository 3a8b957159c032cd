"""Bytes that somebody sent -> an upright 8-bit picture, within limits that are checked before anything is decoded.

Pillow decodes the pixels and nothing else: the format is sniffed here, so that no other reader of Pillow's looks at
the bytes, and at a PNG only its decoder does; sizes come from headers; and metadata, where Pillow's cost is the
sender's choice, is left out beforehand.
"""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
)

from headway_contract import heif, jpeg_segments, webp_chunks
from headway_contract.decode_cost import decode_bytes
from headway_contract.eight_bits import BACKGROUND, on_canvas, to_eight_bits, without_opacity
from headway_contract.errors import ContractError, ImageTooLarge, InvalidImage, UnsupportedImage
from headway_contract.exif import orientation
from headway_contract.gif_blocks import first_frame
from headway_contract.image_spec import ImageSpec
from headway_contract.jpeg_scaling import denominator, draft
from headway_contract.picture_header import PNG_SIGNATURE, read_header, refusal, sniff
from headway_contract.png_chunks import check_all_rows, pixel_chunks
from headway_contract.tiff_directory import pixel_tags

__all__ = ["ACCEPTED_FORMATS", "BACKGROUND", "DecodeLimits", "decode_cost", "decode_image", "is_small"]

ACCEPTED_FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"),
    *(("AVIF",) if features.check("avif") else ()),
    *(("HEIC",) if heif.INSTALLED else ()),
)
"""Picture formats that are read, by Pillow's names. The content decides, never a header or a file name."""

# Pillow warns of damaged metadata, once per place in its code, on the stderr of whoever imports this: log lines that a
# sender of pictures could make. What it means is in the error, if it means anything. ``warnings.catch_warnings`` around
# each picture would not be safe in threads.
warnings.filterwarnings("ignore", module=r"PIL\.")

_READERS: dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
}
_PNG_MODES: dict[tuple[int, int], tuple[str, str, int | tuple[int, ...]]] = {
    (1, 0): ("1", "1", 255),
    (2, 0): ("L", "L;2", 0x5A),
    (4, 0): ("L", "L;4", 0x5A),
    (8, 0): ("L", "L", 0x5A),
    (16, 0): ("I;16", "I;16B", 0x5A5A),
    (8, 2): ("RGB", "RGB", (0x5A,) * 3),
    (16, 2): ("RGB", "RGB;16B", (0x5A,) * 3),
    (1, 3): ("P", "P;1", 0x5A),
    (2, 3): ("P", "P;2", 0x5A),
    (4, 3): ("P", "P;4", 0x5A),
    (8, 3): ("P", "P", 0x5A),
    (8, 4): ("LA", "LA", (0x5A,) * 2),
    (16, 4): ("RGBA", "LA;16B", (0x5A,) * 4),
    (8, 6): ("RGBA", "RGBA", (0x5A,) * 4),
    (16, 6): ("RGBA", "RGBA;16B", (0x5A,) * 4),
}
"""Of each bit depth and colour type that PNG has, Pillow's names of the picture and of how it is packed, and a pixel
that few pictures end with."""

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a picture of each EXIF orientation upright."""

_MOST_RUN_LENGTH_BYTES = 1_000_000  # Pillow decodes run-length BMPs in Python: 3 s for 20 MB
_COLOUR_MAP = 320
_STRIP_ROWS = 64
_WAYS_NOT_READ = ("unknown pixel mode", "unknown data organization", "Unsupported BMP", "string index out of range")
"""What Pillow says of samples that are stored otherwise than it knows; the last of a TIFF in unusual planes."""

_SMALL_BYTES = 16 * 1024
_SMALL_PIXELS = 64 * 64


@dataclass(frozen=True)
class DecodeLimits:
    """What a picture may cost before it is read; the single place of limits, for all formats.

    ``max_bytes``: encoded size in bytes. ``max_pixels``: width x height, and ``max_side``: the longer of them, checked
    from the header before decoding. Rows of millions of pixels cost more than their number says.
    """

    max_bytes: int = 20 * 1024 * 1024
    max_pixels: int = 50_000_000
    max_side: int = 65_535


def decode_image(data: bytes, limits: DecodeLimits | None = None, spec: ImageSpec | None = None) -> Image.Image:
    """Decode one picture into an upright 8-bit image of mode ``L`` or ``RGB``.

    The content decides the format. EXIF orientation is applied, an animation gives its first frame, transparency is
    composited on white, palettes, CMYK (stored inverted, as Adobe does) and 1-bit pictures become RGB or grayscale,
    16-bit values keep their high byte. Colour profiles are not applied.

    ``spec``: what the picture is decoded for. Of revision 2 or later, it lets a JPEG be decoded at 1/2, 1/4 or 1/8 of
    its size (DCT scaling), the smallest that is still twice (revision 3: 1.4 times) as large as what
    :func:`to_model_input` will make of it, on the side that decides: both for ``stretch``, the one that fills the frame
    for ``crop`` and ``pad``. Pictures whose strokes are looked for keep eight times the frame on their longer side. A
    spec with one channel takes the JPEG's own Y channel, which is ITU-R 601 luma by definition (JFIF). Without a spec,
    or with revision 1 or ``nearest``, nothing is scaled.

    Raises :class:`UnsupportedImage` (no accepted format), :class:`ImageTooLarge` (over ``limits``, found from the
    header, before any pixel is decoded) or :class:`InvalidImage` (truncated or corrupt).
    """
    limits = limits or DecodeLimits()
    kind = _accepted_kind(data, limits)
    # Pillow's readers raise many kinds of errors on damaged files (OSError, SyntaxError, ValueError, struct.error,
    # EOFError, ...); each of them means the same to the sender.
    try:
        upright, turned = _decode_png(data, limits) if kind == "PNG" else _decode_other(kind, data, limits, spec)
        return upright.transpose(_TRANSPOSE[turned]) if turned in _TRANSPOSE else upright
    except ContractError:
        raise
    except Exception as error:
        if "raw mode" in str(error):
            raise _unread(kind) from error
        raise InvalidImage(f"the {kind} picture is damaged or incomplete: {error}") from error


def _unread(kind: str) -> UnsupportedImage:
    return UnsupportedImage(f"the {kind} picture stores its samples in a way that is not read; save it as PNG")


def decode_cost(data: bytes, limits: DecodeLimits | None = None, spec: ImageSpec | None = None) -> int:
    """Bytes of memory that :func:`decode_image` takes at the most, from the header alone. Raises as it does."""
    limits = limits or DecodeLimits()
    kind = _accepted_kind(data, limits)
    header = read_header(kind, data)
    size = header.width, header.height
    _check_size(size, limits)
    scaled = kind == "JPEG" and spec is not None and spec.revision >= 2
    # Which way up it will be is not known yet.
    divisor = min(denominator(size, spec), denominator(size[::-1], spec)) if scaled and spec is not None else 1
    # Of one without an end marker another is made, and decoded several times.
    repeated = kind == "JPEG" and not jpeg_segments.is_ended(data)
    return decode_bytes(header, len(data), divisor, repeated=repeated)


def is_small(data: bytes) -> bool:
    """Whether decoding takes well under a millisecond: a PNG of few bytes and, by its header, few pixels."""
    if len(data) > _SMALL_BYTES or not data.startswith(PNG_SIGNATURE):
        return False
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    return width * height <= _SMALL_PIXELS


def _accepted_kind(data: bytes, limits: DecodeLimits) -> str:
    """The format. Raises :class:`InvalidImage` for nothing, too much, or a format that is not accepted."""
    if not data:
        raise InvalidImage("the picture is empty: 0 bytes were sent")
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(f"the picture has {len(data):,} bytes; at most {limits.max_bytes:,} are accepted")
    if data.startswith(PNG_SIGNATURE):
        return "PNG"  # the most frequent one
    kind = sniff(data)
    if kind is None or kind not in ACCEPTED_FORMATS:
        raise refusal(data, ACCEPTED_FORMATS)
    return kind


def _decode_png(data: bytes, limits: DecodeLimits) -> tuple[Image.Image, int]:
    """The picture in 8 bits, and its EXIF orientation."""
    png = pixel_chunks(data)
    _check_size(png.size, limits)
    try:
        mode, packing, unlikely = _PNG_MODES[png.depth, png.colour]
    except KeyError:
        raise InvalidImage(
            f"the PNG picture's header cannot be read: colour type {png.colour} with {png.depth} bits does not exist"
        ) from None
    image = Image.new(mode, png.size, None)  # None: zeroed memory need not be filled
    last = png.size[0] - 1, png.size[1] - 1
    image.im.putpixel(last, unlikely)  # Pillow's own object, in a quarter of the time of the picture's method
    image.frombytes(png.packed, "zip", (packing, png.interlaced))
    # Pillow takes a stream that ends early, between two rows, for a whole one.
    if png.interlaced or image.im.getpixel(last) == unlikely:
        check_all_rows(png)
    if mode == "P":
        if not png.palette:
            raise InvalidImage("the PNG picture is damaged: its palette is missing")
        image.putpalette(png.palette)
        if png.opacities is not None:
            image.info["transparency"] = png.opacities
    return to_eight_bits(image, png), png.orientation


def _decode_other(kind: str, data: bytes, limits: DecodeLimits, spec: ImageSpec | None) -> tuple[Image.Image, int]:
    """The picture in 8 bits, and its EXIF orientation."""
    header = read_header(kind, data)
    _check_size((header.width, header.height), limits)
    if kind == "JPEG":
        data, turned = jpeg_segments.pixel_segments(data)
        return to_eight_bits(_jpeg(data, limits, spec, sideways=turned >= 5)), turned
    if kind == "TIFF":
        return _tiff(data, limits), 1
    if kind == "HEIC":
        heic = heif.HeicPicture(data)
        _check_size(heic.size, limits)
        return to_eight_bits(heic.decoded()), 1
    if kind == "GIF":
        data, place = first_frame(data)
        image = _open(kind, data, limits)
        image.load()
        return on_canvas(to_eight_bits(image), place), 1
    if kind == "BMP":
        if len(data) > _MOST_RUN_LENGTH_BYTES and data[30:31] in (b"\1", b"\2"):
            raise UnsupportedImage("the picture is a large run-length encoded BMP; save it as PNG")
        image = _open(kind, data, limits)
        image.load()
        return to_eight_bits(without_opacity(image)), 1
    turned = 1
    if kind == "WEBP":
        data, turned = webp_chunks.pixel_chunks(data)
    image = _open(kind, data, limits)
    if kind == "AVIF":
        turned = orientation(image.info.get("exif", b""))
    image.load()
    return to_eight_bits(image), turned


def _jpeg(data: bytes, limits: DecodeLimits, spec: ImageSpec | None, *, sideways: bool) -> Image.Image:
    """The decoded JPEG, which may lack its end marker and nothing else: viewers show such a file."""

    def decoded(file: bytes) -> Image.Image:
        image = _open("JPEG", file, limits)
        image.decodermaxblock = len(file)  # in one piece: in many, a camera's takes 2 % longer
        if spec is not None and spec.revision >= 2:
            draft(image, spec, sideways=sideways)
        image.load()
        return image

    try:
        return decoded(data)
    except OSError as error:
        if jpeg_segments.is_ended(data) or not jpeg_segments.has_all_scans(data):
            raise
        problem = str(error)
    # Only here: within, the error's traceback would hold the picture that failed.
    whole, *others = jpeg_segments.ended(data)
    image = decoded(whole())
    if any(not _alike(decoded(other()), image) for other in others):
        raise OSError(problem)
    return image


def _alike(one: Image.Image, other: Image.Image) -> bool:
    """Whether two pictures of one size and mode are the same, without a copy of either."""
    for top in range(0, one.height, _STRIP_ROWS):
        strip = 0, top, one.width, min(top + _STRIP_ROWS, one.height)
        if one.crop(strip).tobytes() != other.crop(strip).tobytes():
            return False
    return True


def _tiff(data: bytes, limits: DecodeLimits) -> Image.Image:
    """The TIFF's first picture in 8 bits, upright: Pillow turns it."""
    tiff = pixel_tags(data, limits.max_pixels)
    image = _open("TIFF", tiff.data, limits)
    colours = getattr(image, "tag_v2", {}).get(_COLOUR_MAP) if image.mode in ("P", "PA") else None
    image.load()
    if colours and max(colours) < 256:
        # Of 8 bits, though the format says 16: viewers see it by the same sign.
        count = len(colours) // 3  # of reds, which come first, then of greens and of blues
        image.putpalette(bytes(colours[index % 3 * count + index // 3] for index in range(3 * count)))
    shown = image if tiff.opacity_stated else without_opacity(image)
    return to_eight_bits(shown, bits=tiff.bits, inverted=tiff.inverted)


def _open(kind: str, data: bytes, limits: DecodeLimits) -> ImageFile.ImageFile:
    """Read the header and hold it against the limits."""
    try:
        image = _READERS[kind](io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(f"the picture has more than the {limits.max_pixels:,} pixels that are accepted") from error
    except Exception as error:
        if str(error).startswith(_WAYS_NOT_READ):
            raise _unread(kind) from error
        raise InvalidImage(f"the {kind} picture's header cannot be read: {error}") from error
    _check_size(image.size, limits)
    return image


def _check_size(size: tuple[int, int], limits: DecodeLimits) -> None:
    """Raise :class:`ImageTooLarge` over the limit, :class:`InvalidImage` where there is nothing."""
    width, height = size
    if max(size) > limits.max_side:
        raise ImageTooLarge(
            f"the picture is {width} x {height}; at most {limits.max_side:,} pixels a side are accepted"
        )
    if width * height > limits.max_pixels:
        raise ImageTooLarge(
            f"the picture is {width} x {height} = {width * height:,} pixels; at most {limits.max_pixels:,} are accepted"
        )
    if width * height == 0:
        raise InvalidImage(f"the picture is {width} x {height}: it has no pixels")
