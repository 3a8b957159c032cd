"""Pictures of every mode that a decoder makes -> 8 bits a sample, in gray or RGB, on a white background."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headway_contract.errors import UnsupportedImage
from headway_contract.png_chunks import PngPixels

BACKGROUND = (255, 255, 255)
"""What transparent pixels are composited on: white, as paper and web pages are."""

_STRIP_PIXELS = 1_000_000


def to_eight_bits(
    image: Image.Image, png: PngPixels | None = None, bits: int = 16, *, inverted: bool = False
) -> Image.Image:
    """The picture in mode ``L`` or ``RGB``; of more than 8 bits, the high ones.

    ``bits``: of a sample that takes two bytes. ``inverted``: such samples count from white. ``png``: where the picture
    comes from, which may name a transparent colour. Raises :class:`UnsupportedImage` for samples of 32 bits.
    """
    if image.mode.startswith("I;16"):
        samples = np.asarray(image, dtype=np.uint16)
        # Pillow's own conversion clips at 255 instead of scaling.
        high = (samples >> (bits - 8)).astype(np.uint8)
        eight = Image.fromarray(~high if inverted else high)
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


def without_opacity(image: Image.Image) -> Image.Image:
    """A picture whose opacity is 0 everywhere, without it: who wrote that file had no opacity in mind."""
    hidden = image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0)
    return image.convert("RGB") if hidden else image


def on_canvas(image: Image.Image, place: tuple[int, int, int, int]) -> Image.Image:
    """The picture in ``L`` or ``RGB`` with its background outside of ``place``: left, top, right, bottom."""
    if place == (0, 0, *image.size):
        return image
    canvas = Image.new(image.mode, image.size, BACKGROUND if image.mode == "RGB" else BACKGROUND[0])
    canvas.paste(image.crop(place), place[:2])
    return canvas


def _keyed(image: Image.Image, transparent: NDArray[np.bool_]) -> Image.Image:
    image.paste(BACKGROUND if image.mode == "RGB" else BACKGROUND[0], (0, 0), Image.fromarray(transparent).convert("L"))
    return image


def _on_background(image: Image.Image) -> Image.Image:
    """Composite strip by strip: whole copies with opacity would take 12 bytes a pixel more."""
    width, height = image.size
    rows = max(1, _STRIP_PIXELS // width)
    composed = Image.new("RGB", image.size)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        strip = (strip.convert("LA") if strip.mode == "La" else strip).convert("RGBA")
        canvas = Image.new("RGBA", strip.size, (*BACKGROUND, 255))
        composed.paste(Image.alpha_composite(canvas, strip).convert("RGB"), (0, top))
    return composed
