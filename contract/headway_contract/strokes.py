"""Strokes that somebody drew, wrote or photographed -> light strokes on black, where MNIST has them.

MNIST's digits "were size normalized to fit in a 20x20 pixel box while preserving their aspect ratio", and "centered in
a 28x28 image by computing the center of mass of the pixels, and translating the image so as to position this point at
the center of the 28x28 field" (LeCun, Cortes, Burges: The MNIST database of handwritten digits). In the files, that
point is index 14 of 0 to 27 on each axis, within half a pixel.

A picture that is as these are already (:func:`is_in_place`) stays what it is, bit for bit. Others go through
:func:`light_on_black`, which finds the paper and takes it away, and :func:`placed`.
"""

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


def is_in_place(rows: NDArray[np.uint8], height: int, width: int) -> NDArray[np.bool_]:
    """Which of the pictures ``uint8[N, h, w]`` are as MNIST's are: ``bool[N]``.

    Those of the frame's size, more than half black, with some white, whose strokes fill the box (one pixel less is
    enough, as in MNIST) and have their centre of mass within half a pixel of the frame's centre. Integers throughout:
    one picture and many give the same answer.
    """
    if rows.shape[1:] != (height, width):
        return np.zeros(len(rows), dtype=np.bool_)
    row_mass, column_mass = (rows.sum(axis=axis, dtype=np.int64) for axis in (2, 1))
    tall, wide = _extent(row_mass > 0), _extent(column_mass > 0)
    box_height, box_width = _box(height, width)
    fills = (tall <= box_height) & (wide <= box_width) & ((tall >= box_height - 1) | (wide >= box_width - 1))
    black = 2 * np.count_nonzero(rows, axis=(1, 2)) < height * width
    in_place: NDArray[np.bool_] = fills & black & (rows.max(axis=(1, 2), initial=0) > 127)
    for profile, side in ((row_mass, height), (column_mass, width)):
        # |moment / mass - side / 2| <= 1 / 2, without the division.
        moment, mass = profile @ np.arange(side), profile.sum(axis=1)
        in_place &= np.abs(2 * moment - side * mass) <= mass
    return in_place


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
    strong = float(np.median(ink[ink >= ink.max() / 2]))
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
    strong = float(np.median(small[small >= small.max() / 2]))
    small = np.clip(np.rint(small * (255 / max(strong, 1))), 0, 255)
    offsets = []
    for axis, side in ((1, height), (0, width)):
        profile = small.sum(axis=axis)
        centre = float(profile @ np.arange(len(profile))) / float(profile.sum())
        offsets.append(min(max(round(side / 2 - centre), 0), side - len(profile)))
    y, x = offsets
    frame[y : y + small.shape[0], x : x + small.shape[1]] = small
    return Image.fromarray(frame)


def _box(height: int, width: int) -> tuple[int, int]:
    return max(1, round(height * _BOX)), max(1, round(width * _BOX))


def _extent(marked: NDArray[np.bool_]) -> NDArray[np.intp]:
    """From the first to the last marked place in each row of ``bool[N, side]``; 0 or less where there is none."""
    side = marked.shape[1]
    return np.where(marked.any(axis=1), side - marked[:, ::-1].argmax(axis=1) - marked.argmax(axis=1), 0)


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
    y, x = (_axis(length)[::step] for length in pixels.shape)
    terms = np.stack(np.broadcast_arrays(*_terms(y[:, np.newaxis], x)), axis=-1)
    border = np.ones(values.shape, dtype=np.bool_)
    margin = max(1, min(values.shape) // 16)
    border[margin:-margin, margin:-margin] = False
    noise, weights = 0.0, np.array([np.median(values[border]), 0, 0, 0, 0, 0])
    for among in (border, np.ones_like(border)):
        looked_at, levels = terms[among], values[among]
        for _ in range(_ROUNDS):
            distance = np.abs(levels - looked_at @ weights)
            # Twice: strokes, where they are, would count as noise.
            noise = _NOISE * float(np.median(distance[distance <= 4 * np.median(distance) + 1]))
            near = distance <= max(3 * noise, _FAINT / 2)
            weights = np.linalg.lstsq(looked_at[near], levels[near], rcond=None)[0]
    y, x = (_axis(length) for length in pixels.shape)
    one, x1, y1, x2, xy, y2 = weights.tolist()
    surface = (one + x1 * x + x2 * x * x) + (y1 * y + y2 * y * y)[:, np.newaxis] + np.multiply.outer(xy * y, x)
    return np.clip(np.rint(surface), 0, 255).astype(np.float32), noise


def _terms(y: NDArray[np.float64], x: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    return np.ones_like(x), x, y, x * x, x * y, y * y


def _flat_paper(pixels: NDArray[np.float32]) -> tuple[float, float]:
    """One level for all the paper, where strokes fill the picture: the side of mid-gray that has more pixels."""
    noise = _NOISE * float(np.median(np.abs(np.diff(pixels, axis=1)))) if pixels.shape[1] > 1 else 0.0
    light = pixels > (pixels.min() + pixels.max()) / 2
    paper = pixels[light] if 2 * np.count_nonzero(light) > light.size else pixels[~light]
    return float(np.median(paper)), noise


def _axis(length: int) -> NDArray[np.float64]:
    return np.linspace(-1, 1, length) if length > 1 else np.zeros(1)
