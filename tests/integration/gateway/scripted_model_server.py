"""A gRPC model server of TensorFlow Serving's official messages and services that follows a script."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import grpc
import numpy as np
from numpy.typing import NDArray
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from headway_serving.modelserver.errors import Code, StatusError
from headway_serving.modelserver.local.server import LocalServer
from tests.fakes.scripted_models import SLOW_SECONDS, Fault, ScriptedModels, ScriptedVersion, scripted_answer


class ScriptedPredictions(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers ``serving_default`` and ``manifest``; with ``as_content`` in ``tensor_content``, else in typed fields."""

    def __init__(self, models: ScriptedModels, *, as_content: bool) -> None:
        self._models = models
        self._as_content = as_content

    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
        version = self._version(request.model_spec, context)
        if version.fault is Fault.HANGS:
            _wait_until_given_up(context)
        elif version.fault is Fault.SLOW:
            time.sleep(SLOW_SECONDS)
        of_rows = request.model_spec.signature_name != "manifest"
        if version.fault is Fault.REFUSES or (version.fault is Fault.REFUSES_ROWS and of_rows):
            context.abort(grpc.StatusCode.INTERNAL, "refused")
        response = predict_pb2.PredictResponse()
        response.model_spec.CopyFrom(request.model_spec)
        if request.model_spec.signature_name == "manifest":
            _expect_shape(request.inputs["request"], [1], types_pb2.DT_STRING, context)
            if version.fault is not Fault.MALFORMED:
                self._put_text(response.outputs["manifest"], version.manifest)
        else:
            signature = request.model_spec.signature_name
            answer = scripted_answer(_rows(request.inputs, signature, context), version, signature)
            name = "features" if signature == "features" else "scores"
            if version.familiar and name == "scores":
                self._put_floats(response.outputs["familiarity"], answer[:, -1])
                answer = answer[:, :-1]
            self._put_floats(response.outputs[name], answer[1:] if version.fault is Fault.MALFORMED else answer)
        return response

    def _version(self, spec: Any, context: Any) -> ScriptedVersion:
        version = self._models.get(spec.name, {}).get(spec.version.value)
        if version is None or version.state != "AVAILABLE":
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Specific({spec.name})")
        assert version is not None  # abort raises
        return version

    def _put_text(self, tensor: Any, text: bytes) -> None:
        tensor.dtype = types_pb2.DT_STRING
        tensor.tensor_shape.dim.add(size=1)
        if self._as_content:
            tensor.tensor_content = _varint(len(text)) + text
        else:
            tensor.string_val.append(text)

    def _put_floats(self, tensor: Any, values: NDArray[np.float32]) -> None:
        tensor.dtype = types_pb2.DT_FLOAT
        for size in values.shape:
            tensor.tensor_shape.dim.add(size=size)
        if self._as_content:
            tensor.tensor_content = values.astype("<f4").tobytes()
        else:
            tensor.float_val.extend(values.ravel().tolist())


class ScriptedStates(model_service_pb2_grpc.ModelServiceServicer):
    """Tells the scripted states, newest version first as TensorFlow Serving does."""

    def __init__(self, models: ScriptedModels) -> None:
        self._models = models

    def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        versions = self._models.get(request.model_spec.name)
        if versions is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {request.model_spec.name}")
        assert versions is not None  # abort raises
        response = get_model_status_pb2.GetModelStatusResponse()
        states = get_model_status_pb2.ModelVersionStatus.State
        for number in sorted(versions, reverse=True):
            status = response.model_version_status.add(version=number, state=states.Value(versions[number].state))
            if versions[number].failure:
                status.status.error_code, status.status.error_message = 5, versions[number].failure
        return response


@contextmanager
def serving(models: ScriptedModels, *, as_content: bool, target: str = "127.0.0.1:0") -> Iterator[tuple[str, Any]]:
    """Give the target (``127.0.0.1:PORT``) of a running server, and the server."""
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        ScriptedPredictions(models, as_content=as_content), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ScriptedStates(models), server)
    port = server.add_insecure_port(target)
    server.start()
    try:
        yield f"127.0.0.1:{port}", server
    finally:
        server.stop(grace=None).wait()


class ScriptedInference:
    """The same predictions for the server on a local socket."""

    def __init__(self, models: ScriptedModels) -> None:
        self._predictions = ScriptedPredictions(models, as_content=True)

    def predict(self, request: Any, timeout_ms: int | None) -> Any:
        return self._predictions.Predict(request, _LocalCall(timeout_ms))

    def count_request(self, *_: Any) -> None:
        pass


class _LocalCall:
    def __init__(self, timeout_ms: int | None) -> None:
        self._seconds = (timeout_ms or 30_000) / 1000

    def abort(self, code: grpc.StatusCode, text: str) -> NoReturn:
        raise StatusError(Code[code.name], text)

    def add_callback(self, callback: Callable[[], None]) -> bool:
        threading.Timer(self._seconds, callback).start()
        return True


@contextmanager
def serving_locally(models: ScriptedModels, path: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """Give the target of a server that answers on the socket at ``path`` too, and how to end both."""
    with serving(models, as_content=True) as (target, server):
        local = LocalServer(path, ScriptedInference(models))  # type: ignore[arg-type]  # two of its methods are asked
        local.start()

        def stop() -> None:
            local.refuse()
            local.wait_until_idle(0.0)
            server.stop(grace=None).wait()

        yield target, stop
        stop()


def _rows(inputs: Any, signature: str, context: Any) -> NDArray[Any]:
    takes_features = signature == "from_features"
    tensor: tensor_pb2.TensorProto = inputs["features" if takes_features else "images"]
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    _expect_shape(tensor, shape, types_pb2.DT_FLOAT if takes_features else types_pb2.DT_UINT8, context)
    return np.frombuffer(tensor.tensor_content, "<f4" if takes_features else np.uint8).reshape(shape)


def _expect_shape(tensor: tensor_pb2.TensorProto, shape: list[int], dtype: int, context: Any) -> None:
    found = [dim.size for dim in tensor.tensor_shape.dim]
    if found != shape or tensor.dtype != dtype:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"tensor of shape {found} and dtype {tensor.dtype}")


def _wait_until_given_up(context: Any) -> None:
    given_up = threading.Event()
    if context.add_callback(given_up.set):
        given_up.wait(30)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])
