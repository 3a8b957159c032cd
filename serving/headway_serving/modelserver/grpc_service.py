"""The gRPC doors: TensorFlow Serving's PredictionService and ModelService. They only translate.

Methods of the official servicers that are not overridden answer UNIMPLEMENTED.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from headway_serving.modelserver.errors import StatusError, invalid_argument
from headway_serving.modelserver.predict import PredictOptions, run_predict
from headway_serving.modelserver.server_core import ServerCore
from headway_serving.modelserver.version_manager import VersionStatus

logger = logging.getLogger(__name__)

MAX_MESSAGE_CHARACTERS = 1024

_SIGNATURES = "signature_def"
_LONGEST_DEADLINE_SECONDS = 10 * 365 * 24 * 3600

R = TypeVar("R")


def _answers_with_status(method: Callable[[Any, Any, Any], R]) -> Callable[[Any, Any, Any], R]:
    """Let a servicer method raise StatusError; the call then ends with that code and text."""

    @functools.wraps(method)
    def answer(self: Any, request: Any, context: Any) -> R:
        try:
            return method(self, request, context)
        except StatusError as error:
            abort(context, error)

    return answer


def abort(context: Any, error: StatusError) -> NoReturn:
    """End the call with `error`, whose text is cut after 1024 characters."""
    message = error.message
    if len(message) > MAX_MESSAGE_CHARACTERS:
        message = f"{message[:MAX_MESSAGE_CHARACTERS]}...TRUNCATED"
    context.abort(grpc.StatusCode[error.code.name], message)
    raise AssertionError("unreachable: abort always raises")


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
    """Predict and GetModelMetadata."""

    def __init__(self, core: ServerCore[Any], options: PredictOptions) -> None:
        self._core = core
        self._options = options

    @_answers_with_status
    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Run a signature of the version the request means; the call's deadline limits the run."""
        _require_model_spec(request)
        timeout_ms = _timeout_ms(context)
        with self._core.acquire(request.model_spec) as handle:
            return run_predict(handle.servable, request, self._options, version=handle.number, timeout_ms=timeout_ms)

    @_answers_with_status
    def GetModelMetadata(self, request: Any, _context: Any) -> Any:  # noqa: N802
        """Tell the signatures of the version the request means."""
        _require_model_spec(request)
        if not request.metadata_field:
            raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != _SIGNATURES:
                raise invalid_argument(f"Metadata field {field} is not supported")
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        with self._core.acquire(request.model_spec) as handle:
            for key, signature in handle.servable.signatures.items():
                signatures.signature_def[key].CopyFrom(signature)
            response.model_spec.version.value = handle.number
        response.model_spec.name = request.model_spec.name
        response.metadata[_SIGNATURES].Pack(signatures)
        return response


class ModelService(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]
    """GetModelStatus and HandleReloadConfigRequest. `wake` makes a waiting reload look for its cancellation."""

    def __init__(self, core: ServerCore[Any], wake: Callable[[], None]) -> None:
        self._core = core
        self._wake = wake

    @_answers_with_status
    def GetModelStatus(self, request: Any, _context: Any) -> Any:  # noqa: N802
        """Tell the states of a model's versions, newest first. A version label in the request is not looked at."""
        _require_model_spec(request)
        spec = request.model_spec
        number = spec.version.value if spec.HasField("version") else None
        response = get_model_status_pb2.GetModelStatusResponse()
        for status in self._core.statuses(spec.name, number):
            _write_status(status, response.model_version_status.add())
        return response

    @_answers_with_status
    def HandleReloadConfigRequest(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Serve the models of the request and no others; returns when the new ones serve."""
        try:
            if request.config.WhichOneof("config") != "model_config_list":
                raise invalid_argument(
                    "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is "
                    "currently supported"
                )
            # Unlike TensorFlow Serving: a client that has gone must not keep a thread and the lock for ever.
            context.add_callback(self._wake)
            self._core.reload(request.config, give_up=lambda: not context.is_active())
        except StatusError as error:
            logger.error("ReloadConfig failed: %s", error.message)
            raise
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        return response


def _timeout_ms(context: Any) -> int | None:
    """Return the milliseconds left for the call; None without a deadline, for which gRPC tells a far future."""
    remaining = context.time_remaining()
    return None if remaining is None or remaining > _LONGEST_DEADLINE_SECONDS else int(remaining * 1000)


def _require_model_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")


def _write_status(status: VersionStatus, message: Any) -> None:
    message.version = status.number
    message.state = int(status.state)
    message.status.SetInParent()
    if status.error is not None:
        message.status.error_code = int(status.error.code)
        message.status.error_message = status.error.message
