"""Runs a frozen base once over a split and keeps the features, so that an epoch of a head costs no base pass.

The cache is keyed by content (the base's weights, the geometry and the pictures): it can never be stale, and may be
deleted any time.
"""

import contextlib
import hashlib
import io
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from headway_contract.durable_files import write_atomically
from headway_contract.preprocessing import ImageSpec
from headway_contract.regular_files import read_regular_file
from headway_training.inference import infer
from headway_training.pictures import Pictures

_CHECKSUM_BYTES = hashlib.sha256().digest_size


def default_cache() -> Path:
    """``$HEADWAY_CACHE_DIR``, else ``headway`` in the user's cache folder."""
    named = os.environ.get("HEADWAY_CACHE_DIR")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headway"


def extract(
    base: Any, base_digest: str, image: ImageSpec, pictures: Pictures, cache: Path, *, mirrored: bool = False
) -> NDArray[np.float32]:
    """Features of N pictures under a frozen base, in inference mode: ``float32[N, D]``.

    ``base_digest`` names the base's weights, ``image`` its geometry; ``mirrored``: of the pictures' mirror images, left
    to right. A damaged cache file is noticed by its checksum and computed again.
    """
    key = hashlib.sha256(f"{base_digest} {sorted(image.to_mapping().items())}".encode())
    key.update(b"mirrored" if mirrored else b"")
    for index in range(len(pictures)):
        key.update(pictures.identity(index).encode())
    path = cache / "features" / f"{key.hexdigest()}.npy"
    cached = _read(path)
    if cached is not None:
        return cached
    features = infer(_mirroring(base) if mirrored else base, pictures)
    _write(path, features)
    return features


def _mirroring(base: Any) -> Any:
    """The base, given each picture mirrored left to right."""
    images = keras.Input(base.input_shape[1:], dtype="uint8", name="images")
    return keras.Model(images, base(images[:, :, ::-1]), name="mirrored")


def _read(path: Path) -> NDArray[np.float32] | None:
    try:
        content = memoryview(read_regular_file(path))
    except OSError:
        return None
    array, checksum = content[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:]
    if hashlib.sha256(array).digest() != checksum:
        return None
    features: NDArray[np.float32] = np.load(io.BytesIO(array), allow_pickle=False)
    return features


def _write(path: Path, features: NDArray[np.float32]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, features, allow_pickle=False)
    # Behind the array, where numpy's reader does not look: the file stays an ordinary .npy.
    buffer.write(hashlib.sha256(buffer.getbuffer()).digest())
    # A place that cannot be written to, or is full, costs the next run time and this one nothing.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, buffer.getvalue())
