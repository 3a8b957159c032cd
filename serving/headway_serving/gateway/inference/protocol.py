"""Requests and answers of the Open Inference Protocol's ``infer``, between bytes and values.

A body is one JSON object. With the binary extension the tensors' bytes follow it, in the order of the tensors, and the
header ``Inference-Header-Content-Length`` says where the JSON ends.
"""

import json
from dataclasses import dataclass
from typing import Any, NoReturn

from headway_serving.core.classification import Classification
from headway_serving.core.errors import InvalidRequest
from headway_serving.gateway.inference.tensors import InputTensor, classification_tensor, score_tensor
from headway_serving.gateway.requests.json_bodies import parse_json

INPUT_NAME = "images"
OUTPUT_NAME = "scores"
EXTENSIONS = ("binary_tensor_data", "classification")
_MOST_DIMENSIONS = 8
_MOST_VALUES = 1_000_000
"""In one JSON body: six pictures of 224 x 224 in colour. Binary data has no such limit."""


@dataclass(frozen=True)
class RequestedOutput:
    """How the scores are wanted. ``classification``: the number of classes, or None for the scores themselves."""

    binary: bool
    classification: int | None


@dataclass(frozen=True)
class InferenceRequest:
    """One ``infer`` as it was sent; ``id`` comes back in the answer."""

    id: str | None
    tensor: InputTensor
    output: RequestedOutput


@dataclass(frozen=True)
class InferenceAnswer:
    """A body and, where binary data follows the JSON, the length of the JSON in bytes."""

    body: bytes
    json_length: int | None


def read_inference_request(body: bytes, json_length: str | None) -> InferenceRequest:
    """Read a body; ``json_length`` is the header ``Inference-Header-Content-Length``. Raises ``InvalidRequest``."""
    head = len(body) if json_length is None else _json_length(json_length, len(body))
    document = _json_object(body[:head])
    parameters = _parameters(document, "the request")
    identity = document.get("id")
    if not isinstance(identity, str | None):
        _refuse("id must be a text")
    return InferenceRequest(
        id=identity,
        tensor=_input(document, memoryview(body)[head:]),
        output=_output(document, binary=_flag(parameters, "binary_data_output", default=False)),
    )


def write_inference_answer(request: InferenceRequest, answer: Classification) -> InferenceAnswer:
    """The answer of a version, with its scores as the request wants them."""
    wanted, route = request.output, answer.route
    if wanted.classification is None:
        tensor = score_tensor(answer.scores)
    else:
        tensor = classification_tensor(answer.scores, answer.manifest.labels, wanted.classification)
    output: dict[str, Any] = {"name": OUTPUT_NAME, "datatype": tensor.datatype, "shape": list(tensor.shape)}
    binary = tensor.as_binary() if wanted.binary else b""
    if wanted.binary:
        output["parameters"] = {"binary_data_size": len(binary)}
    else:
        output["data"] = tensor.as_json()
    parameters: dict[str, Any] = {"arm": route.arm.value}
    if route.position is not None:
        parameters["key_position"] = round(route.position, 6)
    document = {
        "model_name": route.model,
        "model_version": str(route.version),
        **({} if request.id is None else {"id": request.id}),
        "parameters": parameters,
        "outputs": [output],
    }
    # Escaped: an id may hold half of a surrogate pair, which no encoding can write.
    head = json.dumps(document).encode()
    return InferenceAnswer(head + binary, len(head) if wanted.binary else None)


def _json_length(text: str, size: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 18 and int(text) <= size):
        _refuse(f"Inference-Header-Content-Length must be the bytes of the JSON, at most the body's {size}")
    return int(text)


def _json_object(text: bytes) -> dict[str, Any]:
    document = parse_json(text, _MOST_VALUES)
    if not isinstance(document, dict):
        _refuse('the body must be an object with "inputs"')
    return document


def _input(document: dict[str, Any], tail: memoryview) -> InputTensor:
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        _refuse(f'inputs must be a list of one tensor, {{"name": "{INPUT_NAME}", "datatype", "shape", "data"}}')
    tensor = inputs[0]
    if tensor.get("name") != INPUT_NAME:
        _refuse(f"the input's name must be {INPUT_NAME!r}")
    datatype, shape = tensor.get("datatype"), tensor.get("shape")
    if not isinstance(datatype, str):
        _refuse("the input's datatype must be a text: UINT8 or BYTES")
    if not isinstance(shape, list) or len(shape) > _MOST_DIMENSIONS or not all(map(_is_size, shape)):
        _refuse(f"the input's shape must be a list of at most {_MOST_DIMENSIONS} whole numbers, 0 or more")
    parameters = _parameters(tensor, "the input")
    content_type = parameters.get("content_type")
    if not isinstance(content_type, str | None):
        _refuse("the input's content_type must be a text")
    binary = _binary(parameters, tail)
    if (binary is None) == ("data" not in tensor):
        _refuse("the input needs data or, with the binary extension, the parameter binary_data_size: one of them")
    return InputTensor(datatype, tuple(shape), content_type, tensor.get("data"), binary)


def _binary(parameters: dict[str, Any], tail: memoryview) -> memoryview | None:
    size = parameters.get("binary_data_size")
    if size is None:
        if len(tail):
            _refuse(f"{len(tail)} bytes follow the JSON, but the input has no parameter binary_data_size")
        return None
    if not _is_size(size) or size != len(tail):
        _refuse(
            f"binary_data_size must be the bytes that follow the JSON, {len(tail)}; "
            "the header Inference-Header-Content-Length says where it ends"
        )
    return tail


def _output(document: dict[str, Any], *, binary: bool) -> RequestedOutput:
    outputs = document.get("outputs")
    if outputs in (None, []):
        return RequestedOutput(binary, None)
    if not isinstance(outputs, list) or len(outputs) != 1 or not isinstance(outputs[0], dict):
        _refuse(f'outputs must be a list of one, {{"name": "{OUTPUT_NAME}"}}')
    if outputs[0].get("name") != OUTPUT_NAME:
        _refuse(f"the output's name must be {OUTPUT_NAME!r}")
    parameters = _parameters(outputs[0], "the output")
    count = parameters.get("classification")
    if count is not None and not (_is_size(count) and count > 0):
        _refuse("classification must be the number of classes to answer, 1 or more")
    return RequestedOutput(_flag(parameters, "binary_data", default=binary), count)


def _parameters(section: dict[str, Any], where: str) -> dict[str, Any]:
    parameters = section.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        _refuse(f"parameters of {where} must be an object")
    if "shared_memory_region" in parameters:
        _refuse("shared memory is not read; send the data itself")
    return parameters


def _flag(parameters: dict[str, Any], name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        _refuse(f"{name} must be true or false")
    return value


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _refuse(problem: str) -> NoReturn:
    raise InvalidRequest(problem)
