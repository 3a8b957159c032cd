"""A SavedModel that shows how its rows were batched."""

from pathlib import Path
from typing import Any

import tensorflow as tf

ROWS = [tf.TensorSpec([None, None], tf.float32, name="x")]


class BatchProbe(tf.Module):
    """Tells each row how many rows ran with it (`rows`) and what they add up to (`total`)."""

    @tf.function(input_signature=ROWS)
    def probe(self, x: Any) -> Any:
        count = tf.shape(x)[0]
        return {"x": x, "rows": tf.fill([count], count), "total": tf.fill([count], tf.reduce_sum(x))}

    @tf.function(input_signature=ROWS)
    def doubled(self, x: Any) -> Any:
        return {"doubled": 2 * x}

    @tf.function(input_signature=ROWS)
    def scalar(self, x: Any) -> Any:
        return {"total": tf.reduce_sum(x)}

    @tf.function(input_signature=ROWS)
    def first(self, x: Any) -> Any:
        return {"first": x[:1]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name=name) for name in ("a", "b")])
    def pair(self, a: Any, b: Any) -> Any:
        return {"sum": a[:1] + b[:1]}

    @tf.function(input_signature=[tf.TensorSpec(None, tf.int32, name="n")])
    def slow(self, n: Any) -> Any:
        last = tf.reduce_max(n)
        counted = tf.while_loop(lambda i: i < last, lambda i: (i + 1,), (tf.constant(0),))[0]
        return {"counted": tf.fill([tf.shape(n)[0]], counted)}


def save_probe(directory: Path) -> None:
    module = BatchProbe()
    signatures = {"serving_default": module.probe} | {
        name: getattr(module, name) for name in ("doubled", "scalar", "first", "pair", "slow")
    }
    tf.saved_model.save(module, str(directory), signatures=signatures)
