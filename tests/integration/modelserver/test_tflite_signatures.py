"""TFLite files with TensorFlow Serving's own signatures in their metadata, and files without any signature."""

import importlib
import importlib.util
import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2

from tests.integration.modelserver.model_server_process import ModelServerProcess
from tests.support.ports import free_port

if importlib.util.find_spec("ai_edge_litert") is None:
    pytest.skip("ai-edge-litert is not installed", allow_module_level=True)


def module(name: str) -> Any:
    """A package that has no types, and that is not installed everywhere."""
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def plain() -> bytes:
    """A TFLite model without signatures: y = 2 x + 1."""
    x = tf.keras.Input([2], name="x")
    converter = tf.lite.TFLiteConverter.from_keras_model(tf.keras.Model(x, tf.keras.layers.Rescaling(2.0, 1.0)(x)))
    return without_signatures(converter.convert())


def without_signatures(content: bytes) -> bytes:
    def remove(model: Any) -> None:
        model.signatureDefs = []

    return changed(content, remove)


def changed(content: bytes, change: Callable[[Any], None]) -> bytes:
    """The file with its model changed."""
    flatbuffers, schema = module("flatbuffers"), module("ai_edge_litert.schema_py_generated")

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    change(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def with_metadata(content: bytes, signatures: dict[str, bytes]) -> bytes:
    """The file with serialized SignatureDef messages in its metadata, as TensorFlow Serving's tools write them."""
    flexbuffers, schema = module("flatbuffers.flexbuffers"), module("ai_edge_litert.schema_py_generated")

    written = flexbuffers.Builder()
    with written.Map():
        for key, value in signatures.items():
            written.Key(key)
            # A string's bytes: its own method takes texts alone.
            written._WriteBlob(value, append_zero=True, type_=flexbuffers.Type.STRING)

    def add(model: Any) -> None:
        buffer, metadata = schema.BufferT(), schema.MetadataT()
        buffer.data = np.frombuffer(bytes(written.Finish()), np.uint8)
        metadata.name, metadata.buffer = "signature_defs_metadata", len(model.buffers)
        model.buffers.append(buffer)
        model.metadata = [*(model.metadata or []), metadata]

    return changed(content, add)


def signature(inputs: dict[str, str], outputs: dict[str, str]) -> bytes:
    message = get_model_metadata_pb2.SignatureDefMap().signature_def["any"]
    message.method_name = "tensorflow/serving/predict"
    for alias, name in inputs.items():
        message.inputs[alias].name = name
    for alias, name in outputs.items():
        message.outputs[alias].name = name
    return bytes(message.SerializeToString())


def names(content: bytes) -> tuple[str, str]:
    """The names of the one input and the one output."""
    interpreter = module("ai_edge_litert.interpreter").Interpreter(model_content=content)
    return interpreter.get_input_details()[0]["name"], interpreter.get_output_details()[0]["name"]


def serve(folder: Path, content: bytes, *flags: str) -> ModelServerProcess:
    (folder / "1").mkdir()
    (folder / "1" / "model.tflite").write_bytes(content)
    return ModelServerProcess(
        "--prefer_tflite_model", f"--model_base_path={folder}", "--max_num_load_retries=0", *flags
    )


def test_a_signature_in_the_metadata_is_served_with_its_names(plain: bytes, tmp_path: Path) -> None:
    x, y = names(plain)
    port = free_port()
    content = with_metadata(plain, {"serving_default": signature({"image": f"{x}:0"}, {"score": y})})
    with serve(tmp_path, content, f"--rest_api_port={port}") as server:
        server.wait_until_ready()
        for rows in (1, 3):
            found = server.stubs.predict("default", {"image": np.ones([rows, 2], np.float32)})
            assert found["score"].tolist() == [[3, 3]] * rows
        address = f"http://127.0.0.1:{port}/v1/models/default/metadata"
        with urllib.request.urlopen(address, timeout=60) as reply:
            described = json.load(reply)["metadata"]["signature_def"]["signature_def"]["serving_default"]
        assert described["inputs"]["image"]["dtype"] == "DT_FLOAT"
        assert described["outputs"]["score"]["name"] == y


def test_a_file_without_a_signature_gets_one_of_its_own_names(plain: bytes, tmp_path: Path) -> None:
    x, y = names(plain)
    with serve(tmp_path, plain) as server:
        server.wait_until_ready()
        found = server.stubs.predict("default", {x: np.zeros([2, 2], np.float32)})
        assert found[y].tolist() == [[1, 1]] * 2
        assert "No signature def found in TFLite model. Generating one." in server.stderr


@pytest.mark.parametrize("damaged", ["bytes", "names"])
def test_a_signature_that_cannot_be_read_fails_the_load(plain: bytes, tmp_path: Path, damaged: str) -> None:
    stored = b"\xff\xff" if damaged == "bytes" else signature({"image": "nothing:0"}, {})
    with serve(tmp_path, with_metadata(plain, {"serving_default": stored})) as server:
        assert server.exit_status() == 255
        assert "INVALID_ARGUMENT: Invalid SignatureDefs found in TfLite model: " in server.stdout
