"""Runs, limits and memory of the TensorFlow session, and the tensor reader against TensorFlow's own."""

import gc
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import saved_model_pb2

from headway_serving.modelserver.apis.tensor_codec import decode
from headway_serving.modelserver.errors import Code, StatusError
from headway_serving.modelserver.runtime.saved_model import SavedModel, SessionConfig
from headway_serving.modelserver.runtime.saved_model_loader import load_saved_model
from tests.integration.modelserver import tiny_models

SERVE = frozenset({"serve"})


def load(directory: Path) -> SavedModel:
    return load_saved_model(directory, SERVE, SessionConfig())


def run_default(model: SavedModel, value: Any, timeout_ms: int | None = None) -> Any:
    signature = model.signatures["serving_default"]
    (fed,), (fetched,) = signature.inputs.values(), signature.outputs.values()
    return model.run({fed.name: value}, [fetched.name], timeout_ms)[0]


@pytest.mark.parametrize("timeout_ms", [0, 100])
def test_a_run_ends_with_its_deadline(saved_models: Path, timeout_ms: Any) -> None:
    model = load(saved_models / "spin")
    with pytest.raises(StatusError) as caught:
        run_default(model, np.array(1_000_000_000, np.int32), timeout_ms)
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    assert run_default(model, np.array(3, np.int32), 60_000) == 3
    model.close()


@pytest.mark.parametrize("name", ["models[2]", "mod]els", "mod\\els", "mod*ls?"])
def test_a_model_is_loaded_from_a_path_that_looks_like_a_pattern(saved_models: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(saved_models / "half_plus_1", tmp_path / name / "1")
    model = load(tmp_path / name / "1")
    assert run_default(model, np.array([2.0], np.float32)) == [2.0]
    model.close()


def test_a_graph_with_other_tags_is_not_found(saved_models: Path) -> None:
    with pytest.raises(StatusError) as caught:
        load_saved_model(saved_models / "half_plus_1", frozenset({"serve", "gpu"}), SessionConfig())
    assert caught.value.code is Code.NOT_FOUND
    assert caught.value.message.startswith("Could not find meta graph def matching supplied tags: { gpu serve }. To")


def test_a_tensor_that_is_not_in_the_graph_is_an_error_of_the_request(saved_models: Path) -> None:
    model = load(saved_models / "half_plus_1")
    with pytest.raises(StatusError) as caught:
        model.run({}, ["nowhere:0"], None)
    assert caught.value.code is Code.INVALID_ARGUMENT
    model.close()


def test_a_table_is_filled_from_its_asset_wherever_the_model_stands_and_text_is_read(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("cat\ndog\n")

    class Words(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = tiny_models.line_numbers(words)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="words")])
        def number(self, words: Any) -> Any:
            return {"number": self.table.lookup(words)}

    module = Words()
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures=module.number)
    words.unlink()
    moved = (tmp_path / "saved").rename(tmp_path / "moved")
    message = saved_model_pb2.SavedModel.FromString((moved / "saved_model.pb").read_bytes())
    (moved / "saved_model.pb").unlink()
    (moved / "saved_model.pbtxt").write_text(text_format.MessageToString(message))
    model = load(moved)
    assert run_default(model, np.array([b"dog", b"fish", b"cat"], np.object_)).tolist() == [1, -1, 0]
    model.close()


@pytest.fixture
def frozen_garbage() -> Iterator[None]:
    """Keep the collections of `close` off what the tests have imported, as the server does."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def test_loading_and_unloading_again_and_again_takes_no_memory(saved_models: Path, frozen_garbage: Any) -> None:
    def cycle() -> None:
        model = load(saved_models / "picture")
        run_default(model, np.ones([4, 8, 8, 1], np.uint8))
        model.close()

    for _ in range(5):
        cycle()
    before = psutil.Process().memory_info().rss
    for _ in range(20):
        cycle()
    assert psutil.Process().memory_info().rss < 1.1 * before


PROTOS = {
    "typed": "dtype: DT_FLOAT tensor_shape { dim { size: 2 } } float_val: 1 float_val: 2",
    "the last value is repeated": "dtype: DT_INT32 tensor_shape { dim { size: 4 } } int_val: 7 int_val: 8",
    "no values are zeros": "dtype: DT_DOUBLE tensor_shape { dim { size: 3 } }",
    "surplus values are dropped": "dtype: DT_INT64 tensor_shape { dim { size: 1 } } int64_val: 5 int64_val: 6",
    "a foreign field is not seen": "dtype: DT_FLOAT tensor_shape { dim { size: 2 } } int_val: 5",
    "content wins": (
        "dtype: DT_INT32 tensor_shape { dim { size: 1 } } int_val: 9 tensor_content: '\\001\\000\\000\\000'"
    ),
    "scalar": "dtype: DT_BOOL tensor_shape {} bool_val: true",
    "empty": "dtype: DT_FLOAT tensor_shape { dim { size: 0 } dim { size: 3 } }",
    "bytes": "dtype: DT_UINT8 tensor_shape { dim { size: 3 } } int_val: 1 int_val: 255 int_val: 300",
    "half": "dtype: DT_HALF tensor_shape { dim { size: 2 } } half_val: 15360 half_val: 16384",
    "complex": "dtype: DT_COMPLEX64 tensor_shape { dim { size: 2 } } scomplex_val: 1 scomplex_val: 2",
    "strings": "dtype: DT_STRING tensor_shape { dim { size: 3 } } string_val: 'a' string_val: 'b'",
    "no strings": "dtype: DT_STRING tensor_shape { dim { size: 2 } }",
    "packed strings": "dtype: DT_STRING tensor_shape { dim { size: 2 } } tensor_content: '\\001\\002abb'",
}


@pytest.mark.parametrize("text", PROTOS.values(), ids=PROTOS.keys())
def test_tensors_are_read_as_tensorflow_reads_them(text: Any) -> None:
    proto = text_format.Parse(text, tensor_pb2.TensorProto())
    expected = tf.io.parse_tensor(proto.SerializeToString(), tf.dtypes.as_dtype(proto.dtype)).numpy()
    read = decode(proto)
    assert read.shape == np.shape(expected)
    assert read.tolist() == np.asarray(expected).tolist()


UNREADABLE = {
    "dtype 0": "tensor_shape { dim { size: 1 } } float_val: 1",
    "negative dimension": "dtype: DT_FLOAT tensor_shape { dim { size: -1 } } float_val: 1",
    "short content": "dtype: DT_FLOAT tensor_shape { dim { size: 2 } } tensor_content: '1234'",
    "short packed strings": "dtype: DT_STRING tensor_shape { dim { size: 2 } } tensor_content: '\\001\\002ab'",
}


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_tensorflow_cannot_read_is_refused(text: Any) -> None:
    proto = text_format.Parse(text, tensor_pb2.TensorProto())
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.io.parse_tensor(proto.SerializeToString(), tf.dtypes.as_dtype(proto.dtype or 1))
    with pytest.raises(ValueError, match=r".+"):
        decode(proto)
