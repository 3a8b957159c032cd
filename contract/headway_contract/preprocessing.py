"""The one definition of how a picture becomes the pixels a model sees.

``decode_image`` depends only on the bytes; ``to_model_input`` depends on the model's :class:`ImageSpec`. Training's
datasets and the gateway both call these two functions, so geometry cannot differ between them. Values (scale, mean,
variance) are not touched here: they are the first layers of the exported graph, and pixels travel as uint8.
"""

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from headway_contract.errors import (
    ContractError,
    ImageTooLarge,
    InvalidImage,
    InvalidManifest,
    UnsupportedImage,
)

SPEC_REVISION = 1
"""The revision of :class:`ImageSpec` written today. A version with another revision is not admitted."""

ACCEPTED_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""Picture formats that are read, by Pillow's names. The content decides, never a header or a file name."""

BACKGROUND = (255, 255, 255)
"""What transparent pixels are composited on: white, as paper and web pages are."""

_RESAMPLE = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_FITS = ("stretch", "crop", "pad")
_POLARITIES = ("keep", "light_on_dark")
_COLOUR_MODES = {1: "L", 3: "RGB"}


@dataclass(frozen=True)
class DecodeLimits:
    """What a picture may cost before it is read.

    ``max_bytes``: encoded size in bytes. ``max_pixels``: width x height, checked from the header before decoding.
    """

    max_bytes: int = 20 * 1024 * 1024
    max_pixels: int = 50_000_000


@dataclass(frozen=True)
class ImageSpec:
    """The geometry of one model's input: everything between a decoded picture and ``uint8[height, width, channels]``.

    * ``height``, ``width``: pixels, 1 to 4096. ``channels``: 1 (grayscale, ITU-R 601 luma) or 3 (RGB).
    * ``fit``: ``stretch`` ignores the aspect ratio, ``crop`` fills the frame and cuts the longer side at the centre,
      ``pad`` shows the whole picture centred on ``pad_value``.
    * ``resample``: the filter used when the size changes: ``nearest``, ``bilinear``, ``bicubic`` or ``lanczos``
      (all but ``nearest`` are antialiased).
    * ``polarity``: ``keep``, or ``light_on_dark``: a picture whose border is light (median of its outermost
      pixels above 127) is inverted, so that ink on paper looks like the light strokes on black of MNIST.
    * ``pad_value``: 0 to 255, the border that ``pad`` adds, after polarity.
    * ``revision``: of these rules; a reader that does not know it must refuse the model.

    Raises :class:`InvalidManifest` for values outside these ranges.
    """

    height: int
    width: int
    channels: int
    fit: str = "stretch"
    resample: str = "bilinear"
    polarity: str = "keep"
    pad_value: int = 0
    revision: int = SPEC_REVISION

    def __post_init__(self) -> None:
        _require(
            _is_int(self.revision) and self.revision == SPEC_REVISION,
            f"revision {self.revision!r} is unknown to this release",
        )
        for side in ("height", "width"):
            value = getattr(self, side)
            _require(_is_int(value) and 1 <= value <= 4096, f"{side} must be 1 to 4096 pixels, not {value!r}")
        _require(
            _is_int(self.channels) and self.channels in _COLOUR_MODES,
            f"channels must be 1 or 3, not {self.channels!r}",
        )
        _require(self.fit in _FITS, f"fit must be one of {', '.join(_FITS)}, not {self.fit!r}")
        _require(
            self.resample in tuple(_RESAMPLE),  # a tuple, for values that cannot be hashed
            f"resample must be one of {', '.join(_RESAMPLE)}, not {self.resample!r}",
        )
        _require(
            self.polarity in _POLARITIES,
            f"polarity must be one of {', '.join(_POLARITIES)}, not {self.polarity!r}",
        )
        _require(
            _is_int(self.pad_value) and 0 <= self.pad_value <= 255,
            f"pad_value must be 0 to 255, not {self.pad_value!r}",
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels, in the order of the model's input."""
        return (self.height, self.width, self.channels)

    def to_mapping(self) -> dict[str, Any]:
        """Return the JSON form: every field by name."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> "ImageSpec":
        """Read the JSON form. Raises :class:`InvalidManifest` for missing, unknown or impossible fields."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(mapping) - known)
        # A key this release does not know would change the pixels in a way it cannot follow.
        _require(not unknown, f"unknown key {', '.join(unknown)}; known: {', '.join(sorted(known))}")
        missing = sorted({"height", "width", "channels"} - set(mapping))
        _require(not missing, f"missing {', '.join(missing)}")
        return cls(**mapping)


def decode_image(data: bytes, limits: DecodeLimits | None = None) -> Image.Image:
    """Decode one picture into an upright 8-bit image of mode ``L`` or ``RGB``.

    The content decides the format. EXIF orientation is applied, an animation gives its first frame, transparency is
    composited on white, palettes, CMYK and 1-bit pictures become RGB or grayscale, 16-bit values keep their high byte.

    Raises :class:`UnsupportedImage` (no accepted format), :class:`ImageTooLarge` (over ``limits``, found from the
    header, before any pixel is decoded) or :class:`InvalidImage` (truncated or corrupt).
    """
    limits = limits or DecodeLimits()
    if not data:
        raise InvalidImage("the picture is empty: 0 bytes were sent")
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(f"the picture has {len(data):,} bytes; at most {limits.max_bytes:,} are accepted")
    try:
        image = Image.open(io.BytesIO(data), formats=ACCEPTED_FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(f"the picture has more than the {limits.max_pixels:,} pixels that are accepted") from error
    except UnidentifiedImageError as error:
        accepted = ", ".join(ACCEPTED_FORMATS)
        raise UnsupportedImage(f"the bytes are not a picture in an accepted format ({accepted})") from error
    # Pillow's readers raise many kinds of errors on damaged files (OSError, SyntaxError, ValueError, struct.error,
    # EOFError, ...); each of them means the same to the sender.
    except Exception as error:
        raise InvalidImage(f"the picture's header cannot be read: {error}") from error
    _check_size(image, limits)
    try:
        return _to_eight_bits(ImageOps.exif_transpose(image))
    except ContractError:
        raise
    except Exception as error:
        raise InvalidImage(f"the {image.format} picture is damaged or incomplete: {error}") from error


def to_model_input(image: Image.Image, spec: ImageSpec) -> NDArray[np.uint8]:
    """Bring a decoded picture into a model's input geometry.

    ``image`` comes from :func:`decode_image` (mode ``L`` or ``RGB``). Returns a C-contiguous
    ``uint8[spec.height, spec.width, spec.channels]``, values 0 to 255. Pure: equal inputs give equal arrays.
    """
    image = image.convert(_COLOUR_MODES[spec.channels])
    if spec.polarity == "light_on_dark" and _border_is_light(image):
        image = ImageOps.invert(image)
    resample = _RESAMPLE[spec.resample]
    size = (spec.width, spec.height)
    if image.size != size:
        if spec.fit == "stretch":
            image = image.resize(size, resample)
        elif spec.fit == "crop":
            image = ImageOps.fit(image, size, resample)
        else:
            colour = (spec.pad_value,) * spec.channels
            image = ImageOps.pad(image, size, resample, color=colour if spec.channels > 1 else colour[0])
    return np.array(image, dtype=np.uint8).reshape(spec.shape)


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode ``uint8[H, W, 1]`` or ``uint8[H, W, 3]`` as a PNG, without loss."""
    squeezed = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    buffer = io.BytesIO()
    Image.fromarray(squeezed).save(buffer, format="PNG")
    return buffer.getvalue()


def _check_size(image: Image.Image, limits: DecodeLimits) -> None:
    width, height = image.size
    if width * height > limits.max_pixels:
        raise ImageTooLarge(
            f"the picture is {width} x {height} = {width * height:,} pixels; at most {limits.max_pixels:,} are accepted"
        )
    if width * height == 0:
        raise InvalidImage(f"the picture is {width} x {height}: it has no pixels")


def _to_eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Pillow's own conversion clips at 255 instead of scaling.
        return Image.fromarray((np.asarray(image, dtype=np.uint16) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise UnsupportedImage("the picture has 32-bit samples; save it with 8 or 16 bits a channel")
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        return _on_background(image.convert("RGBA"))
    if image.mode == "L":
        image.load()
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _on_background(image: Image.Image) -> Image.Image:
    canvas = Image.new("RGBA", image.size, (*BACKGROUND, 255))
    return Image.alpha_composite(canvas, image).convert("RGB")


def _border_is_light(image: Image.Image) -> bool:
    gray = np.asarray(image.convert("L"))
    border = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    return bool(np.median(border) > 127)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise InvalidManifest(f"image spec: {problem}")
