"""Strokes that somebody drew, wrote or photographed -> light strokes on black, where MNIST has them.

MNIST's digits "were size normalized to fit in a 20x20 pixel box while preserving their aspect ratio", and "centered in
a 28x28 image by computing the center of mass of the pixels, and translating the image so as to position this point at
the center of the 28x28 field" (LeCun, Cortes, Burges: The MNIST database of handwritten digits). In the files, that
point is index 14 of 0 to 27 on each axis, within half a pixel.

A picture that is as these are already (:func:`is_in_place`) stays what it is, bit for bit. Others go through
:func:`light_on_black`, which finds the paper and takes it away, and :func:`placed`.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

_BOX = 20 / 28
_WORKING = 6
"""Strokes are looked for in a picture of at most so many times the frame's longer side."""

_SAMPLES = 40  # at most about so many rows and columns are looked at to find the paper
_ROUNDS = 3
_NOISE = 1.4826  # of a normal distribution, its standard deviation over its median absolute deviation
_FAINT = 12  # levels: what differs less from the paper is no stroke, on a paper without any noise too
_NO_PAPER = 0.1  # of all levels: what scatters more than that about a surface is not paper but strokes
_DUST = 0.0005  # of the picture: strokes cover more than that
_INK = 0.25  # of the strokes' own strength: what is weaker does not decide where the strokes end


def working_side(height: int, width: int) -> int:
    """The longer side, in pixels, to which a picture is shrunk before its strokes are looked for."""
    return _WORKING * max(height, width)


def is_in_place(pixels: NDArray[np.uint8]) -> bool:
    """Whether a picture ``uint8[h, w]`` of the frame's size is as MNIST's are.

    Those are more than half black, with some white; their strokes fill the box (one pixel less is enough, as in MNIST)
    and have their centre of mass within half a pixel of the frame's centre. Exact: of integers throughout.
    """
    height, width = pixels.shape
    levels = pixels.tobytes()
    # Bytes, because numpy's calls would take longer than decoding a digit. ASCII is what lies below 128.
    if levels.isascii() or 2 * levels.count(0) <= height * width:
        return False
    tall, wide = _extent(levels, width), _extent(pixels.T.tobytes(), height)
    box_height, box_width = _box(height, width)
    if tall > box_height or wide > box_width or (tall < box_height - 1 and wide < box_width - 1):
        return False
    # Floating point is exact for integers below 2**53; these stay below 2**45.
    ((mass, moment_x), (moment_y, _)) = (_powers(height) @ pixels.astype(np.float64) @ _powers(width).T).tolist()
    # |moment / mass - side / 2| <= 1 / 2, without the division.
    return bool(abs(2 * moment_y - height * mass) <= mass and abs(2 * moment_x - width * mass) <= mass)


def shrunk(gray: Image.Image, side: int) -> Image.Image:
    """The picture (mode ``L``), antialiased, with a longer side of at most ``side`` pixels."""
    longer = max(gray.size)
    if longer <= side:
        return gray
    width, height = (max(1, round(length * side / longer)) for length in gray.size)
    return gray.resize((width, height), Image.Resampling.BILINEAR)


def light_on_black(gray: Image.Image) -> Image.Image:
    """Take the paper away: mode ``L``, strokes towards 255 and all else 0, whichever of the two was lighter.

    The paper is a quadratic surface over the picture, which follows a lamp to one side and a lens that darkens the
    corners. It is fitted to the picture's border, where the paper is, then to all that lies within three standard
    deviations of it. Strokes are what lies outside; darker or lighter, whichever is more. Three standard deviations of
    the paper's noise become 0, the median of what is over half of the strongest stroke becomes 255. A flat picture
    becomes black.
    """
    pixels = np.asarray(gray, dtype=np.float32)
    surface, noise = _paper(pixels)
    if noise > _NO_PAPER * float(np.ptp(pixels)):
        level, noise = _flat_paper(pixels)
        surface = np.full_like(pixels, level)
    relief = pixels - surface
    least = max(_FAINT, 5 * noise)
    if np.count_nonzero(np.abs(relief) > least) <= _DUST * relief.size:
        return Image.new("L", gray.size)
    darker, lighter = (float(np.maximum(side - least, 0).sum(dtype=np.float64)) for side in (-relief, relief))
    ink = -relief if darker > lighter else relief
    strong = _median(ink[ink >= ink.max() / 2])
    floor = 3 * noise
    levels = (ink - floor) * (255 / max(strong - floor, 1))
    return Image.fromarray(np.clip(np.rint(levels), 0, 255).astype(np.uint8))


def placed(gray: Image.Image, height: int, width: int, resample: Image.Resampling) -> Image.Image:
    """Bring light strokes on black (mode ``L``) into a frame as MNIST has them: a black picture stays black.

    What reaches a quarter of the strongest stroke decides where the strokes end. They are resized to fill the box,
    their strength is restored to 255 where thin strokes fade, and their centre of mass is put on the frame's centre,
    as far as the frame has room.
    """
    frame = np.zeros((height, width), dtype=np.uint8)
    box = _bounds(gray, max(height, width))
    if box is None:
        return Image.fromarray(frame)
    left, top, right, bottom = box
    box_height, box_width = _box(height, width)
    scale = min(box_height / (bottom - top), box_width / (right - left))
    size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    small = np.asarray(gray.crop(box).resize(size, resample)).astype(np.float64)
    strong = _median(small[small >= small.max() / 2])
    small = np.clip(np.rint(small * (255 / max(strong, 1))), 0, 255)
    if not small.any():
        return Image.fromarray(frame)  # so faint or thin that nothing is left of them at that size
    offsets = []
    for axis, side in ((1, height), (0, width)):
        profile = small.sum(axis=axis)
        centre = float(profile @ np.arange(len(profile))) / float(profile.sum())
        offsets.append(min(max(round(side / 2 - centre), 0), side - len(profile)))
    y, x = offsets
    frame[y : y + small.shape[0], x : x + small.shape[1]] = small
    return Image.fromarray(frame)


@lru_cache(maxsize=16)
def _box(height: int, width: int) -> tuple[int, int]:
    return max(1, round(height * _BOX)), max(1, round(width * _BOX))


def _extent(levels: bytes, row: int) -> int:
    """How many rows there are from the first to the last that is not all 0; ``row``: bytes in a row."""
    first = (len(levels) - len(levels.lstrip(b"\0"))) // row
    last = (len(levels.rstrip(b"\0")) - 1) // row
    return last - first + 1


@lru_cache(maxsize=16)
def _powers(side: int) -> NDArray[np.float64]:
    """1 and x of each place x, ``float64[2, side]``: what pixels are multiplied by to have their mass and moment."""
    return np.stack([np.ones(side), np.arange(side)])


def _bounds(gray: Image.Image, frame_side: int) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom of the strokes; None where there are none."""
    large = max(gray.size) > 2 * frame_side
    # Dust is smaller than a stroke: a mean of nine pixels keeps it below the threshold.
    pixels = np.asarray(gray.filter(ImageFilter.BoxBlur(1)) if large else gray)
    marked = pixels > max(1, pixels.max() * _INK) if large else pixels > 0
    rows, columns = np.flatnonzero(marked.any(axis=1)), np.flatnonzero(marked.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _paper(pixels: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """The paper behind the strokes ``float32[h, w]``, and the standard deviation of its noise; both in levels."""
    step = max(1, -(-max(pixels.shape) // _SAMPLES))
    values = pixels[::step, ::step]
    y, x = (_axis(length) for length in pixels.shape)
    terms = _terms(y[::step, np.newaxis], x[::step])
    border = np.ones(values.shape, dtype=np.bool_)
    margin = max(1, min(values.shape) // 16)
    border[margin:-margin, margin:-margin] = False
    noise, weights = 0.0, np.array([_median(values[border]), 0, 0, 0, 0, 0])
    for among in (border, np.ones_like(border)):
        looked_at, levels = terms[among], values[among]
        for _ in range(_ROUNDS):
            distance = np.abs(levels - looked_at @ weights)
            # Twice: strokes, where they are, would count as noise.
            noise = _NOISE * _median(distance[distance <= 4 * _median(distance) + 1])
            near = distance <= max(3 * noise, _FAINT / 2)
            weights = np.linalg.lstsq(looked_at[near], levels[near], rcond=None)[0]
    one, x1, y1, x2, xy, y2 = weights.tolist()
    surface = (one + x1 * x + x2 * x * x) + (y1 * y + y2 * y * y)[:, np.newaxis] + np.multiply.outer(xy * y, x)
    return np.clip(np.rint(surface), 0, 255).astype(np.float32), noise


def _terms(y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a quadratic surface is the sum of: ``float64[h, w, 6]`` of ``y[h, 1]`` and ``x[w]``."""
    terms = np.empty((len(y), len(x), 6))
    for index, term in enumerate((np.ones_like(x), x, y, x * x, x * y, y * y)):
        terms[..., index] = term
    return terms


def _flat_paper(pixels: NDArray[np.float32]) -> tuple[float, float]:
    """One level for all the paper, where strokes fill the picture: the side of mid-gray that has more pixels."""
    noise = _NOISE * _median(np.abs(np.diff(pixels, axis=1)).ravel()) if pixels.shape[1] > 1 else 0.0
    light = pixels > (pixels.min() + pixels.max()) / 2
    paper = pixels[light] if 2 * np.count_nonzero(light) > light.size else pixels[~light]
    return _median(paper), noise


def _axis(length: int) -> NDArray[np.float64]:
    return np.linspace(-1, 1, length) if length > 1 else np.zeros(1)


def _median(values: NDArray[np.floating]) -> float:
    """As numpy's, of ``float[n]`` without NaN, in a quarter of the time: ten of them are taken of each picture."""
    middle = len(values) // 2
    if len(values) % 2:
        return float(np.partition(values, middle)[middle])
    low, high = np.partition(values, (middle - 1, middle))[middle - 1 : middle + 1]
    return float((low + high) / 2)
