"""Digits as people send them: MNIST digits drawn anew on a page's canvas, a transparent layer, a sheet under a lamp."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Row = NDArray[np.uint8]
"""One digit as MNIST has it, ``uint8[28, 28]``."""


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Without loss."""
    return _encoded(pixels, "PNG")


def ink_on_paper(row: Row, random: np.random.Generator) -> bytes:
    """The negative."""
    return png(255 - row)


def canvas(row: Row, random: np.random.Generator) -> bytes:
    """Black on white, 280 x 280, with sharp edges."""
    return png(_levels(255 * (1 - _strokes(row, 280))))


def corner_of_a_canvas(row: Row, random: np.random.Generator) -> bytes:
    """Small, anywhere on 500 x 400."""
    return png(_levels(255 * (1 - _somewhere(_strokes(row, int(random.integers(90, 180))), 400, 500, 0, random))))


def coloured_pen(row: Row, random: np.random.Generator) -> bytes:
    """A colour on white."""
    cover = _strokes(row, 200)[..., np.newaxis]
    return png(_levels(255 * (1 - cover) + random.integers(0, 200, 3) * cover))


def transparent_layer(row: Row, random: np.random.Generator) -> bytes:
    """A colour on nothing."""
    pixels = np.empty((200, 200, 4), dtype=np.uint8)
    pixels[..., :3] = random.integers(0, 180, 3)
    pixels[..., 3] = _levels(255 * _strokes(row, 200))
    return png(pixels)


def blackboard(row: Row, random: np.random.Generator) -> bytes:
    """Chalk, anywhere, with more light on one side."""
    board = 40 + np.linspace(0, 40, 400) + random.normal(0, 6, (300, 400))
    return _encoded(_levels(board + 150 * _somewhere(_strokes(row, 180), 300, 400, 10, random)), "JPEG", quality=80)


def photographed_sheet(row: Row, random: np.random.Generator) -> bytes:
    """Pencil, a little blurred, anywhere on a sheet of 600 x 450 with a lamp to one side, noise and JPEG."""
    height, width = 450, 600
    cover = _somewhere(_strokes(row, int(random.integers(150, 280))), height, width, 15, random)
    blurred = Image.fromarray(_levels(255 * cover)).filter(ImageFilter.GaussianBlur(1.5))
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width])[:, np.newaxis, np.newaxis] - 0.5
    angle = random.uniform(0, 2 * np.pi)
    lamp = random.uniform(40, 110) * (np.cos(angle) * x + np.sin(angle) * y)
    paper = random.uniform(150, 200) + lamp - 80 * (x * x + y * y)
    sheet = paper * (1 - np.asarray(blurred) / 255 * random.uniform(0.55, 0.8)) + random.normal(0, 5, (height, width))
    return _encoded(_levels(np.stack([sheet, 0.97 * sheet, 0.9 * sheet], axis=-1)), "JPEG", quality=70)


VARIANTS = {
    function.__name__: function
    for function in (
        ink_on_paper,
        canvas,
        corner_of_a_canvas,
        coloured_pen,
        transparent_layer,
        blackboard,
        photographed_sheet,
    )
}
"""Each makes a file of a row."""


def _strokes(row: Row, side: int) -> NDArray[np.float64]:
    """How much each pixel is covered, 0 to 1: the digit drawn large, with edges about a pixel wide."""
    large = np.asarray(Image.fromarray(row).resize((side, side), Image.Resampling.BICUBIC)) / 255
    return np.clip((large - 0.5) * 6 + 0.5, 0, 1)


def _somewhere(
    cover: NDArray[np.float64], height: int, width: int, margin: int, random: np.random.Generator
) -> NDArray[np.float64]:
    side = len(cover)
    y, x = random.integers(margin, height - side - margin), random.integers(margin, width - side - margin)
    sheet = np.zeros((height, width))
    sheet[y : y + side, x : x + side] = cover
    return sheet


def _levels(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _encoded(pixels: NDArray[np.uint8], kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=kind, **options)
    return buffer.getvalue()
