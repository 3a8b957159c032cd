"""The one definition of how a picture becomes the pixels a model sees.

``decode_image`` makes a picture of bytes; ``to_model_input`` brings it into the model's :class:`ImageSpec`. Training's
datasets and the gateway both call these two functions, with the same spec, so geometry cannot differ between them.
Values (scale, mean, variance) are not touched here: they are the first layers of the exported graph, and pixels travel
as uint8.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageOps

from headway_contract import strokes
from headway_contract.decoding import (
    ACCEPTED_FORMATS,
    BACKGROUND,
    DecodeLimits,
    decode_cost,
    decode_image,
    is_small,
)
from headway_contract.image_spec import SPEC_REVISION, ImageSpec

__all__ = [
    "ACCEPTED_FORMATS",
    "BACKGROUND",
    "SPEC_REVISION",
    "DecodeLimits",
    "ImageSpec",
    "decode_cost",
    "decode_image",
    "encode_png",
    "is_small",
    "to_model_input",
]

_RESAMPLE = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_COLOUR_MODES = {1: "L", 3: "RGB"}


def to_model_input(image: Image.Image, spec: ImageSpec) -> NDArray[np.uint8]:
    """Bring a decoded picture into a model's input geometry.

    ``image`` comes from :func:`decode_image` (mode ``L`` or ``RGB``) with the same spec. Returns a C-contiguous
    ``uint8[spec.height, spec.width, spec.channels]``, values 0 to 255. Pure: equal inputs give equal arrays.
    """
    resample = _RESAMPLE[spec.resample]
    if spec.centre == "mass" or spec.polarity == "auto":
        image = image if image.mode == "L" else image.convert("L")
        if image.size == (spec.width, spec.height):
            pixels = _pixels(image)
            if strokes.is_in_place(pixels[..., 0]):
                return pixels.repeat(spec.channels, axis=2) if spec.channels > 1 else pixels.copy()
        image = _of_strokes(image, spec, resample)
    mode = _COLOUR_MODES[spec.channels]
    if image.mode != mode:
        image = image.convert(mode)
    if spec.polarity == "light_on_dark" and spec.centre == "frame" and _border_is_light(image):
        image = ImageChops.invert(image)
    size = (spec.width, spec.height)
    if image.size != size:
        if spec.fit == "stretch":
            image = image.resize(size, resample)
        elif spec.fit == "crop":
            image = ImageOps.fit(image, size, resample)
        else:
            colour = (spec.pad_value,) * spec.channels
            image = ImageOps.pad(image, size, resample, color=colour if spec.channels > 1 else colour[0])
    return _pixels(image).copy()


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode ``uint8[H, W, 1]`` or ``uint8[H, W, 3]`` as a PNG, without loss."""
    squeezed = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    buffer = io.BytesIO()
    Image.fromarray(squeezed).save(buffer, format="PNG")
    return buffer.getvalue()


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    """``uint8[H, W, C]``, not to be written to."""
    # As np.asarray, in half the time.
    return np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width, -1)


def _of_strokes(gray: Image.Image, spec: ImageSpec, resample: Image.Resampling) -> Image.Image:
    """The strokes of a drawn or photographed picture, light on black; in their place if the spec says so."""
    gray = strokes.shrunk(gray, strokes.working_side(spec.height, spec.width))
    if spec.polarity == "auto":
        gray = strokes.light_on_black(gray)
    elif spec.polarity == "light_on_dark" and _border_is_light(gray):
        gray = ImageChops.invert(gray)
    return strokes.placed(gray, spec.height, spec.width, resample) if spec.centre == "mass" else gray


def _border_is_light(image: Image.Image) -> bool:
    levels = (image if image.mode == "L" else image.convert("L")).tobytes()
    width = image.width
    sides = levels[:width] + levels[-width:] + levels[::width] + levels[width - 1 :: width]
    border = np.sort(np.frombuffer(sides, np.uint8))
    # The median, of an even number, over 127; numpy's own takes longer than decoding a digit.
    return int(border[len(border) // 2 - 1]) + int(border[len(border) // 2]) > 254
