"""Runs a Keras model over many rows without holding all that lies between input and output."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

BATCH = 256


def infer(model: Any, inputs: NDArray[Any]) -> NDArray[np.float32]:
    """What ``model`` answers in inference mode: inputs ``[N, ...]``, N >= 1 -> ``float32[N, ...]``."""
    batches = [np.asarray(model(inputs[i : i + BATCH], training=False)) for i in range(0, len(inputs), BATCH)]
    return np.concatenate(batches).astype(np.float32, copy=False)
