"""Runs a frozen base once over a split and keeps the features, so that an epoch of a head costs no base pass.

The cache is keyed by content (the base's weights and the pixels): it can never be stale, and may be deleted any time.
"""

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headway_contract.durable_files import write_atomically

_BATCH = 256


def default_cache() -> Path:
    """``$HEADWAY_CACHE_DIR``, else ``headway`` in the user's cache folder."""
    named = os.environ.get("HEADWAY_CACHE_DIR")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headway"


def extract(base: Any, base_digest: str, images: NDArray[np.uint8], cache: Path) -> NDArray[np.float32]:
    """Features of ``images`` (``uint8[N, H, W, C]``) under a frozen base, in inference mode: ``float32[N, D]``.

    ``base_digest`` names the base's weights. A damaged cache file is computed again.
    """
    key = hashlib.sha256(base_digest.encode())
    key.update(repr(images.shape).encode())
    key.update(np.ascontiguousarray(images).data)
    path = cache / "features" / f"{key.hexdigest()}.npy"
    cached = _read(path, len(images))
    if cached is not None:
        return cached
    features = np.concatenate(
        [np.asarray(base(images[i : i + _BATCH], training=False)) for i in range(0, len(images), _BATCH)]
    ).astype(np.float32, copy=False)
    _write(path, features)
    return features


def _read(path: Path, rows: int) -> NDArray[np.float32] | None:
    try:
        features: NDArray[np.float32] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return features if features.ndim == 2 and len(features) == rows else None


def _write(path: Path, features: NDArray[np.float32]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, features, allow_pickle=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())
