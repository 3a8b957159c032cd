"""The model server as its users meet it: a process, and TensorFlow Serving's official client."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from headway_serving.modelserver.apis.tensor_codec import decode, encode

COMMAND = [sys.executable, "-m", "headway_serving.modelserver"]
START_SECONDS = 90


def predict_request(name: str, inputs: dict[str, Any], **spec: Any) -> Any:
    """Return a PredictRequest; `spec` may hold version, label and signature."""
    request = predict_pb2.PredictRequest()
    write_spec(request.model_spec, name, **spec)
    for alias, value in inputs.items():
        encode(np.asarray(value), request.inputs[alias], as_content=True)
    return request


def write_spec(
    message: Any, name: str, version: int | None = None, label: str | None = None, signature: str = ""
) -> None:
    message.name = name
    message.signature_name = signature
    if version is not None:
        message.version.value = version
    if label is not None:
        message.version_label = label


class Stubs:
    """The official stubs on one channel, and short ways to use them. Every call waits for the server."""

    def __init__(self, target: str) -> None:
        unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self.channel = grpc.insecure_channel(target, unlimited)
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def predict(self, name: str, inputs: dict[str, Any], **spec: Any) -> dict[str, Any]:
        """Return the outputs as arrays."""
        response = self.prediction.Predict(predict_request(name, inputs, **spec))
        return {alias: decode(tensor) for alias, tensor in response.outputs.items()}

    def metadata(self, name: str, *fields: str, **spec: Any) -> Any:
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
        write_spec(request.model_spec, name, **spec)
        return self.prediction.GetModelMetadata(request)

    def states(self, name: str, **spec: Any) -> list[tuple[int, str]]:
        """Return (version, name of its state) in the order of the reply."""
        request = get_model_status_pb2.GetModelStatusRequest()
        write_spec(request.model_spec, name, **spec)
        statuses = self.model.GetModelStatus(request).model_version_status
        state_name = get_model_status_pb2.ModelVersionStatus.State.Name
        return [(status.version, state_name(status.state)) for status in statuses]

    def reload(self, text: str, timeout: float = 60) -> Any:
        request = model_management_pb2.ReloadConfigRequest()
        text_format.Parse(text, request.config)
        return self.model.HandleReloadConfigRequest(request, timeout=timeout)


class ModelServerProcess:
    """A running server on a Unix socket (and on `port` if given); stdout and stderr go to files."""

    def __init__(self, *flags: str, port: int = 0, command: Sequence[str] = COMMAND) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="hw-ms-")
        folder = Path(self._folder.name)
        socket = folder / "grpc.sock"
        self.target = f"unix:{socket}"
        self._out, self._err = folder / "out", folder / "err"
        arguments = [*command, f"--port={port}", f"--grpc_socket_path={socket}", *flags]
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                arguments, stdout=out, stderr=err, env=os.environ | {"PYTHONUNBUFFERED": "1"}
            )
        self.stubs = Stubs(self.target)

    @property
    def stdout(self) -> str:
        return self._out.read_text()

    @property
    def stderr(self) -> str:
        return self._err.read_text()

    def wait_until_ready(self) -> "ModelServerProcess":
        self.wait_for_log("Running gRPC ModelServer at UNIX socket")
        return self

    def wait_for_log(self, text: str) -> None:
        end = time.monotonic() + START_SECONDS
        while text not in self.stderr:
            assert self.process.poll() is None, f"the server ended:\n{self.stdout}{self.stderr}"
            assert time.monotonic() < end, f"no {text!r} in:\n{self.stderr}"
            time.sleep(0.02)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def exit_status(self) -> int:
        """Wait for the end of the process."""
        return self.process.wait(timeout=START_SECONDS)

    def close(self) -> None:
        self.stubs.channel.close()
        self.process.kill()
        self.process.wait()
        self._folder.cleanup()

    def __enter__(self) -> "ModelServerProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def refusal(call: Any, *arguments: Any, **keywords: Any) -> str:
    """Return `CODE: text` of the error a call ends with."""
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **keywords)
    return f"{caught.value.code().name}: {caught.value.details()}"
