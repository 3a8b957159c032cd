"""The gateway's model server: TensorFlow Serving's gRPC protocol behind the core's protocols."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
from numpy.typing import NDArray

from headway_serving.adapters.model_server.calls import ModelServerCall, Observe, nobody
from headway_serving.adapters.model_server.local_socket import LocalCalls
from headway_serving.adapters.model_server.version_watch import VersionStatus
from headway_serving.concurrency.event_loop import running_loop, wait_for
from headway_serving.core import request_trace
from headway_serving.core.errors import (
    DeadlineExceeded,
    IncompatibleModel,
    ModelUnavailable,
    PredictionFailed,
    ServingError,
    VersionNotFound,
)
from headway_serving.core.routing import Route
from headway_serving.wire import codec, rpc
from headway_serving.wire import messages_pb2 as messages

_STATES = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}
_END = 50

# The one table of foreign errors. NOT_FOUND is not in it: its meaning depends on who chose the version.
_ERRORS: Mapping[grpc.StatusCode, type[ServingError]] = {
    grpc.StatusCode.UNAVAILABLE: ModelUnavailable,
    grpc.StatusCode.CANCELLED: ModelUnavailable,
    grpc.StatusCode.ABORTED: ModelUnavailable,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ModelUnavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.INVALID_ARGUMENT: PredictionFailed,
    grpc.StatusCode.FAILED_PRECONDITION: PredictionFailed,
    grpc.StatusCode.OUT_OF_RANGE: PredictionFailed,
    grpc.StatusCode.ALREADY_EXISTS: PredictionFailed,
    grpc.StatusCode.UNIMPLEMENTED: PredictionFailed,
    grpc.StatusCode.INTERNAL: PredictionFailed,
    grpc.StatusCode.DATA_LOSS: PredictionFailed,
    grpc.StatusCode.UNKNOWN: PredictionFailed,
    grpc.StatusCode.PERMISSION_DENIED: PredictionFailed,
    grpc.StatusCode.UNAUTHENTICATED: PredictionFailed,
}


_STATUSES: Mapping[int, grpc.StatusCode] = {status.value[0]: status for status in grpc.StatusCode}
_TOO_LATE = "the model server did not answer within the request's time"
_PREDICT, _STATUS = attrgetter("predict"), attrgetter("get_model_status")

_LEAST_SECONDS = 0.001

Metadata = tuple[tuple[str, str], ...] | None

_LOOP_GRACE_SECONDS = 1.0
"""How much longer than the call itself a thread waits for the loop: one that stops meanwhile never answers."""


class _LocalError(grpc.RpcError):  # type: ignore[misc]  # grpc ships no types
    """What gRPC would have raised, for a call that went over the local socket."""

    def __init__(self, status: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self._status, self._text = status, text

    def code(self) -> grpc.StatusCode:
        return self._status

    def details(self) -> str:
        return self._text


class TfServingPredictor:
    """Predictions, manifests and states from one model server, or from the replicas behind one name.

    Safe for use by many threads and on one event loop, whose channel then serves all. A channel connects when it is
    first used, and again after a loss.
    """

    def __init__(self, target: str, local_socket: Path | None = None, observe: Observe = nobody) -> None:
        """``local_socket``: where the same server answers Predict on this machine; gRPC is used where it does not.

        ``observe`` is shown every call that has ended.
        """
        self._target, self._local_socket, self._observe = target, local_socket, observe
        self._channel = rpc.open_channel(target)
        self._stub = rpc.ModelServerStub(self._channel)
        # A loop's channel is made on the loop, by open_on_loop or with its first call.
        self._on_loop: tuple[asyncio.AbstractEventLoop, rpc.ModelServerStub] | None = None
        self._local: LocalCalls | None = None

    async def open_on_loop(self) -> None:
        """Open the running loop's channel now: gRPC does not survive it if no file descriptor is left later."""
        self._stub_on(asyncio.get_running_loop())

    def predict(
        self, route: Route, rows: NDArray[Any], timeout: float, signature: str = "serving_default"
    ) -> NDArray[np.float32]:
        """N rows -> ``float32[N, K]`` with one Predict of ``signature``. Raises a ``ServingError``."""
        request = codec.rows_request(route.model, route.version, signature, rows)
        response = self._call(request, route, timeout)
        try:
            return codec.rows_of(response, signature, len(rows))
        except codec.MalformedAnswer as error:
            raise IncompatibleModel(f"{route.model} version {route.version}: {error}") from error

    def manifest_json(self, route: Route, timeout: float) -> bytes:
        """The version's manifest as it is inside the SavedModel. Raises a ``ServingError``."""
        request = codec.manifest_request(route.model, route.version)
        try:
            return codec.manifest_of(self._call(request, route, timeout))
        except (codec.MalformedAnswer, PredictionFailed) as error:
            raise IncompatibleModel(
                f"{route.model} version {route.version} does not describe itself: {error}; export it with Headway"
            ) from error

    def version_states(self, model: str, timeout: float) -> dict[int, str]:
        """State of each version the model server knows, newest first; empty for a model it does not know."""
        return {item.version: _STATES.get(item.state, "UNKNOWN") for item in self._statuses(model, timeout)}

    def load_failures(self, model: str, timeout: float) -> dict[int, str]:
        """Why versions could not be loaded, in the model server's words, by version. Raises a ``ServingError``."""
        return {
            item.version: item.status.error_message or f"error {item.status.error_code}"
            for item in self._statuses(model, timeout)
            if item.state == _END and item.status.error_code
        }

    def version_statuses(self, model: str, timeout: float) -> list[VersionStatus]:
        """Every version that the model server knows, with why it could not be loaded. Raises a ``ServingError``."""
        return [
            VersionStatus(
                item.version,
                _STATES.get(item.state, "UNKNOWN"),
                _name_of(item.status.error_code) if item.state == _END and item.status.error_code else None,
            )
            for item in self._statuses(model, timeout)
        ]

    def _statuses(self, model: str, timeout: float) -> Sequence[Any]:
        request = messages.GetModelStatusRequest()
        request.model_spec.name = model
        try:
            found: Sequence[Any] = self._ask(_STATUS, request, timeout).model_version_status
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return ()
            raise self._translated(error) from error
        return found

    def close(self) -> None:
        """Close the channel; calls in flight are cancelled."""
        self._channel.close()
        if self._local is not None:
            self._local.close_soon()

    def _call(self, request: Any, route: Route, timeout: float) -> Any:
        """Make one Predict."""
        try:
            return self._ask(_PREDICT, request, timeout)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise self._translated(error) from error
            if route.reason == "version":
                raise VersionNotFound(f"model {route.model!r} has no version {route.version} loaded") from error
            raise ModelUnavailable(
                f"version {route.version} of model {route.model!r} gets traffic but is not loaded"
            ) from error

    def _ask(self, method: Callable[[rpc.ModelServerStub], Any], request: Any, timeout: float) -> Any:
        """Make one call. On an event loop, the loop serves others meanwhile. Raises ``grpc.RpcError``."""
        here, call = running_loop(), _Call(method is _PREDICT, request.model_spec, self._observe)
        if here is not None and call.is_predict and self._local_socket is not None:
            began = time.monotonic()
            with call.by("local"):
                answer = self._ask_locally(here, self._local_socket, request, timeout, call)
            if answer is not None:
                return answer
            timeout = max(_LEAST_SECONDS, timeout - (time.monotonic() - began))
        with call.by("grpc"):
            return self._ask_by_grpc(here, method, request, timeout, call.metadata())

    def _ask_by_grpc(
        self,
        here: asyncio.AbstractEventLoop | None,
        method: Callable[[rpc.ModelServerStub], Any],
        request: Any,
        timeout: float,
        metadata: Metadata,
    ) -> Any:
        if here is not None:
            return wait_for(method(self._stub_on(here))(request, timeout=timeout, metadata=metadata))
        if self._on_loop is None or not self._on_loop[0].is_running():
            return method(self._stub)(request, timeout=timeout, metadata=metadata)
        loop, stub = self._on_loop

        async def call() -> Any:
            return await method(stub)(request, timeout=timeout, metadata=metadata)

        # Not over a channel of its own, which would find a model server again at another moment: what is said to be
        # ready in one thread has to be ready for all.
        asked = asyncio.run_coroutine_threadsafe(call(), loop)
        try:
            return asked.result(timeout + _LOOP_GRACE_SECONDS)
        except TimeoutError:
            raise DeadlineExceeded(_TOO_LATE) from None

    def _ask_locally(
        self, loop: asyncio.AbstractEventLoop, path: Path, request: Any, timeout: float, call: "_Call"
    ) -> messages.PredictResponse | None:
        """Make one Predict over the socket; None if the server is away there: gRPC finds it again. Raises as gRPC."""
        if self._local is None or self._on_loop is None or self._on_loop[0] is not loop:
            self._local = LocalCalls(path, loop)
            self._stub_on(loop)
        try:
            code, answer = wait_for(self._local.call(request.SerializeToString(), timeout, call.trace_bytes()))
        except TimeoutError:
            raise _LocalError(grpc.StatusCode.DEADLINE_EXCEEDED, _TOO_LATE) from None
        except OSError:
            call.away()
            return None
        status = _STATUSES.get(code, grpc.StatusCode.UNKNOWN)
        if status is grpc.StatusCode.OK:
            return messages.PredictResponse.FromString(answer)
        if status is grpc.StatusCode.UNAVAILABLE:
            call.away()
            return None
        raise _LocalError(status, answer.decode("utf-8", "replace"))

    def _stub_on(self, loop: asyncio.AbstractEventLoop) -> rpc.ModelServerStub:
        if self._on_loop is None or self._on_loop[0] is not loop:
            self._on_loop = loop, rpc.ModelServerStub(rpc.open_channel(self._target, grpc.aio))
        return self._on_loop[1]

    def _translated(self, error: grpc.RpcError) -> ServingError:
        kind = _ERRORS.get(error.code(), PredictionFailed)
        if kind is ModelUnavailable:
            # gRPC's own text names addresses and sockets, which are no client's business.
            return ModelUnavailable("the model server cannot answer now; try again in a moment")
        if kind is DeadlineExceeded:
            return DeadlineExceeded(_TOO_LATE)
        return kind(f"the model server answered {error.code().name}: {error.details()}")


class _Call:
    """One call while it is made: what it says of its trace, and how it ended, for those who count."""

    __slots__ = ("_away", "_began", "_observe", "_parent", "_span", "_spec", "_transport", "is_predict")

    def __init__(self, is_predict: bool, spec: Any, observe: Observe) -> None:
        self.is_predict, self._spec, self._observe = is_predict, spec, observe
        trace = request_trace.current()
        self._parent = None if trace is None else trace.context
        self._span = None if self._parent is None else self._parent.below()
        self._transport, self._began, self._away = "", 0.0, False

    def metadata(self) -> Metadata:
        """The trace as gRPC carries it."""
        span = self._span
        if span is None:
            return None
        return (("traceparent", span.traceparent), *((("tracestate", span.state),) if span.state else ()))

    def trace_bytes(self) -> bytes:
        """The trace as the local socket carries it."""
        span = self._span
        if span is None:
            return b""
        return (f"{span.traceparent}\n{span.state}" if span.state else span.traceparent).encode()

    def by(self, transport: str) -> "_Call":
        """The block in which it is made so."""
        self._transport, self._away = transport, False
        return self

    def away(self) -> None:
        """The server was not there; that is no error of the block."""
        self._away = True

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        spec = self._spec
        self._observe(
            ModelServerCall(
                "Predict" if self.is_predict else "GetModelStatus",
                self._transport,
                "UNAVAILABLE" if self._away else _code_of(error),
                spec.name,
                spec.version.value if self.is_predict else None,
                spec.signature_name if self.is_predict else None,
                self._began,
                time.monotonic(),
                self._span,
                self._parent,
            )
        )


def _code_of(error: BaseException | None) -> str:
    if error is None:
        return "OK"
    if isinstance(error, grpc.RpcError):
        return str(error.code().name)
    return "DEADLINE_EXCEEDED" if isinstance(error, DeadlineExceeded) else "CANCELLED"


def _name_of(code: int) -> str:
    return _STATUSES[code].name if code in _STATUSES else "UNKNOWN"
