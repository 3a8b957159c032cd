"""Tiny SavedModels, each written in a moment, that show one behaviour each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from headway_serving.modelserver.tensor_codec import encode


class HalfPlus(tf.Module):
    """y = x / 2 + offset for any shape of x; `sum` adds two inputs, `echo` returns strings."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.half = tf.Variable(0.5)
        self.offset = tf.Variable(float(offset))

    @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32, name="x")])
    def half_plus(self, x):
        return {"y": self.half * x + self.offset}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name=n) for n in ("a", "b")])
    def add(self, a, b):
        return {"sum": a + b, "difference": a - b}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="texts")])
    def echo(self, texts):
        return {"texts": texts}


class Picture(tf.Module):
    """The mean of a 3x3 convolution of ones: 9 times the mean for a picture of one colour."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = tf.Variable(tf.ones([3, 3, 1, 2]))

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1], tf.uint8, name="images")])
    def scores(self, images):
        convolved = tf.nn.conv2d(tf.cast(images, tf.float32), self.kernel, 1, "VALID")
        return {"scores": tf.reduce_mean(convolved, [1, 2])}


class Spin(tf.Module):
    """Counts to n, one by one: a request as slow as one likes."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, name="n")])
    def count(self, n):
        return {"counted": tf.while_loop(lambda i: i < n, lambda i: (i + 1,), (tf.constant(0),))[0]}


def save_half_plus(directory: Path, offset: float) -> None:
    module = HalfPlus(offset)
    signatures = {"serving_default": module.half_plus, "add": module.add, "echo": module.echo}
    tf.saved_model.save(module, str(directory), signatures=signatures)


def save_picture(directory: Path) -> None:
    module = Picture()
    tf.saved_model.save(module, str(directory), signatures={"serving_default": module.scores})


def save_spin(directory: Path) -> None:
    module = Spin()
    tf.saved_model.save(module, str(directory), signatures={"serving_default": module.count})


def edit_signatures(directory: Path, edit: Callable[[Any], None]) -> None:
    """Change the signatures of a saved model; `edit` gets the map of SignatureDef messages."""
    path = directory / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    edit(model.meta_graphs[0].signature_def)
    path.write_bytes(model.SerializeToString())


def write_warmup(directory: Path, records: list[bytes]) -> None:
    path = directory / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)


def predict_record(alias: str, values: np.ndarray) -> bytes:
    """Return a warm-up record that sends `values` as input `alias` of the default signature."""
    log = prediction_log_pb2.PredictionLog()
    encode(values, log.predict_log.request.inputs[alias], as_content=True)
    return log.SerializeToString()
