"""What may be passed as an image, and its encoded bytes.

Pillow and numpy are recognised by what their objects offer, never imported: the client depends on neither.
The gateway decodes; what is already encoded (a path, bytes, a file) is passed on untouched.
"""

import io
import os
import struct
import zlib
from pathlib import Path
from typing import IO, Any, Protocol, cast, runtime_checkable

from headway_client.errors import UnsupportedInput


@runtime_checkable
class PillowImage(Protocol):
    """What the client uses of a PIL.Image.Image."""

    @property
    def mode(self) -> str:
        """Pillow's name of the pixel format, such as `RGB`."""

    def convert(self, mode: str) -> Any:
        """A copy in another mode."""

    def getextrema(self) -> Any:
        """The least and the greatest value, of an image of one band."""

    def getexif(self) -> Any:
        """The EXIF tags, which hold the orientation."""

    def save(self, fp: IO[bytes], format: str | None = None, **params: Any) -> None:
        """Encode into a file."""


@runtime_checkable
class ArrayLike(Protocol):
    """What the client uses of a numpy.ndarray, beside the buffer protocol."""

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """numpy's description of shape and element type."""


ImageInput = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | PillowImage | ArrayLike

_PNG_MODES = {"1", "L", "LA", "I;16", "P", "RGB", "RGBA"}
_OPACITY = {"PA": "RGBA", "La": "LA", "RGBa": "RGBA"}
_LEVELS, _MOST_LEVELS = 255, 65535
_ACCEPTED = "a path, bytes, a file opened in binary mode, a Pillow image or a numpy array"
# Level 1 of 9: the bytes travel once, so time spent on packing them tighter is lost.
_FAST = 1


def encoded_image(image: ImageInput) -> bytes:
    """The bytes of an image file for whatever was passed as an image.

    A numpy array must be uint8 of shape [H,W], [H,W,1] or [H,W,3], values 0..255; it and Pillow images become
    PNG. Raises UnsupportedInput for anything else, OSError for a file that cannot be read.
    """
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | os.PathLike):
        return Path(os.fsdecode(image)).read_bytes()
    # Before arrays: Pillow images offer __array_interface__ too, but without palette, alpha or orientation.
    if isinstance(image, PillowImage):
        return _encode_pillow(image)
    if isinstance(image, ArrayLike):
        return _encode_array(image)
    if hasattr(image, "read"):
        return _read_file(image)
    raise UnsupportedInput(f"a {type(image).__name__} is not an image; pass {_ACCEPTED}")


def _read_file(file: IO[bytes]) -> bytes:
    data: object = file.read()
    if not isinstance(data, bytes):
        raise UnsupportedInput(f"reading the file gave {type(data).__name__}; open it in binary mode ('rb')")
    return data


def _encode_pillow(image: PillowImage) -> bytes:
    if image.mode == "F":
        raise UnsupportedInput("a Pillow image of mode F has no agreed range; scale it to 0..255 and convert it to L")
    try:
        encodable = image if image.mode in _PNG_MODES else image.convert(_png_mode(image))
        file = io.BytesIO()
        # The gateway applies the EXIF orientation; without it a turned photograph would be judged lying down.
        encodable.save(file, format="PNG", compress_level=_FAST, exif=image.getexif())
    except (ValueError, OSError, SystemError) as error:
        raise UnsupportedInput(
            f"Pillow cannot save this image of mode {image.mode} as PNG ({error}); convert it to RGB"
        ) from error
    return file.getvalue()


def _png_mode(image: PillowImage) -> str:
    """The mode in which an image of a mode that PNG does not have keeps all it shows."""
    if image.mode in _OPACITY:
        return _OPACITY[image.mode]
    if image.mode != "I":
        return "RGB"
    # Mode I is how Pillow long gave 16-bit greyscale; others keep 8 bits in it, which would be black as 16.
    low, high = image.getextrema()
    if low < 0 or high > _MOST_LEVELS:
        raise UnsupportedInput(
            f"a Pillow image of mode I with values from {low} to {high} has no agreed range; scale it to 0..255 or "
            "0..65535, and convert it to L or I;16"
        )
    return "L" if high <= _LEVELS else "I;16"


def _encode_array(array: ArrayLike) -> bytes:
    interface = array.__array_interface__
    shape, kind = tuple(interface["shape"]), interface["typestr"]
    if kind != "|u1":
        raise UnsupportedInput(
            f"the array's elements are {kind}, not uint8; scale them to 0..255 and pass array.astype('uint8')"
        )
    if len(shape) not in {2, 3} or shape[2:] not in {(), (1,), (3,)} or 0 in shape:
        raise UnsupportedInput(
            f"an array of shape {list(shape)} is not one image; pass [H,W], [H,W,1] or [H,W,3] (channels "
            "last, no alpha), and several images to classify_many"
        )
    # memoryview walks strides, so a slice or a transposed array comes out in row order as well.
    return _png(shape[1], shape[0], (*shape, 1)[2], memoryview(cast("Any", array)).tobytes())


def _png(width: int, height: int, channels: int, pixels: bytes) -> bytes:
    """Encode 8-bit grey (1 channel) or RGB (3) rows as PNG: a dozen lines that spare a dependency."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    stride = width * channels
    # Each row starts with its filter; 0 is none.
    rows = b"".join(b"\0" + pixels[start : start + stride] for start in range(0, len(pixels), stride))
    colour_type = 0 if channels == 1 else 2
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, _FAST)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body
