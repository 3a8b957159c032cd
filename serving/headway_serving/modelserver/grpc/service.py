"""TensorFlow Serving's PredictionService and ModelService over gRPC. They only translate."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, Protocol, TypeVar

import grpc
from google.protobuf.message import Message
from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc, prediction_service_pb2_grpc

from headway_serving.core import request_trace
from headway_serving.core.errors import without_frames
from headway_serving.core.request_trace import parse_traceparent
from headway_serving.modelserver.errors import StatusError, invalid_argument, text_for_client, unforeseen
from headway_serving.modelserver.inference import Inference
from headway_serving.modelserver.messages import ExamplesRequest, MetadataRequest, ModelRequest, PredictRequest
from headway_serving.modelserver.versions.server_core import ServerCore

logger = logging.getLogger(__name__)

_TRACE_KEYS = frozenset({"traceparent", "tracestate"})
_LONGEST_DEADLINE_SECONDS = 10 * 365 * 24 * 3600

M = TypeVar("M", bound=ModelRequest)
Q = TypeVar("Q")
R = TypeVar("R")
S = TypeVar("S")


class CallContext(Protocol):
    """What gRPC tells of a call, and how a call is ended; ``grpc.ServicerContext`` has it."""

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        """End the call with an error. Raises, always."""
        ...

    def time_remaining(self) -> float | None:
        """Seconds until the call's deadline; None without one."""
        ...

    def invocation_metadata(self) -> Iterable[tuple[str, str]]:
        """What the caller says beside the request."""
        ...

    def is_active(self) -> bool:
        """Whether somebody still waits for the answer."""
        ...

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Have a function called when the call ends; False if it has ended already."""
        ...


def _answers_with_status(method: Callable[[S, Q, CallContext], R]) -> Callable[[S, Q, CallContext], R]:
    """Let a servicer method raise StatusError; the call then ends with that code and text."""

    @functools.wraps(method)
    def answer(self: S, request: Q, context: CallContext) -> R:
        try:
            return method(self, request, context)
        except StatusError as error:
            # Its frames hold the request, and some of them the error: a cycle, with the tensors in it.
            abort(context, without_frames(error))
        except Exception as error:
            logger.exception("%s failed unexpectedly", method.__name__)
            abort(context, unforeseen(without_frames(error)))

    return answer


def abort(context: CallContext, error: StatusError) -> NoReturn:
    """End the call with ``error``, whose text is cut after 1024 characters."""
    context.abort(grpc.StatusCode[error.code.name], text_for_client(error))


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
    """Every method of the service; a call's deadline limits its run."""

    def __init__(self, inference: Inference, *, follows_traces: bool = False) -> None:
        """``follows_traces``: whether the callers' traces are looked for."""
        self._inference, self._follows_traces = inference, follows_traces

    @_answers_with_status
    def Predict(self, request: PredictRequest, context: CallContext) -> Message:  # noqa: N802
        """Run a signature on tensors."""
        return self._counted(self._inference.predict, "Predict", request, context)

    @_answers_with_status
    def Classify(self, request: ExamplesRequest, context: CallContext) -> Message:  # noqa: N802
        """Classify tf.Example messages."""
        return self._counted(self._inference.classify, "Classify", request, context)

    @_answers_with_status
    def Regress(self, request: ExamplesRequest, context: CallContext) -> Message:  # noqa: N802
        """Find one value for each of the tf.Example messages."""
        return self._counted(self._inference.regress, "Regress", request, context)

    @_answers_with_status
    def MultiInference(self, request: Any, context: CallContext) -> Message:  # noqa: N802
        """Run several signatures on the same tf.Example messages."""
        return self._inference.multi_inference(request, _timeout_ms(context))

    @_answers_with_status
    def GetModelMetadata(self, request: MetadataRequest, _context: CallContext) -> Message:  # noqa: N802
        """Tell the signatures of the version the request means."""
        return self._inference.metadata(request)

    def _counted(self, answer: Callable[[M, int | None], R], api: str, request: M, context: CallContext) -> R:
        started = time.perf_counter()
        error = None
        if self._follows_traces:
            said = {name: value for name, value in context.invocation_metadata() if name in _TRACE_KEYS}
            request_trace.begin(parse_traceparent(said.get("traceparent"), said.get("tracestate")))
        try:
            return answer(request, _timeout_ms(context))
        except StatusError as caught:
            error = caught
            raise
        except Exception as caught_otherwise:
            error = unforeseen(caught_otherwise)
            raise
        finally:
            self._inference.count_request(request.model_spec.name, api, "GRPC", started, error)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]
    """GetModelStatus and HandleReloadConfigRequest. ``wake`` makes a waiting reload look for its cancellation."""

    def __init__(self, core: ServerCore[Any], inference: Inference, wake: Callable[[], None]) -> None:
        self._core = core
        self._inference = inference
        self._wake = wake

    @_answers_with_status
    def GetModelStatus(self, request: ModelRequest, _context: CallContext) -> Message:  # noqa: N802
        """Tell the states of a model's versions, newest first."""
        return self._inference.status(request)

    @_answers_with_status
    def HandleReloadConfigRequest(self, request: Any, context: CallContext) -> Message:  # noqa: N802
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


def _timeout_ms(context: CallContext) -> int | None:
    """Return the milliseconds left for the call; None without a deadline, for which gRPC tells a far future."""
    remaining = context.time_remaining()
    return None if remaining is None or remaining > _LONGEST_DEADLINE_SECONDS else int(remaining * 1000)
