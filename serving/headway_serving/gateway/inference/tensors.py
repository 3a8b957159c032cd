"""Tensors of the Open Inference Protocol <-> pixels, pictures and scores, in JSON and in the binary extension.

Binary data is little-endian, row-major, without padding; an element of ``BYTES`` follows its length in four bytes.
"""

import itertools
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headway_serving.core.errors import InvalidRequest
from headway_serving.gateway.requests.base64_text import decoded
from headway_serving.gateway.requests.errors import EmptyBody, TooManyImages

_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class InputTensor:
    """The input of a request as it was sent: ``data`` is what JSON says, unless ``binary`` holds the bytes.

    ``shape``: at most eight dimensions below 2**63. ``content_type``: the parameter of that name, if there is one.
    """

    datatype: str
    shape: tuple[int, ...]
    content_type: str | None
    data: Any
    binary: memoryview | None


@dataclass(frozen=True)
class OutputTensor:
    """An output: ``FP32`` values or ``BYTES`` texts of a shape, row-major."""

    datatype: str
    shape: tuple[int, ...]
    values: NDArray[np.float32] | Sequence[str]

    def as_json(self) -> list[Any]:
        """The values as one flat list."""
        return self.values.ravel().tolist() if isinstance(self.values, np.ndarray) else list(self.values)

    def as_binary(self) -> bytes:
        """The values as the binary extension writes them."""
        if isinstance(self.values, np.ndarray):
            return self.values.astype("<f4").tobytes()
        return pack_elements([text.encode() for text in self.values])


def images_of(tensor: InputTensor, max_images: int) -> Sequence[bytes] | NDArray[np.uint8]:
    """Pixels (``UINT8`` of shape ``[N, H, W, C]``) or encoded pictures (``BYTES`` of shape ``[N]`` or ``[N, 1]``).

    Raises ``InvalidRequest``, ``EmptyBody`` or ``TooManyImages``. Which geometry the model has is not known here.
    """
    shape = tensor.shape
    if tensor.datatype == "UINT8":
        fits, wanted = len(shape) == 4 and min(shape[1:]) > 0, "[N, height, width, channels]"
    elif tensor.datatype == "BYTES":
        fits, wanted = bool(shape) and shape[1:] in ((), (1,)), "[N], one element for each picture"
    else:
        raise InvalidRequest(
            f"datatype {tensor.datatype[:40]!r} is not read; send UINT8 pixels of shape [N, height, width, channels], "
            "or BYTES of shape [N], each element a picture"
        )
    if not fits:
        raise InvalidRequest(f"shape {list(shape)} of {tensor.datatype} is not {wanted}")
    if shape[0] == 0:
        raise EmptyBody("the tensor has no picture: its first dimension is 0")
    if shape[0] > max_images:
        raise TooManyImages(f"{shape[0]} pictures were sent; at most {max_images} are taken in one request")
    return _pixels(tensor) if tensor.datatype == "UINT8" else _pictures(tensor)


def score_tensor(scores: NDArray[np.float32]) -> OutputTensor:
    """``float32[N, K]`` as it is."""
    return OutputTensor("FP32", scores.shape, scores)


def classification_tensor(scores: NDArray[np.float32], labels: Sequence[str], count: int) -> OutputTensor:
    """The ``count`` best classes of each row of ``float32[N, K]``, best first, each ``SCORE:INDEX:LABEL``.

    ``count`` is capped at K; equal scores keep the labels' order. The shape is ``[N, count]``.
    """
    best = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    texts = [
        f"{row[index]!s}:{index}:{labels[index]}" for row, order in zip(scores, best, strict=True) for index in order
    ]
    return OutputTensor("BYTES", best.shape, texts)


def pack_elements(elements: Sequence[bytes]) -> bytes:
    """Elements of ``BYTES`` as binary data."""
    return b"".join(part for element in elements for part in (_LENGTH.pack(len(element)), element))


def unpack_elements(binary: memoryview, count: int) -> list[bytes]:
    """The ``count`` elements of ``BYTES`` in binary data. Raises ``InvalidRequest`` unless they fill it exactly."""
    elements, at = [], 0
    for index in range(count):
        start = at + _LENGTH.size
        end = start + _LENGTH.unpack_from(binary, at)[0] if start <= len(binary) else start
        if end > len(binary):
            raise InvalidRequest(
                f"the binary data ends within element {index} of {count} (counted from 0); each is its length in "
                "4 bytes, little-endian, and then its bytes"
            )
        elements.append(bytes(binary[start:end]))
        at = end
    if at != len(binary):
        raise InvalidRequest(f"the binary data has {len(binary) - at} bytes more after its {count} elements")
    return elements


def _pixels(tensor: InputTensor) -> NDArray[np.uint8]:
    size = math.prod(tensor.shape)
    if tensor.binary is not None:
        if len(tensor.binary) != size:
            raise InvalidRequest(f"{len(tensor.binary)} bytes of data were sent; shape {list(tensor.shape)} has {size}")
        return np.frombuffer(tensor.binary, np.uint8).reshape(tensor.shape)
    values = _flat(tensor.data, tensor.shape, size)
    try:
        # Booleans would pass as numbers.
        octets = bytes(values) if set(map(type, values)) == {int} else None
    except (ValueError, OverflowError):
        octets = None
    if octets is None:
        raise InvalidRequest("data of datatype UINT8 must be whole numbers from 0 to 255")
    return np.frombuffer(octets, np.uint8).reshape(tensor.shape)


def _flat(data: Any, shape: tuple[int, ...], size: int) -> list[Any]:
    """The values of a tensor in JSON, which is flat or nested as its shape says."""
    if isinstance(data, list) and len(data) == size and not isinstance(data[0], list):
        return data
    rows = [data]
    for side in shape:
        if not all(isinstance(row, list) and len(row) == side for row in rows):
            raise InvalidRequest(f"data must be {size} numbers, flat or in lists nested as shape {list(shape)} says")
        rows = list(itertools.chain.from_iterable(rows))
    return rows


def _pictures(tensor: InputTensor) -> list[bytes]:
    if tensor.content_type not in (None, "base64"):
        raise InvalidRequest(
            f"content_type {tensor.content_type[:40]!r} of BYTES is not read; leave it out or say base64"
        )
    count = tensor.shape[0]
    if tensor.binary is not None:
        elements: list[Any] = list(unpack_elements(tensor.binary, count))
        pictures = elements if tensor.content_type is None else _from_base64(elements)
    else:
        if not isinstance(tensor.data, list) or len(tensor.data) != count:
            raise InvalidRequest(f"data of shape {list(tensor.shape)} must be a list of {count} texts in base64")
        # Nested as the shape [N, 1] says, or flat.
        pictures = _from_base64(
            [item[0] if isinstance(item, list) and len(item) == 1 else item for item in tensor.data]
        )
    for index, picture in enumerate(pictures):
        if not picture:
            raise EmptyBody(f"image {index} (counted from 0) is empty: 0 bytes were sent")
    return pictures


def _from_base64(items: Sequence[Any]) -> list[bytes]:
    pictures = []
    for index, item in enumerate(items):
        if not isinstance(item, str | bytes):
            raise InvalidRequest(f"data[{index}]: a text is needed, the picture in base64")
        try:
            pictures.append(decoded(item))
        except ValueError as error:
            raise InvalidRequest(f"data[{index}] is not base64: {error}") from error
    return pictures
