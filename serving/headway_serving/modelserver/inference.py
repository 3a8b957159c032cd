"""The one data plane behind gRPC and REST: find the version a request means, run it, count it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from google.protobuf.message import Message
from numpy.typing import NDArray
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from headway_serving.core import request_trace
from headway_serving.core.request_trace import TraceContext
from headway_serving.modelserver.apis.classify import run_classify
from headway_serving.modelserver.apis.multi_inference import run_multi_inference
from headway_serving.modelserver.apis.predict import PredictOptions, Runnable, run_predict
from headway_serving.modelserver.apis.regress import run_regress
from headway_serving.modelserver.errors import StatusError, invalid_argument
from headway_serving.modelserver.messages import (
    ExamplesRequest,
    MetadataRequest,
    ModelRequest,
    ModelSpec,
    PredictRequest,
    SignatureDef,
)
from headway_serving.modelserver.metrics import ServerMetrics
from headway_serving.modelserver.versions.manager import VersionStatus
from headway_serving.modelserver.versions.server_core import ServerCore

SIGNATURES = "signature_def"
"""The only metadata there is."""

_RUNTIME = "TF1"


@dataclass(frozen=True)
class FoundVersion:
    """The version that answers a request."""

    number: int
    servable: Runnable


class Tracing(Protocol):
    """Where spans go."""

    def served(self, caller: TraceContext, api: str, model: str, entrypoint: str, code: str, seconds: float, /) -> None:
        """An answer has just been made for a caller's span, in so many seconds."""
        ...


class Inference:
    """Answers requests, which are TensorFlow Serving's messages, with its messages; every method raises StatusError.

    A request without a model is refused; ``timeout_ms`` limits the run in milliseconds, None is no limit.
    """

    def __init__(
        self, core: ServerCore[Any], options: PredictOptions, metrics: ServerMetrics, tracing: Tracing | None = None
    ) -> None:
        """``tracing``: where spans go, of requests whose trace is the current one (:mod:`.core.request_trace`)."""
        self._core = core
        self.options = options
        self.metrics = metrics
        self.tracing = tracing

    def predict(self, request: PredictRequest, timeout_ms: int | None) -> Message:
        """Return a PredictResponse."""
        _require_model_spec(request)
        with self.version(request.model_spec, "Predict") as found:
            return run_predict(found.servable, request, self.options, version=found.number, timeout_ms=timeout_ms)

    def classify(self, request: ExamplesRequest, timeout_ms: int | None) -> Any:
        """Return a ClassificationResponse."""
        _require_model_spec(request)
        with self.version(request.model_spec, "Classify") as found:
            response = run_classify(found.servable, request, self.options, version=found.number, timeout_ms=timeout_ms)
        self._count_examples(request.model_spec.name, len(response.result.classifications))
        return response

    def regress(self, request: ExamplesRequest, timeout_ms: int | None) -> Any:
        """Return a RegressionResponse."""
        _require_model_spec(request)
        with self.version(request.model_spec, "Regress") as found:
            response = run_regress(found.servable, request, self.options, version=found.number, timeout_ms=timeout_ms)
        self._count_examples(request.model_spec.name, len(response.result.regressions))
        return response

    def multi_inference(self, request: Any, timeout_ms: int | None) -> Message:
        """Return a MultiInferenceResponse; the first task chooses the version for all."""
        if not request.tasks:
            raise invalid_argument("ModelSpec has no name specified.")
        spec = request.tasks[0].model_spec
        _require_model_spec(request.tasks[0])
        with self.version(spec, None) as found:
            response = run_multi_inference(
                found.servable, request, self.options, version=found.number, timeout_ms=timeout_ms
            )
        kind = request.input.WhichOneof("kind")
        self._count_examples(spec.name, len(getattr(request.input, kind).examples))
        return response

    def metadata(self, request: MetadataRequest) -> Any:
        """Return a GetModelMetadataResponse: the signatures of the version that is meant."""
        _require_model_spec(request)
        if not request.metadata_field:
            raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != SIGNATURES:
                raise invalid_argument(f"Metadata field {field} is not supported")
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        with self._core.acquire(request.model_spec) as handle:
            for key, signature in handle.servable.signatures.items():
                signatures.signature_def[key].CopyFrom(signature)
            response.model_spec.version.value = handle.number
        response.model_spec.name = request.model_spec.name
        response.metadata[SIGNATURES].Pack(signatures)
        return response

    def status(self, request: ModelRequest) -> Message:
        """Return a GetModelStatusResponse, newest version first. A version label in the request is not looked at."""
        _require_model_spec(request)
        spec = request.model_spec
        number = spec.version.value if spec.HasField("version") else None
        response = get_model_status_pb2.GetModelStatusResponse()
        for status in self._core.statuses(spec.name, number):
            _write_status(status, response.model_version_status.add())
        return response

    @contextmanager
    def version(self, spec: ModelSpec, api: str | None) -> Iterator[FoundVersion]:
        """Hold the version that a ModelSpec means; the time of its runs is counted under the name ``api``, if any."""
        with self._core.acquire(spec) as handle:
            servable = handle.servable if api is None else _Timed(handle.servable, self.metrics, spec.name, api)
            yield FoundVersion(handle.number, servable)

    def count_request(self, model: str, api: str, entrypoint: str, started: float, error: StatusError | None) -> None:
        """Count one request, which came at ``started`` by time.perf_counter(); a refused one has no latency."""
        code = "OK" if error is None else error.code.name
        self.metrics.request_count.increment(model, code)
        trace = None if self.tracing is None else request_trace.current()
        if trace is not None and trace.context is not None and self.tracing is not None:
            self.tracing.served(trace.context, api, model, entrypoint, code, time.perf_counter() - started)
        if error is None:
            self.metrics.request_latency.observe(_microseconds_since(started), model, api, entrypoint)

    def _count_examples(self, model: str, count: int) -> None:
        self.metrics.example_counts.observe(count, model)
        self.metrics.example_count_total.increment(model, by=count)


@dataclass(frozen=True)
class _Timed:
    """A servable whose successful runs are timed."""

    servable: Runnable
    metrics: ServerMetrics
    model: str
    api: str

    @property
    def signatures(self) -> Mapping[str, SignatureDef]:
        return self.servable.signatures

    def run(
        self, feeds: Mapping[str, NDArray[Any]], fetches: Sequence[str], timeout_ms: int | None
    ) -> list[NDArray[Any]]:
        started = time.perf_counter()
        outputs = self.servable.run(feeds, fetches, timeout_ms)
        self.metrics.runtime_latency.observe(_microseconds_since(started), self.model, self.api, _RUNTIME)
        return outputs


def _microseconds_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1e6)


def _require_model_spec(request: ModelRequest) -> None:
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")


def _write_status(status: VersionStatus, message: Any) -> None:
    message.version = status.number
    message.state = int(status.state)
    message.status.SetInParent()
    if status.error is not None:
        message.status.error_code = int(status.error.code)
        message.status.error_message = status.error.message
