"""Arrays and texts <-> TensorFlow Serving's tensors, as bytes on the wire."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headway_serving.wire import messages_pb2 as messages
from headway_serving.wire import packed_strings

DT_FLOAT = 1
DT_UINT8 = 4
DT_STRING = 7

FAMILIARITY = "familiarity"


class MalformedAnswer(Exception):
    """The model server's answer is not the tensor that the signature promises."""


# The input and the output of each signature that an exported version may have; beside scores, perhaps FAMILIARITY.
_SIGNATURES = {
    "serving_default": ("images", "scores"),
    "features": ("images", "features"),
    "from_features": ("features", "scores"),
}
_DTYPES: dict[str, tuple[int, np.dtype[Any]]] = {
    "images": (DT_UINT8, np.dtype(np.uint8)),
    "features": (DT_FLOAT, np.dtype("<f4")),
}


def rows_request(model: str, version: int, signature: str, rows: NDArray[Any]) -> messages.PredictRequest:
    """A Predict of ``signature`` for N rows: ``uint8[N, H, W, C]`` of pixels or ``float32[N, D]`` of features.

    The values travel as raw bytes, one byte a pixel.
    """
    name, _ = _SIGNATURES[signature]
    dtype, kind = _DTYPES[name]
    request = _request(model, version, signature)
    tensor = request.inputs[name]
    tensor.dtype = dtype
    for size in rows.shape:
        tensor.tensor_shape.dim.add(size=size)
    tensor.tensor_content = rows.astype(kind, copy=False).tobytes()
    return request


def rows_of(response: messages.PredictResponse, signature: str, rows: int) -> NDArray[np.float32]:
    """What ``signature`` answered, ``float32[rows, K]``. Raises :class:`MalformedAnswer`.

    Where it answered a familiarity beside K - 1 scores, that is the last column.

    TensorFlow Serving fills ``float_val`` by default and ``tensor_content`` with
    ``--enable_serialization_as_tensor_content``; both are raw bytes to us (see ``messages.proto``).
    """
    _, name = _SIGNATURES[signature]
    tensor = _output(response, name, DT_FLOAT)
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    if len(shape) != 2 or shape[0] != rows:
        raise MalformedAnswer(f"{name} have shape {list(shape)}; [{rows}, any] was expected")
    found = _floats(tensor, name, shape)
    if name != "scores" or FAMILIARITY not in response.outputs:
        return found
    familiarity = _output(response, FAMILIARITY, DT_FLOAT)
    if [dim.size for dim in familiarity.tensor_shape.dim] != [rows]:
        raise MalformedAnswer(f"{FAMILIARITY} is not of shape [{rows}]")
    return np.concatenate([found, _floats(familiarity, FAMILIARITY, (rows, 1))], axis=1)


def _floats(tensor: messages.Tensor, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    content = tensor.tensor_content or tensor.float_val
    if len(content) != 4 * shape[0] * shape[1]:
        raise MalformedAnswer(f"{name} of shape {list(shape)} have {len(content)} bytes")
    return np.frombuffer(content, dtype="<f4").reshape(shape)


def manifest_request(model: str, version: int) -> messages.PredictRequest:
    """A Predict of the ``manifest`` signature."""
    request = _request(model, version, "manifest")
    tensor = request.inputs["request"]
    tensor.dtype = DT_STRING
    tensor.tensor_shape.dim.add(size=1)
    tensor.string_val.append(b"")
    return request


def manifest_of(response: messages.PredictResponse) -> bytes:
    """The JSON text in the answer to :func:`manifest_request`, read in both forms. Raises :class:`MalformedAnswer`."""
    tensor = _output(response, "manifest", DT_STRING)
    if tensor.tensor_content:
        try:
            (text,) = packed_strings.unpack(tensor.tensor_content, 1)
        except ValueError as error:
            raise MalformedAnswer(f"the manifest is not one string: {error}") from error
        return text
    if not tensor.string_val:
        raise MalformedAnswer("the manifest is empty")
    return tensor.string_val[0]


def _request(model: str, version: int, signature: str) -> messages.PredictRequest:
    request = messages.PredictRequest()
    request.model_spec.name = model
    request.model_spec.version.value = version
    request.model_spec.signature_name = signature
    return request


def _output(response: messages.PredictResponse, name: str, dtype: int) -> messages.Tensor:
    if name not in response.outputs:
        raise MalformedAnswer(f"no output {name!r}; there are: {', '.join(sorted(response.outputs)) or 'none'}")
    tensor = response.outputs[name]
    if tensor.dtype != dtype:
        raise MalformedAnswer(f"output {name!r} has dtype {tensor.dtype}; {dtype} was expected")
    return tensor
