"""Arrays and texts <-> TensorFlow Serving's tensors, as bytes on the wire."""

import numpy as np
from numpy.typing import NDArray

from headway_serving.wire import messages_pb2 as messages
from headway_serving.wire import packed_strings

DT_FLOAT = 1
DT_UINT8 = 4
DT_STRING = 7


class MalformedAnswer(Exception):
    """The model server's answer is not the tensor that the signature promises."""


def image_request(model: str, version: int, pixels: NDArray[np.uint8]) -> messages.PredictRequest:
    """A Predict of ``serving_default`` for ``pixels`` (``uint8[N, H, W, C]``): one byte a value on the wire."""
    request = _request(model, version, "serving_default")
    tensor = request.inputs["images"]
    tensor.dtype = DT_UINT8
    for size in pixels.shape:
        tensor.tensor_shape.dim.add(size=size)
    tensor.tensor_content = pixels.tobytes()
    return request


def scores_of(response: messages.PredictResponse, rows: int) -> NDArray[np.float32]:
    """The ``scores`` of a Predict answer, ``float32[rows, K]``. Raises :class:`MalformedAnswer`.

    TensorFlow Serving fills ``float_val`` by default and ``tensor_content`` with
    ``--enable_serialization_as_tensor_content``; both are read.
    """
    tensor = _output(response, "scores", DT_FLOAT)
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    if len(shape) != 2 or shape[0] != rows:
        raise MalformedAnswer(f"scores have shape {list(shape)}; [{rows}, classes] was expected")
    if tensor.tensor_content:
        if len(tensor.tensor_content) % 4:
            raise MalformedAnswer(f"scores of shape {list(shape)} have {len(tensor.tensor_content)} bytes")
        values = np.frombuffer(tensor.tensor_content, dtype="<f4")
    else:
        values = np.array(tensor.float_val, dtype=np.float32)
    if values.size != shape[0] * shape[1]:
        raise MalformedAnswer(f"scores of shape {list(shape)} hold {values.size} values")
    return values.reshape(shape)


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
