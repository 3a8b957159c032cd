"""Section 3, table 3.5: ways to save a Keras 3 model, and which of them a Session can serve."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.integration.modelserver.conformance.conftest import StartServer
from tests.integration.modelserver.conformance.server_under_test import ServerUnderTest
from tests.integration.modelserver.model_server_process import refusal
from tests.integration.modelserver.repository_files import config_list

IMAGES = tf.TensorSpec([None, 4], tf.float32, name="images")


def build() -> "tf.keras.Model":
    return tf.keras.Sequential([tf.keras.layers.Input([4]), tf.keras.layers.Dense(2, kernel_initializer="ones")])


def model_export(directory: Path) -> None:
    build().export(directory, verbose=False)


def export_archive(directory: Path) -> None:
    model = build()
    archive = tf.keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(name="serving_default", fn=model.call, input_signature=[IMAGES])
    archive.write_out(directory, verbose=False)


def module_that_lists_the_variables(directory: Path) -> None:
    model = build()
    module = tf.Module()
    module.listed = [variable.value for variable in model.variables]
    module.call = tf.function(lambda images: {"scores": model(images)}, input_signature=[IMAGES])
    tf.saved_model.save(module, str(directory), signatures={"serving_default": module.call})


def saved_model_save(directory: Path) -> None:
    model = build()
    call = tf.function(lambda images: {"scores": model(images)}, input_signature=[IMAGES])
    tf.saved_model.save(model, str(directory), signatures={"serving_default": call})


def module_holding_the_model(directory: Path) -> None:
    module = tf.Module()
    module.model = build()
    module.call = tf.function(lambda images: {"scores": module.model(images)}, input_signature=[IMAGES])
    tf.saved_model.save(module, str(directory), signatures={"serving_default": module.call})


SERVED = [model_export, export_archive, module_that_lists_the_variables]
NOT_SERVED = [saved_model_save, module_holding_the_model]


@pytest.fixture(scope="module")
def repository_of_keras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("keras")
    for save in (*SERVED, *NOT_SERVED):
        (root / save.__name__).mkdir()
        save(root / save.__name__ / "1")
    return root


def predict(server: ServerUnderTest, save: Callable[[Path], None]) -> np.ndarray:
    (alias,) = _inputs(server, save.__name__)
    (scores,) = server.stubs.predict(save.__name__, {alias: np.ones([1, 4], np.float32)}).values()
    return scores


def _inputs(server: ServerUnderTest, name: str) -> list[str]:
    reply = server.http("GET", f"/v1/models/{name}/metadata").json
    return list(reply["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"])


def test_3_5_keras_models_as_they_were_written(start: StartServer, repository_of_keras: Path, tmp_path: Path) -> None:
    config = tmp_path / "models.config"
    config.write_text(config_list(repository_of_keras, *(save.__name__ for save in (*SERVED, *NOT_SERVED))))
    server = start(f"--model_config_file={config}").wait_until_ready()
    for save in SERVED:
        assert predict(server, save).tolist() == [[4.0, 4.0]], save.__name__
    for save in NOT_SERVED:
        # The load succeeds: only a request, or a warm-up record, shows it.
        assert server.stubs.states(save.__name__) == [(1, "AVAILABLE")]
        refused = refusal(predict, server, save)
        assert refused.startswith("FAILED_PRECONDITION: Could not find variable "), save.__name__
        assert "This could mean that the variable has been deleted." in refused
