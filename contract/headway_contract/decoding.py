"""Bytes that somebody sent -> an upright 8-bit picture, within limits that are checked before anything is decoded.

Pillow decodes the pixels and nothing else: the format is sniffed here, so that no other reader of Pillow's looks at
the bytes, and at a PNG only its decoder does; sizes come from headers; and metadata, where Pillow's cost is the
sender's choice, is left out beforehand.
"""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
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

from headway_contract.errors import ContractError, ImageTooLarge, InvalidImage, UnsupportedImage
from headway_contract.exif import orientation
from headway_contract.image_spec import ImageSpec
from headway_contract.jpeg_segments import pixel_segments
from headway_contract.png_chunks import PngPixels, pixel_chunks
from headway_contract.strokes import working_side
from headway_contract.tiff_directory import check_directory

ACCEPTED_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF") + (("AVIF",) if features.check("avif") else ())
"""Picture formats that are read, by Pillow's names. The content decides, never a header or a file name."""

BACKGROUND = (255, 255, 255)
"""What transparent pixels are composited on: white, as paper and web pages are."""

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
_PNG_MODES = {
    (1, 0): ("1", "1"),
    (2, 0): ("L", "L;2"),
    (4, 0): ("L", "L;4"),
    (8, 0): ("L", "L"),
    (16, 0): ("I;16", "I;16B"),
    (8, 2): ("RGB", "RGB"),
    (16, 2): ("RGB", "RGB;16B"),
    (1, 3): ("P", "P;1"),
    (2, 3): ("P", "P;2"),
    (4, 3): ("P", "P;4"),
    (8, 3): ("P", "P"),
    (8, 4): ("LA", "LA"),
    (16, 4): ("RGBA", "LA;16B"),
    (8, 6): ("RGBA", "RGBA"),
    (16, 6): ("RGBA", "RGBA;16B"),
}
"""Of each bit depth and colour type that PNG has, Pillow's names of the picture and of how it is packed."""

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

_LEAST_OF_FRAME = {2: 2.0, 3: 1.4}
"""By revision, how large, in frames, a picture scaled by its DCT must be on each side that counts.

With 2 what the DCT leaves out is finer than the resize that follows would show: real photos differ from their full
decoding by less than one level of 255 on average (the small golden ones by up to 3.3), and by twice that with 1. With
1.4 networks do not mind (docs/benchmarks.md), and a 640x427 photo padded to 224x224 takes half the time.
"""

_MOST_RUN_LENGTH_BYTES = 1_000_000  # Pillow decodes run-length BMPs in Python: 3 s for 20 MB
_STRIP_PIXELS = 1_000_000
_SMALL_BYTES = 16 * 1024
_SMALL_PIXELS = 64 * 64


@dataclass(frozen=True)
class DecodeLimits:
    """What a picture may cost before it is read; the single place of limits, for all formats.

    ``max_bytes``: encoded size in bytes. ``max_pixels``: width x height, checked from the header before decoding.
    """

    max_bytes: int = 20 * 1024 * 1024
    max_pixels: int = 50_000_000


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
    if not data:
        raise InvalidImage("the picture is empty: 0 bytes were sent")
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(f"the picture has {len(data):,} bytes; at most {limits.max_bytes:,} are accepted")
    kind = _sniff(data)
    # Pillow's readers raise many kinds of errors on damaged files (OSError, SyntaxError, ValueError, struct.error,
    # EOFError, ...); each of them means the same to the sender.
    try:
        upright, turned = _decode_png(data, limits) if kind == "PNG" else _decode_other(kind, data, limits, spec)
        return upright.transpose(_TRANSPOSE[turned]) if turned in _TRANSPOSE else upright
    except ContractError:
        raise
    except Exception as error:
        raise InvalidImage(f"the {kind} picture is damaged or incomplete: {error}") from error


def is_small(data: bytes) -> bool:
    """Whether decoding takes well under a millisecond: a PNG of few bytes and, by its header, few pixels."""
    if len(data) > _SMALL_BYTES or not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return False
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    return width * height <= _SMALL_PIXELS


def _sniff(data: bytes) -> str:
    """The format by the file's first bytes. Raises :class:`UnsupportedImage` for what is not accepted."""
    kind = None
    if data.startswith(b"\xff\xd8\xff"):
        kind = "JPEG"
    elif data.startswith(b"\x89PNG\r\n\x1a\n"):
        kind = "PNG"
    elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        kind = "WEBP"
    elif data.startswith((b"GIF87a", b"GIF89a")):
        kind = "GIF"
    elif data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        kind = "TIFF"
    elif data[4:8] == b"ftyp" and b"avi" in data[8 : int.from_bytes(data[:4]) & 0xFF]:  # brands avif and avis
        kind = "AVIF"
    elif data.startswith(b"BM"):
        kind = "BMP"
    if kind not in ACCEPTED_FORMATS:
        accepted = ", ".join(ACCEPTED_FORMATS)
        raise UnsupportedImage(f"the bytes are not a picture in an accepted format ({accepted})")
    return kind


def _decode_png(data: bytes, limits: DecodeLimits) -> tuple[Image.Image, int]:
    """The picture in 8 bits, and its EXIF orientation."""
    png = pixel_chunks(data)
    _check_size(png.size, limits)
    try:
        mode, packing = _PNG_MODES[png.depth, png.colour]
    except KeyError:
        raise InvalidImage(
            f"the PNG picture's header cannot be read: colour type {png.colour} with {png.depth} bits does not exist"
        ) from None
    image = Image.new(mode, png.size, None)  # None: zeroed memory need not be filled
    image.frombytes(png.packed, "zip", (packing, png.interlaced))
    if mode == "P":
        if not png.palette:
            raise InvalidImage("the PNG picture is damaged: its palette is missing")
        image.putpalette(png.palette)
        if png.opacities is not None:
            image.info["transparency"] = png.opacities
    return _to_eight_bits(image, png), png.orientation


def _decode_other(kind: str, data: bytes, limits: DecodeLimits, spec: ImageSpec | None) -> tuple[Image.Image, int]:
    """The picture in 8 bits, and its EXIF orientation."""
    turned = 1
    if kind == "JPEG":
        data, turned = pixel_segments(data)
    elif kind == "TIFF":
        check_directory(data, limits.max_pixels)
    elif kind == "BMP" and len(data) > _MOST_RUN_LENGTH_BYTES and data[30:31] in (b"\1", b"\2"):
        raise UnsupportedImage("the picture is a large run-length encoded BMP; save it as PNG")
    image = _open(kind, data, limits)
    if kind in ("WEBP", "AVIF"):
        turned = orientation(image.info.get("exif", b""))
    if kind == "JPEG":
        image.decodermaxblock = len(data)  # in one piece: in many, a camera's takes 2 % longer
        if spec is not None and spec.revision >= 2:
            _draft(image, spec, sideways=turned >= 5)
    image.load()
    return _to_eight_bits(image), turned


def _open(kind: str, data: bytes, limits: DecodeLimits) -> ImageFile.ImageFile:
    """Read the header and hold it against the limits."""
    try:
        image = _READERS[kind](io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(f"the picture has more than the {limits.max_pixels:,} pixels that are accepted") from error
    except Exception as error:
        if str(error) in ("unknown pixel mode", "unknown data organization"):
            raise UnsupportedImage(
                f"the {kind} picture stores its samples in a way that is not read; save it as PNG"
            ) from error
        raise InvalidImage(f"the {kind} picture's header cannot be read: {error}") from error
    _check_size(image.size, limits)
    return image


def _check_size(size: tuple[int, int], limits: DecodeLimits) -> None:
    """Raise :class:`ImageTooLarge` over the limit, :class:`InvalidImage` where there is nothing."""
    width, height = size
    if width * height > limits.max_pixels:
        raise ImageTooLarge(
            f"the picture is {width} x {height} = {width * height:,} pixels; at most {limits.max_pixels:,} are accepted"
        )
    if width * height == 0:
        raise InvalidImage(f"the picture is {width} x {height}: it has no pixels")


def _draft(image: Image.Image, spec: ImageSpec, *, sideways: bool) -> None:
    """Have a JPEG decoded in luma for one channel, and at the smallest size that is still clearly larger."""
    width, height = image.size
    denominator = _denominator((height, width) if sideways else (width, height), spec)
    image.draft("L" if spec.channels == 1 else None, (width // denominator, height // denominator))


def _denominator(size: tuple[int, int], spec: ImageSpec) -> int:
    """8, 4, 2 or 1: what the sides of an upright picture may be divided by. See :func:`decode_image`."""
    if spec.resample == "nearest":
        return 1
    if spec.centre == "mass" or spec.polarity == "auto":
        side, frame = max(size), working_side(spec.height, spec.width)
        return next(divisor for divisor in (8, 4, 2, 1) if divisor == 1 or side >= divisor * frame)
    factor = _LEAST_OF_FRAME[spec.revision]
    least = factor * spec.width, factor * spec.height
    enough = max if spec.fit == "pad" else min
    for divisor in (8, 4, 2):
        if enough(side / (divisor * wanted) for side, wanted in zip(size, least, strict=True)) >= 1:
            return divisor
    return 1


def _to_eight_bits(image: Image.Image, png: PngPixels | None = None) -> Image.Image:
    if image.mode.startswith("I;16"):
        samples = np.asarray(image, dtype=np.uint16)
        # Pillow's own conversion clips at 255 instead of scaling.
        eight = Image.fromarray((samples >> 8).astype(np.uint8))
        return _keyed(eight, samples == png.transparent[0]) if png and png.transparent else eight
    if image.mode in ("I", "F"):
        raise UnsupportedImage("the picture has 32-bit samples; save it with 8 or 16 bits a channel")
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        return _on_background(image)
    eight = image if image.mode in ("L", "RGB") else image.convert("L" if image.mode == "1" else "RGB")
    if png and png.transparent:
        # At 16 bits the low bytes of colours are gone: what differs only there is taken for transparent too.
        key = [sample >> 8 if png.depth == 16 else sample * (255 // (2**png.depth - 1)) for sample in png.transparent]
        if len(key) == len(eight.getbands()):
            pixels = np.asarray(eight)
            return _keyed(eight, pixels == key[0] if eight.mode == "L" else (pixels == key).all(axis=-1))
    return eight


def _keyed(image: Image.Image, transparent: "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]") -> Image.Image:
    image.paste(BACKGROUND if image.mode == "RGB" else BACKGROUND[0], (0, 0), Image.fromarray(transparent).convert("L"))
    return image


def _on_background(image: Image.Image) -> Image.Image:
    """Composite strip by strip: whole copies with opacity would take 12 bytes a pixel more."""
    width, height = image.size
    rows = max(1, _STRIP_PIXELS // width)
    composed = Image.new("RGB", image.size)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height))).convert("RGBA")
        canvas = Image.new("RGBA", strip.size, (*BACKGROUND, 255))
        composed.paste(Image.alpha_composite(canvas, strip).convert("RGB"), (0, top))
    return composed
