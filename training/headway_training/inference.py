"""Runs a Keras model over many rows without holding all that lies between input and output."""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from headway_training.pictures import Pictures

_ROWS = 256
_PIXELS = 224 * 224 * 3 * 8
"""Values of a batch of large pictures: their activations are a hundred times that, and are fastest in the cache."""

Inputs = NDArray[Any] | Pictures
"""What a model is run on: an array ``[N, ...]``, or pictures that are decoded when they are asked for."""


def take(inputs: Inputs, indices: NDArray[np.intp]) -> NDArray[Any]:
    """Some rows of the inputs, in the order of ``indices``."""
    if isinstance(inputs, np.ndarray):
        rows: NDArray[Any] = inputs[indices]
        return rows
    return inputs.read(indices)


def batch_rows(shape: Sequence[int]) -> int:
    """How many rows of a shape to run at once: 256 small ones, down to 8 photos of 224x224x3."""
    return max(1, min(_ROWS, _PIXELS // math.prod(shape)))


def batches(inputs: Inputs, size: int) -> Iterator[NDArray[Any]]:
    """All rows in order, ``size`` at a time; the next batch is read while the caller works on one."""
    starts = range(0, len(inputs), size)
    with ThreadPoolExecutor(1) as reader:
        coming = None
        for start in starts:
            ready = coming or reader.submit(take, inputs, np.arange(start, min(start + size, len(inputs))))
            after = start + size
            coming = (
                reader.submit(take, inputs, np.arange(after, min(after + size, len(inputs))))
                if after < len(inputs)
                else None
            )
            yield ready.result()


def infer(model: Any, inputs: Inputs) -> NDArray[np.float32]:
    """What ``model`` answers in inference mode: N >= 1 inputs -> ``float32[N, ...]``."""
    run = tf.function(lambda rows: model(rows, training=False), reduce_retracing=True)
    size = batch_rows(model.input_shape[1:])
    return np.concatenate([run(batch).numpy() for batch in batches(inputs, size)]).astype(np.float32, copy=False)
