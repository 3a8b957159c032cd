"""Pictures to ask for, made from real ones, in files named ``<label>-<number>.<ext>``."""

import io
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from benchmarks.cases import Case
from benchmarks.models import headway
from benchmarks.shared_bench import CannotMeasure, data_folder

_PHOTO, _CAMERA = (640, 427), (3000, 2000)
_COUNTS = {"digits": 500, "photos": 120, "camera": 24, "camera-denoised": 24}
_QUALITY = 85
_SEED = 20

Handwritten = tuple[str, NDArray[np.uint8]]
"""A label, and ``uint8[28, 28]`` with light strokes on black."""

Encoded = tuple[str, bytes]
"""A label, and a picture as it is posted."""


def make_pictures(case: Case, folder: Path, models: Path) -> list[Path]:
    """The case's pictures, made once and kept in ``folder``. Raises :class:`CannotMeasure`.

    ``models``: a repository with the case's model, whose recipe knows pictures that it was not trained on.
    """
    if not folder.is_dir():
        made = _photos() if case.name == "photos" else _MADE_FROM_DIGITS[case.name](_handwritten(models))
        staging = folder.with_name(folder.name + ".partial")
        staging.mkdir(parents=True, exist_ok=True)
        for number, (label, data) in zip(range(_COUNTS[case.name]), made, strict=False):
            extension = case.content_type.partition("/")[2]
            (staging / f"{label}-{number}.{extension}").write_bytes(data)
        staging.rename(folder)
    return sorted(folder.iterdir())


def truth(picture: Path) -> str:
    """The label that the picture was made from."""
    return picture.name.rpartition("-")[0]


def _digits(handwritten: Iterable[Handwritten]) -> Iterator[Encoded]:
    """28x28 PNG."""
    for label, pixels in handwritten:
        yield label, _encoded(Image.fromarray(pixels), "PNG")


def _camera(handwritten: Iterable[Handwritten], noise_levels: float = 8) -> Iterator[Encoded]:
    """A digit in chalk that fills a 3000x2000 frame, with the noise of a sensor (its standard deviation, of 255).

    Noise decides how large such a file is and so what decoding it costs, at any scale: 1.4 MB with 8 levels, which is
    what a camera without processing gives at dusk, 0.14 MB without any, as phones smooth theirs. Light on dark
    as the model and the plain services take it, so that both have a picture they can read.
    """
    noise = np.random.default_rng(_SEED)
    for label, pixels in handwritten:
        chalk = Image.fromarray(pixels).resize(_CAMERA, Image.Resampling.BICUBIC)
        board = np.asarray(chalk, np.float32) * 0.8 + noise.normal(24, noise_levels, (_CAMERA[1], _CAMERA[0]))
        tinted = np.stack([board * 0.95, board, board * 0.97], axis=-1)
        yield label, _encoded(Image.fromarray(tinted.clip(0, 255).astype(np.uint8)), "JPEG")


def _photos() -> Iterator[Encoded]:
    """Product photos that fill 640x427: cut, not stretched."""
    data = data_folder()
    if data is None or not (data / "clothing").is_dir():
        raise CannotMeasure("photos need the clothing pictures; name the folder above them with HEADWAY_DATA_DIR")
    # One of each kind after another, so that any first part of them has every kind.
    files = sorted((data / "clothing" / "test").glob("*/*.jpg"), key=lambda path: (path.name, path.parent.name))
    for path in files:
        with Image.open(path) as image:
            yield path.parent.name, _encoded(ImageOps.fit(image.convert("RGB"), _PHOTO), "JPEG")


def _handwritten(models: Path) -> Iterator[Handwritten]:
    """Digits 0 to 4 that the model was not trained on: MNIST's test set, or else those that come with Headway."""
    data = data_folder()
    if data is not None and (data / "mnist.npz").is_file():
        with np.load(data / "mnist.npz") as mnist:
            images, labels = mnist["x_test"], mnist["y_test"]
        for pixels, label in zip(images, labels, strict=True):
            if label <= 4:
                yield str(label), pixels
        return
    with tempfile.TemporaryDirectory() as folder:
        options = ("--out", folder, "--count", str(_COUNTS["digits"]), "--repository", str(models))
        headway("samples", "digits-0to4", *options)
        for path in sorted(Path(folder).iterdir()):
            with Image.open(path) as image:
                yield truth(path), np.asarray(image)


_MADE_FROM_DIGITS: dict[str, Callable[[Iterator[Handwritten]], Iterator[Encoded]]] = {
    "digits": _digits,
    "camera": _camera,
    "camera-denoised": partial(_camera, noise_levels=0),
}


def _encoded(image: Image.Image, format: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **({"quality": _QUALITY} if format == "JPEG" else {}))
    return buffer.getvalue()
