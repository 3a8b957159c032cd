"""The REST API without its sockets: from a request's method, target and body to the answer TensorFlow Serving gives."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from google.protobuf import json_format
from google.protobuf.message import Message
from numpy.typing import NDArray
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    regression_pb2,
)

from headway_serving.core.errors import without_frames
from headway_serving.modelserver.apis.predict import DEFAULT_SIGNATURE, predict_arrays
from headway_serving.modelserver.errors import Code, StatusError, invalid_argument, unforeseen
from headway_serving.modelserver.inference import SIGNATURES, Inference
from headway_serving.modelserver.messages import ModelSpec
from headway_serving.modelserver.process.memory import memory_of_process
from headway_serving.modelserver.rest import examples as rest_examples
from headway_serving.modelserver.rest.json_text import INDENT, format_error, parse_object, quoted, to_body, to_bytes
from headway_serving.modelserver.rest.outputs import write_outputs
from headway_serving.modelserver.rest.tensors import read_inputs

logger = logging.getLogger(__name__)

HTTP_STATUS = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}

_VERSION = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
# Both are matched against the target with its query, so that a query makes a request malformed or part of a name.
_PREDICTION = re.compile(rf"/v1/models/(?P<name>[^/:]+){_VERSION}:(?P<verb>classify|regress|predict)", re.IGNORECASE)
_STATUS = re.compile(rf"/v1/models(?:/(?P<name>[^/:]+))?{_VERSION}(?:/(?P<verb>metadata))?", re.IGNORECASE)
_API = re.compile(r"/v1/.*", re.IGNORECASE)
_CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}
_INT64_LIMIT = 1 << 63

_TEXT_BYTES = 100
"""What a number takes while its text is made: the text as an object of Python's, and its place in lists."""

_ANSWER_PART = 4
"""Answers may have this part of the memory while they are written."""


@dataclass(frozen=True)
class HttpAnswer:
    """Status, headers by name, and body of an HTTP reply."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class RestOptions:
    """What the command line decides about REST: the run's limit in ms (0: none), CORS, and the metrics' path."""

    timeout_ms: int = 30_000
    cors: bool = False
    metrics_path: str | None = None


@dataclass
class _Counted:
    """What a request is counted as: the model and the method of its target as far as they could be read."""

    model: str = ""
    method: str = ""


class RestService:
    """Answers every HTTP request; no request makes ``answer`` raise."""

    def __init__(self, inference: Inference, options: RestOptions) -> None:
        self._inference = inference
        self._options = options
        self._timeout_ms = options.timeout_ms if options.timeout_ms > 0 else None

    def answer(self, method: str, target: str, body: bytes, origin: str = "") -> HttpAnswer:
        """Return the answer to a request; ``target`` is path and query as sent, ``origin`` the header of that name."""
        if self._options.metrics_path is not None and target.partition("?")[0] == self._options.metrics_path:
            return self._metrics(target)
        if not _API.fullmatch(target):
            return _not_found()
        headers = {"Content-Type": "application/json"} | (_CORS_HEADERS if self._options.cors else {})
        if method == "OPTIONS":
            return HttpAnswer(200 if origin.startswith("http") else 400, headers, b"")
        started = time.perf_counter()
        counted = _Counted()
        error = None
        try:
            text = self._process(method, target, body, counted)
        except StatusError as caught:
            error, text = caught, f'{{\n{INDENT}"error": {quoted(caught.message)}\n}}' if caught.message else ""
        except Exception as caught:
            logger.exception("%s %s failed unexpectedly", method, target)
            error = unforeseen(caught)
            text = f'{{\n{INDENT}"error": {quoted(error.message)}\n}}'
            # Its frames hold the body, and this one the error: a cycle.
            without_frames(caught)
        if error is not None:
            without_frames(error)
        self._inference.count_request(counted.model, counted.method, "REST", started, error)
        status = HTTP_STATUS[Code.OK if error is None else error.code]
        return HttpAnswer(status, headers, to_body(text))

    def _metrics(self, target: str) -> HttpAnswer:
        headers = {"Content-Type": "text/plain"}
        if target != self._options.metrics_path:
            text = f"Unexpected path: {target}. Should be {self._options.metrics_path}"
            return HttpAnswer(400, headers, text.encode("utf-8", "replace"))
        return HttpAnswer(200, headers, self._inference.metrics.page().encode("utf-8", "replace"))

    def _process(self, method: str, target: str, body: bytes, counted: _Counted) -> str:
        pattern = {"POST": _PREDICTION, "GET": _STATUS}.get(method)
        found = pattern.fullmatch(target) if pattern else None
        if found is None:
            raise invalid_argument(f"Malformed request: {method} {target}")
        spec = _model_spec(found, counted)
        verb = (found["verb"] or "").lower()
        if method == "GET":
            if not spec.name:
                raise invalid_argument("Missing model name in request.")
            return self._metadata(spec) if verb == "metadata" else self._status(spec)
        counted.method = verb
        document = parse_object(body)
        spec.signature_name = _signature_name(document)
        if verb == "predict":
            return self._predict(spec, document)
        if verb == "classify":
            return self._classify(spec, document)
        return self._regress(spec, document)

    def _predict(self, spec: ModelSpec, document: dict[str, Any]) -> str:
        with self._inference.version(spec, "Predict") as found:
            key = spec.signature_name or DEFAULT_SIGNATURE
            signature = found.servable.signatures.get(key)
            if signature is None:
                raise invalid_argument(f'Serving signature name: "{key}" not found in signature def')
            if not signature.inputs:
                shown = spec.signature_name or "DEFAULT"
                raise invalid_argument(f"Failed to get input map for signature: {shown}")
            # A dict: a map of a message cannot be asked for a name that is no UTF-8.
            inputs = read_inputs(document, dict(signature.inputs))
            outputs = predict_arrays(
                found.servable,
                signature,
                inputs.arrays,
                lambda array: array,
                self._inference.options,
                timeout_ms=self._timeout_ms,
            )
        if not outputs:
            raise invalid_argument("Cannot convert empty tensor map to JSON")
        _check_size(outputs)
        return write_outputs(outputs, in_rows=inputs.in_rows)

    def _classify(self, spec: ModelSpec, document: dict[str, Any]) -> str:
        request = classification_pb2.ClassificationRequest(model_spec=spec)
        rest_examples.read_examples(document, request.input)
        return rest_examples.write_classifications(self._inference.classify(request, self._timeout_ms).result)

    def _regress(self, spec: ModelSpec, document: dict[str, Any]) -> str:
        request = regression_pb2.RegressionRequest(model_spec=spec)
        rest_examples.read_examples(document, request.input)
        return rest_examples.write_regressions(self._inference.regress(request, self._timeout_ms).result)

    def _status(self, spec: ModelSpec) -> str:
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=spec)
        return _as_json(self._inference.status(request))

    def _metadata(self, spec: ModelSpec) -> str:
        request = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec, metadata_field=[SIGNATURES])
        response = self._inference.metadata(request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata[SIGNATURES].Unpack(signatures)
        return (
            f'{{\n"model_spec":{_as_json(response.model_spec)},\n'
            f'"metadata": {{"signature_def": {_as_json(signatures)}}}\n}}\n'
        )


def _model_spec(found: re.Match[str], counted: _Counted) -> ModelSpec:
    """Return the ModelSpec of a target; raises StatusError INVALID_ARGUMENT without text for too large a version."""
    counted.model = unquote(found["name"] or "")
    spec = model_pb2.ModelSpec(name=counted.model)
    if found["version"]:
        # Compared as text first: Python reads no integer of more than 4300 digits.
        digits = found["version"].lstrip("0") or "0"
        if len(digits) > 19 or int(digits) >= _INT64_LIMIT:
            raise invalid_argument("")
        spec.version.value = int(digits)
    if found["label"]:
        spec.version_label = unquote(found["label"])
    return spec


def _check_size(outputs: Mapping[str, NDArray[Any]]) -> None:
    """Raise StatusError RESOURCE_EXHAUSTED for outputs whose text would take more memory than an answer may."""
    size = _TEXT_BYTES * sum(output.size for output in outputs.values())
    most = memory_of_process() // _ANSWER_PART
    if size > most:
        raise StatusError(
            Code.RESOURCE_EXHAUSTED,
            f"As JSON the answer would take about {size} bytes of memory; there may be {most}. Send fewer rows at a "
            "time, or use gRPC.",
        )


def _signature_name(document: dict[str, Any]) -> str:
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise format_error(document, "not formatted correctly. 'signature_name' key must be a string value.")
    return to_bytes(name).decode("utf-8", "replace")


def _as_json(message: Message) -> str:
    """Return a message as protocol buffer JSON with every field, indented by one blank."""
    text = json_format.MessageToJson(
        message,
        indent=1,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
        ensure_ascii=False,
    )
    return f"{text}\n"


def _not_found() -> HttpAnswer:
    page = "<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n"
    return HttpAnswer(404, {"Content-Type": "text/html"}, page.encode())
