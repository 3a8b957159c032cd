"""At what size a JPEG is decoded: its DCT can leave out what the resize to a model's frame would not show."""

from PIL import Image

from headway_contract.image_spec import ImageSpec
from headway_contract.strokes import working_side

_LEAST_OF_FRAME = {2: 2.0, 3: 1.4}
"""By revision, how large, in frames, a picture scaled by its DCT must be on each side that counts.

With 2 what the DCT leaves out is finer than the resize that follows would show: real photos differ from their full
decoding by less than one level of 255 on average (the small golden ones by up to 3.3), and by twice that with 1. With
1.4 networks do not mind (docs/benchmarks.md), and a 640x427 photo padded to 224x224 takes half the time.
"""


def draft(image: Image.Image, spec: ImageSpec, *, sideways: bool) -> None:
    """Have a JPEG decoded in luma for one channel, and at the smallest size that is still clearly larger."""
    width, height = image.size
    divisor = denominator((height, width) if sideways else (width, height), spec)
    image.draft("L" if spec.channels == 1 else None, (width // divisor, height // divisor))


def denominator(size: tuple[int, int], spec: ImageSpec) -> int:
    """8, 4, 2 or 1: what the sides of an upright picture may be divided by. See ``decode_image``."""
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
