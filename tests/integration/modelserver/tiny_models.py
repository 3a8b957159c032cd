"""Tiny SavedModels, each written in a moment, that show one behaviour each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import input_pb2, prediction_log_pb2

from headway_serving.modelserver.apis.tensor_codec import encode


class HalfPlus(tf.Module):
    """y = x / 2 + offset for any shape of x; `sum` adds two inputs, `echo` returns strings."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.half = tf.Variable(0.5)
        self.offset = tf.Variable(float(offset))

    @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32, name="x")])
    def half_plus(self, x: Any) -> Any:
        return {"y": self.half * x + self.offset}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name=n) for n in ("a", "b")])
    def add(self, a: Any, b: Any) -> Any:
        return {"sum": a + b, "difference": a - b}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="texts")])
    def echo(self, texts: Any) -> Any:
        return {"texts": texts}


class Picture(tf.Module):
    """The mean of a 3x3 convolution of ones: 9 times the mean for a picture of one colour."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = tf.Variable(tf.ones([3, 3, 1, 2]))

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1], tf.uint8, name="images")])
    def scores(self, images: Any) -> Any:
        convolved = tf.nn.conv2d(tf.cast(images, tf.float32), self.kernel, 1, "VALID")
        return {"scores": tf.reduce_mean(convolved, [1, 2])}


CONVOLVED_RANKS = {
    **{"conv1d": 3, "conv2d": 4, "depthwise": 4, "conv3d": 5, "max_pool_3d": 5, "nested": 4, "twice": 4},
    **{"filter_gradient": 4, "filter_gradient_of": 4, "pool_gradient": 4, "pool_3d_gradient": 5},
}
"""The signatures of `Convolutions`, and the rank that each takes."""


class Convolutions(tf.Module):
    """Each kind of operation that oneDNN ends the process for, on an input whose rank no signature tells.

    `nested` convolves two functions deep and behind casts and sums, `twice` has a second convolution behind the first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kernel = tf.Variable(tf.ones([1, 1, 1, 1]))

    def signatures(self) -> dict[str, Any]:
        return {
            name: self._signature(getattr(self, name))
            for name in (*CONVOLVED_RANKS, "sizes", "transposed_sizes", "quantized")
        }

    def _signature(self, run: Callable[[Any], Any]) -> Any:
        return tf.function(lambda x: {"y": run(x)}, input_signature=[tf.TensorSpec(None, tf.float32, name="x")])

    def filter_gradient(self, x: Any) -> Any:
        ones, options = tf.ones([1] * 4), {"strides": [1] * 4, "padding": "SAME"}
        return tf.raw_ops.Conv2DBackpropFilter(input=x, filter_sizes=[1] * 4, out_backprop=ones, **options)

    def filter_gradient_of(self, x: Any) -> Any:
        ones, options = tf.ones([1] * 4), {"strides": [1] * 4, "padding": "SAME"}
        return tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
            input=ones, filter_sizes=[1] * 4, out_backprop=x, **options
        )

    def pool_gradient(self, x: Any) -> Any:
        options = {"ksize": [1] * 4, "strides": [1] * 4, "padding": "SAME"}
        return tf.raw_ops.AvgPoolGrad(orig_input_shape=[1] * 4, grad=x, **options)

    def pool_3d_gradient(self, x: Any) -> Any:
        options = {"ksize": [1] * 5, "strides": [1] * 5, "padding": "SAME"}
        return tf.raw_ops.AvgPool3DGrad(orig_input_shape=[1] * 5, grad=x, **options)

    def quantized(self, x: Any) -> Any:
        return tf.quantization.fake_quant_with_min_max_vars_per_channel(x, [0.0], [1.0])

    def sizes(self, x: Any) -> Any:
        options = {"ksize": [1] * 4, "strides": [1] * 4, "padding": "SAME"}
        return tf.raw_ops.AvgPoolGrad(orig_input_shape=tf.cast(x, tf.int32), grad=tf.ones([1] * 4), **options)

    def transposed_sizes(self, x: Any) -> Any:
        ones, options = tf.ones([1] * 4), {"strides": [1] * 4, "padding": "SAME"}
        return tf.raw_ops.Conv2DBackpropInput(
            input_sizes=tf.cast(x, tf.int32), filter=ones, out_backprop=ones, **options
        )

    def conv1d(self, x: Any) -> Any:
        return tf.nn.conv1d(x, tf.ones([1, 1, 1]), 1, "SAME")

    def conv2d(self, x: Any) -> Any:
        return tf.raw_ops.Conv2D(input=x, filter=self.kernel, strides=[1] * 4, padding="SAME")

    def depthwise(self, x: Any) -> Any:
        return tf.raw_ops.DepthwiseConv2dNative(input=x, filter=self.kernel, strides=[1] * 4, padding="SAME")

    def conv3d(self, x: Any) -> Any:
        return tf.raw_ops.Conv3D(input=x, filter=tf.ones([1] * 5), strides=[1] * 5, padding="SAME")

    def max_pool_3d(self, x: Any) -> Any:
        return tf.raw_ops.MaxPool3D(input=x, ksize=[1] * 5, strides=[1] * 5, padding="SAME")

    def nested(self, x: Any) -> Any:
        inner = tf.function(self.conv2d)
        return tf.function(lambda value: inner(tf.cast(tf.cast(value, tf.float64) + 0.0, tf.float32)))(x)

    def twice(self, x: Any) -> Any:
        return self.conv2d(tf.nn.relu(self.conv2d(x)))


class Growing(tf.Module):
    """A row of 256 bytes takes 256 KiB while it runs; an empty text becomes one of 8 KiB."""

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1], tf.float32, name="images")])
    def means(self, images: Any) -> Any:
        grown = tf.tile(images, [1, 16, 16, 4])
        return {"means": tf.reduce_mean(grown, [1, 2, 3])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="texts")])
    def texts(self, texts: Any) -> Any:
        return {"texts": tf.fill(tf.shape(texts), tf.constant("x" * 8192))}


class Spin(tf.Module):
    """Counts to n, one by one: a request as slow as one likes."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, name="n")])
    def count(self, n: Any) -> Any:
        return {"counted": tf.while_loop(lambda i: i < n, lambda i: (i + 1,), (tf.constant(0),))[0]}


class Examples(tf.Module):
    """Reads `x` from tf.Example messages: classes "small" and "large" with scores 1 - x and x; value 10 x."""

    def _x(self, serialized: Any) -> Any:
        features = {"x": tf.io.FixedLenFeature([], tf.float32)}
        return tf.io.parse_example(serialized, features)["x"]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def scores(self, inputs: Any) -> Any:
        x = self._x(inputs)
        return {"scores": tf.stack([1 - x, x], axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classes(self, inputs: Any) -> Any:
        return {"classes": tf.tile(tf.constant([["small", "large"]]), [tf.shape(inputs)[0], 1])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classify(self, inputs: Any) -> Any:
        return {**self.classes(inputs), **self.scores(inputs)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def number_classes(self, inputs: Any) -> Any:
        return {"classes": tf.ones([tf.size(inputs), 2], tf.int64), **self.scores(inputs)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def flat_scores(self, inputs: Any) -> Any:
        return {"scores": self._x(inputs)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def short_scores(self, inputs: Any) -> Any:
        return {"scores": self.scores(inputs)["scores"][:1]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def strange_outputs(self, inputs: Any) -> Any:
        return {"strange": self._x(inputs)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def three_outputs(self, inputs: Any) -> Any:
        return {**self.classify(inputs), "third": self._x(inputs)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def regress(self, inputs: Any) -> Any:
        return {"outputs": 10 * self._x(inputs)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def regress_column(self, inputs: Any) -> Any:
        return {"outputs": 10 * self._x(inputs)[:, None]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def regress_pairs(self, inputs: Any) -> Any:
        return {"outputs": self.scores(inputs)["scores"]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def regress_double(self, inputs: Any) -> Any:
        return {"outputs": tf.cast(self._x(inputs), tf.float64)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def regress_short(self, inputs: Any) -> Any:
        return {"outputs": self._x(inputs)[:1]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def other_input(self, examples: Any) -> Any:
        return {"outputs": self._x(examples)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=name) for name in ("inputs", "more")])
    def two_inputs(self, inputs: Any, more: Any) -> Any:
        return {"outputs": self._x(inputs) + self._x(more)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="inputs")])
    def foreign(self, inputs: Any) -> Any:
        return {"outputs": inputs}


class Values(tf.Module):
    """Each dtype in and out as it is; outputs whose sizes do not fit together; strings as text and as bytes."""

    def signatures(self) -> dict[str, Any]:
        integers = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
        dtypes = ["float16", "float32", "float64", *integers, "bool", "string"]
        same = {name: self._identity(tf.as_dtype(name)) for name in dtypes}
        return {
            **same,
            "sizes": self.sizes,
            "scalar": self.scalar,
            "scalar_text": self.scalar_text,
            "texts": self.texts,
            "pair": self.pair,
            "to_half": self.to_half,
        }

    def _identity(self, dtype: Any) -> Any:
        spec = tf.TensorSpec(None, dtype, name="v")
        return tf.function(lambda v: {"same": tf.identity(v)}, input_signature=[spec])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="v")])
    def sizes(self, v: Any) -> Any:
        return {"all": tf.identity(v), "first": v[:1]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="v")])
    def scalar(self, v: Any) -> Any:
        return {"total": tf.reduce_sum(v)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="v")])
    def scalar_text(self, v: Any) -> Any:
        return {"joined": tf.strings.reduce_join(v)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="v")])
    def texts(self, v: Any) -> Any:
        return {"text": tf.identity(v), "text_bytes": tf.identity(v)}

    @tf.function(
        input_signature=[tf.TensorSpec([None, 2], tf.float32, name="a"), tf.TensorSpec([None], tf.string, name="b")]
    )
    def pair(self, a: Any, b: Any) -> Any:
        return {"sum": tf.reduce_sum(a, axis=1), "b": tf.identity(b)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="v")])
    def to_half(self, v: Any) -> Any:
        return {"half": tf.cast(v, tf.float16)}


def line_numbers(file: Path) -> tf.lookup.StaticHashTable:
    """A table, with the file as its asset: of each of its lines the number, from 0; of all else -1."""
    lines = tf.lookup.TextFileInitializer(
        tf.saved_model.Asset(str(file)),
        tf.string,
        tf.lookup.TextFileIndex.WHOLE_LINE,
        tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
    )
    return tf.lookup.StaticHashTable(lines, -1)


class Counting(tf.Module):
    """Counts its runs: `serving_default` adds n[0] to the count, `read` tells it."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = tf.Variable(0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, name="n")])
    def add(self, n: Any) -> Any:
        return {"count": tf.reshape(self.runs.assign_add(n[0]), [1])}

    @tf.function(input_signature=[])
    def read(self) -> Any:
        return {"count": self.runs.read_value()}


def save_half_plus(directory: Path, offset: float) -> None:
    module = HalfPlus(offset)
    signatures = {"serving_default": module.half_plus, "add": module.add, "echo": module.echo}
    tf.saved_model.save(module, str(directory), signatures=signatures)


def save_picture(directory: Path) -> None:
    module = Picture()
    tf.saved_model.save(module, str(directory), signatures={"serving_default": module.scores})


def save_convolutions(directory: Path) -> None:
    module = Convolutions()
    tf.saved_model.save(module, str(directory), signatures=module.signatures())


def save_growing(directory: Path) -> None:
    module = Growing()
    tf.saved_model.save(module, str(directory), signatures={"serving_default": module.means, "texts": module.texts})


def save_spin(directory: Path) -> None:
    module = Spin()
    tf.saved_model.save(module, str(directory), signatures={"serving_default": module.count})


METHODS = {
    "classify": ["classify", "classes", "scores", "number_classes", "flat_scores", "short_scores", "strange_outputs"],
    "regress": ["regress", "regress_column", "regress_pairs", "regress_double", "regress_short"],
}
"""Signatures of `Examples` that say they classify or regress; all others say they predict."""


def save_examples(directory: Path) -> None:
    """Save `Examples` with each of its functions as a signature of the same name."""
    module = Examples()
    predict = ["three_outputs", "other_input", "two_inputs", "foreign"]
    names = [*METHODS["classify"], *METHODS["regress"], *predict]
    tf.saved_model.save(module, str(directory), signatures={name: getattr(module, name) for name in names})

    def name_methods(signatures: Any) -> None:
        for method, keys in METHODS.items():
            for key in keys:
                signatures[key].method_name = f"tensorflow/serving/{method}"

    edit_signatures(directory, name_methods)


def save_counting(directory: Path) -> None:
    module = Counting()
    tf.saved_model.save(module, str(directory), signatures={"serving_default": module.add, "read": module.read})


def save_shared_input(directory: Path) -> None:
    """Save a graph whose signatures `classify`, `regress` and the default (also regress) read one input tensor."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        inputs = tf.compat.v1.placeholder(tf.string, [None], "examples")
        x = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([], tf.float32)})["x"]
        scores, value = tf.stack([1 - x, x], axis=1), 10 * x
        saved = tf.compat.v1.saved_model
        given = {"inputs": saved.build_tensor_info(inputs)}
        regress = saved.build_signature_def(
            given, {"outputs": saved.build_tensor_info(value)}, "tensorflow/serving/regress"
        )
        classify = saved.build_signature_def(
            given, {"scores": saved.build_tensor_info(scores)}, "tensorflow/serving/classify"
        )
        builder = saved.Builder(str(directory))
        signatures = {"classify": classify, "regress": regress, "serving_default": regress}
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()


def save_values(directory: Path) -> None:
    module = Values()
    tf.saved_model.save(module, str(directory), signatures=module.signatures())


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


def example_list(*values: float) -> Any:
    """Return an Input message with an example for each value of the feature `x`."""
    message = input_pb2.Input()
    for value in values:
        message.example_list.examples.add().features.feature["x"].float_list.value.append(value)
    return message


def predict_record(alias: str, values: np.ndarray) -> bytes:
    """Return a warm-up record that sends `values` as input `alias` of the default signature."""
    log = prediction_log_pb2.PredictionLog()
    encode(values, log.predict_log.request.inputs[alias], as_content=True)
    return log.SerializeToString()
