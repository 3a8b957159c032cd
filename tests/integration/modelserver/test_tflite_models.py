"""`--prefer_tflite_model`: a version's `model.tflite` is served instead of its SavedModel."""

import importlib.util
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.integration.modelserver.model_server_process import ModelServerProcess, refusal
from tests.integration.modelserver.repository_files import copy_tree

LITERT = importlib.util.find_spec("ai_edge_litert") is not None


@pytest.fixture(scope="module")
def base_path(saved_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1 holds half_plus_1 as a SavedModel and half_plus_2, without strings, as a TFLite model."""
    root = tmp_path_factory.mktemp("lite")
    copy_tree(saved_models / "half_plus_1", root / "1")
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(saved_models / "half_plus_2"), signature_keys=["serving_default", "add"]
    )
    (root / "1" / "model.tflite").write_bytes(converter.convert())
    return root


@pytest.fixture(scope="module", params=[[], ["--enable_batching"]], ids=["one_by_one", "batched"])
def server(request: pytest.FixtureRequest, base_path: Path) -> Iterator[ModelServerProcess]:
    if not LITERT:
        pytest.skip("ai-edge-litert is not installed")
    flags = ["--prefer_tflite_model", "--num_tflite_pools=2", f"--model_base_path={base_path}", *request.param]
    with ModelServerProcess(*flags) as running:
        yield running.wait_until_ready()


def test_the_tflite_model_answers_for_any_number_of_rows(server: ModelServerProcess) -> None:
    for rows in (1, 3, 2):
        x = np.arange(rows, dtype=np.float32).reshape(-1, 1)
        assert server.stubs.predict("default", {"x": x})["y"].tolist() == (x / 2 + 2).tolist()


def test_every_signature_is_served(server: ModelServerProcess) -> None:
    inputs = {"a": np.array([5, 7], np.float32), "b": np.array([1, 2], np.float32)}
    outputs = server.stubs.predict("default", inputs, signature="add")
    assert {name: value.tolist() for name, value in outputs.items()} == {"sum": [6, 9], "difference": [4, 5]}


def test_the_metadata_tells_names_types_and_shapes(server: ModelServerProcess) -> None:
    reply = server.stubs.metadata("default", "signature_def")
    text = reply.metadata["signature_def"].value
    assert b"serving_default_x:0" in text
    assert b"tensorflow/serving/predict" in text


def test_a_wrong_dtype_is_refused_and_harms_nobody(server: ModelServerProcess) -> None:
    refused = refusal(server.stubs.predict, "default", {"x": np.array([[1]], np.int64)})
    assert refused.startswith("INVALID_ARGUMENT: Cannot set tensor: Got value of type INT64 but expected type FLOAT32")
    assert server.stubs.predict("default", {"x": np.array([[4]], np.float32)})["y"].tolist() == [[4]]


def test_requests_in_parallel_get_their_own_answers(server: ModelServerProcess) -> None:
    def ask(value: int) -> float:
        return float(server.stubs.predict("default", {"x": np.array([[value]], np.float32)})["y"][0, 0])

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, range(200))) == [value / 2 + 2 for value in range(200)]


@pytest.mark.skipif(not LITERT, reason="ai-edge-litert is not installed")
def test_a_version_without_a_tflite_model_is_served_as_a_saved_model(saved_models: Path, tmp_path: Path) -> None:
    copy_tree(saved_models / "half_plus_3", tmp_path / "1")
    with ModelServerProcess("--prefer_tflite_model", f"--model_base_path={tmp_path}") as running:
        running.wait_until_ready()
        assert running.stubs.predict("default", {"x": np.array([[4]], np.float32)})["y"].tolist() == [[5]]


@pytest.mark.skipif(not LITERT, reason="ai-edge-litert is not installed")
@pytest.mark.parametrize("content", [b"", b"this is no TFLite model"])
def test_a_damaged_tflite_model_does_not_load(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.tflite").write_bytes(content)
    flags = ["--prefer_tflite_model", f"--model_base_path={tmp_path}", "--max_num_load_retries=0"]
    with ModelServerProcess(*flags) as running:
        assert running.exit_status() == 255
        assert "due to error: INVALID_ARGUMENT: Cannot build FlatBufferModel from " in running.stdout


@pytest.mark.skipif(LITERT, reason="ai-edge-litert is installed")
def test_without_litert_the_flag_says_what_to_install(tmp_path: Path) -> None:
    with ModelServerProcess("--prefer_tflite_model", f"--model_base_path={tmp_path}") as running:
        assert running.exit_status() == 255
        assert running.stdout == (
            "Failed to start server. Error: UNIMPLEMENTED: --prefer_tflite_model needs LiteRT. Install it with: pip "
            "install ai-edge-litert\n"
        )
