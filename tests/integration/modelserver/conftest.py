"""Tiny models on disk and one server that most tests share."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorflow_serving.apis import prediction_log_pb2

from tests.integration.modelserver import tiny_models
from tests.integration.modelserver.model_server_process import ModelServerProcess
from tests.integration.modelserver.repository_files import HALF, config_list, copy_tree


@pytest.fixture(scope="session")
def saved_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SavedModels to copy or link: half_plus_1 ... half_plus_3 (offset = number), picture, spin, and broken ones."""
    root = tmp_path_factory.mktemp("saved_models")
    for offset in (1, 2, 3):
        tiny_models.save_half_plus(root / f"half_plus_{offset}", offset)
    tiny_models.save_picture(root / "picture")
    tiny_models.save_spin(root / "spin")
    return root


@pytest.fixture(scope="session")
def repository(saved_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base paths: half (1, 2), picture (1), defaults (1), and bad_* whose version 1 cannot be served."""
    root = tmp_path_factory.mktemp("repository")

    def publish(source: str, model: str, version: int) -> Path:
        (root / model).mkdir(exist_ok=True)
        copy_tree(saved_models / source, root / model / str(version))
        return root / model / str(version)

    publish("half_plus_1", "half", 1)
    publish("half_plus_2", "half", 2)
    tiny_models.write_warmup(
        publish("picture", "picture", 1), [tiny_models.predict_record("images", np.ones([2, 8, 8, 1], np.uint8))]
    )
    tiny_models.edit_signatures(publish("half_plus_1", "defaults", 1), give_b_a_default)
    (root / "bad_empty" / "1").mkdir(parents=True)
    (publish("half_plus_1", "bad_graph", 1) / "saved_model.pb").write_bytes(b"no protocol message")
    for file in (publish("half_plus_1", "bad_variables", 1) / "variables").iterdir():
        file.write_bytes(b"")
    tiny_models.write_warmup(
        publish("picture", "bad_warmup", 1), [tiny_models.predict_record("images", np.ones([8, 8], np.uint8))]
    )
    session_run = prediction_log_pb2.PredictionLog()
    session_run.session_run_log.SetInParent()
    tiny_models.write_warmup(publish("half_plus_1", "bad_warmup_kind", 1), [session_run.SerializeToString()])
    tiny_models.write_warmup(publish("half_plus_1", "bad_warmup_record", 1), [b"\xff\xff"])
    not_records = publish("half_plus_1", "bad_warmup_file", 1) / "assets.extra" / "tf_serving_warmup_requests"
    not_records.parent.mkdir()
    not_records.write_bytes(b"these bytes are no TFRecord file")
    return root


def give_b_a_default(signatures: Any) -> None:
    default = signatures["add"].defaults["b"]
    default.dtype = 1
    default.tensor_shape.SetInParent()
    default.float_val.append(10.0)


@pytest.fixture(scope="session")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServerProcess]:
    """A server of `half` (both versions), `picture` and `defaults`; failed loads are not retried."""
    config = tmp_path_factory.mktemp("config") / "models.config"
    config.write_text(config_list(repository, HALF, "picture", "defaults"))
    with ModelServerProcess(f"--model_config_file={config}", "--max_num_load_retries=0") as running:
        yield running.wait_until_ready()
