"""TensorFlow Serving's text files: what is read, and what is said of a text that is none."""

from pathlib import Path
from typing import Any

import pytest
from tensorflow_serving.config import model_server_config_pb2

from headway_serving.modelserver.batching.parameters import read_batching_parameters
from headway_serving.modelserver.errors import Code, StatusError
from headway_serving.modelserver.grpc.tls import server_credentials
from headway_serving.modelserver.process import text_config
from headway_serving.modelserver.process.monitoring import read_metrics_path


def read_models(path: Path) -> Any:
    return text_config.read(path, model_server_config_pb2.ModelServerConfig())


@pytest.mark.parametrize(
    ("read", "content", "said"),
    [
        (
            read_models,
            b'model_config_list {\n  config { name: "m" bse_path: "/m" }\n}',
            'tensorflow.serving.ModelServerConfig: 2:22: Message type "tensorflow.serving.ModelConfig" has no field '
            'named "bse_path".',
        ),
        (read_models, b"model_config_list {", 'tensorflow.serving.ModelServerConfig: 1:19: Expected "}".'),
        (
            read_models,
            b"model_config_list\n{ # \xff\n}",
            "tensorflow.serving.ModelServerConfig: 2:5: The text is not UTF-8.",
        ),
        (
            read_batching_parameters,
            b"max_batch_size: 8",
            "tensorflow.serving.BatchingParameters: 1:",
        ),
        (
            read_metrics_path,
            b"prometheus_config { enabled: true }",
            'tensorflow.serving.MonitoringConfig: 1:21: Message type "',
        ),
        (server_credentials, b"server_kye: ''", "tensorflow.serving.SSLConfig: 1:1: Message type "),
    ],
    ids=["misspelt", "open", "no_utf_8", "batching", "monitoring", "tls"],
)
def test_a_text_that_cannot_be_parsed_is_told_with_its_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, read: Any, content: bytes, said: str
) -> None:
    path = tmp_path / "text.config"
    path.write_bytes(content)
    with pytest.raises(StatusError) as caught:
        read(path)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.message == f"Invalid protobuf file: '{path}'"
    (record,) = caplog.records
    assert record.message.startswith(f"Error parsing text-format {said}")


def test_a_file_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(StatusError, match="No such file") as caught:
        read_models(tmp_path / "nothing.config")
    assert caught.value.code is Code.NOT_FOUND
