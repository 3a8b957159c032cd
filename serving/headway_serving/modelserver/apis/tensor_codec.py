"""TensorProto messages to numpy arrays and back, with the leniency of TensorFlow's own reader.

Reading: ``tensor_content`` counts before the typed field; surplus values are dropped, missing ones repeat the
last one, none at all means zeros; values in another dtype's field are not seen. Writing: typed fields
(``float_val``, ...), or ``tensor_content`` where that was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from tensorflow_serving.apis import predict_pb2

from headway_serving.modelserver.messages import TensorProto
from headway_serving.wire import packed_strings

Array = NDArray[Any]

_STRING = 7
_MAX_BYTES = (1 << 31) - 1
"""No tensor can be longer on the wire; a short message that claims a larger one is not expanded."""

_MAX_ELEMENTS = (1 << 63) // 16
"""What an index of 64 bits can tell apart, of the widest dtype."""

MAX_RANK = 64
"""NumPy's limit; TensorFlow's is 254."""

_FEW = 64
"""Up to so many floats become Python numbers, which is cheaper for a few and slow for many."""

_LENGTH_DELIMITED = 2
"""The wire type of a packed field."""


@dataclass(frozen=True)
class _Field:
    """The numpy dtype of a DataType number, its typed field, and the dtype of that field's own values."""

    dtype: np.dtype[Any]
    name: str
    stored: np.dtype[Any]


def _field(dtype: Any, name: str, stored: Any = None) -> _Field:
    return _Field(np.dtype(dtype), name, np.dtype(dtype if stored is None else stored))


_FIELDS: dict[int, _Field] = {
    1: _field(np.float32, "float_val"),
    2: _field(np.float64, "double_val"),
    3: _field(np.int32, "int_val"),
    4: _field(np.uint8, "int_val"),
    5: _field(np.int16, "int_val"),
    6: _field(np.int8, "int_val"),
    8: _field(np.complex64, "scomplex_val", np.float32),
    9: _field(np.int64, "int64_val"),
    10: _field(np.bool_, "bool_val"),
    14: _field(ml_dtypes.bfloat16, "half_val", np.uint16),
    17: _field(np.uint16, "int_val"),
    18: _field(np.complex128, "dcomplex_val", np.float64),
    19: _field(np.float16, "half_val", np.uint16),
    22: _field(np.uint32, "uint32_val"),
    23: _field(np.uint64, "uint64_val"),
}
_NUMBERS = {field.dtype: number for number, field in _FIELDS.items()}
_ENUM = predict_pb2.PredictResponse.OutputsEntry.DESCRIPTOR.fields_by_name["value"].message_type.fields_by_name["dtype"]


class TensorFormatError(ValueError):
    """A TensorProto that describes no tensor, or one of a dtype that cannot be exchanged."""


def dtype_number(array: Array) -> int:
    """Return the DataType number of ``array``; raises TensorFormatError for a dtype that cannot be exchanged."""
    number = _STRING if array.dtype == np.object_ else _NUMBERS.get(array.dtype)
    if number is None:
        raise TensorFormatError(f"a tensor of {array.dtype} cannot be sent")
    return number


def enum_name(number: int) -> str:
    """Return the name of a DataType number as the protocol writes it, such as DT_FLOAT."""
    return str(_ENUM.enum_type.values_by_number[number].name)


def type_name(number: int) -> str:
    """Return the name of a DataType number as TensorFlow's messages write it, such as float."""
    return enum_name(number).removeprefix("DT_").lower()


def decode(proto: TensorProto) -> Array:
    """Return the array a TensorProto message describes; strings become an object array of bytes.

    Raises TensorFormatError for an unknown dtype, a shape with unknown or negative dimensions, or a
    ``tensor_content`` of the wrong length.
    """
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise TensorFormatError(f"the shape {shape} is not that of a tensor")
    if len(shape) > MAX_RANK:
        raise TensorFormatError(f"a tensor of {len(shape)} dimensions cannot be read; there may be {MAX_RANK}")
    # Zeros do not count: a tensor without elements has a shape that must be possible all the same.
    if math.prod(size for size in shape if size) > _MAX_ELEMENTS:
        raise TensorFormatError(f"a tensor of shape {shape} is too large")
    count = math.prod(shape)
    if proto.dtype == _STRING:
        return _decode_strings(proto, count).reshape(shape)
    field = _FIELDS.get(proto.dtype)
    if field is None:
        raise TensorFormatError(f"dtype {proto.dtype} is not supported")
    if count * field.dtype.itemsize > _MAX_BYTES:
        raise TensorFormatError(f"a tensor of shape {shape} is too large")
    if proto.tensor_content:
        return _decode_content(proto.tensor_content, field.dtype, count).reshape(shape)
    return _decode_values(getattr(proto, field.name), field, count).reshape(shape)


def encode(array: Array, proto: TensorProto, *, as_content: bool) -> None:
    """Write ``array`` (numbers, or bytes in an object array) into an empty TensorProto message.

    Raises TensorFormatError for a dtype that cannot be exchanged.
    """
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    number = proto.dtype = dtype_number(array)
    if number == _STRING:
        _encode_strings(array.ravel().tolist(), proto, as_content=as_content)
        return
    if as_content:
        proto.tensor_content = array.tobytes()
        return
    field = _FIELDS[number]
    stored = _stored(array, field)
    if field.stored.kind == "f" and stored.size > _FEW:
        proto.MergeFromString(_packed(proto, field.name, stored))
    else:
        getattr(proto, field.name).extend(stored.tolist())


def _packed(proto: TensorProto, name: str, values: Array) -> bytes:
    """Return a message that holds only the packed field ``name``, whose floats stand on the wire as in memory."""
    content = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    tag = proto.DESCRIPTOR.fields_by_name[name].number << 3 | _LENGTH_DELIMITED
    return packed_strings.varint(tag) + packed_strings.varint(len(content)) + content


def _stored(array: Array, field: _Field) -> Array:
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat if field.stored == field.dtype else flat.view(field.stored)


def _decode_content(content: bytes, dtype: np.dtype[Any], count: int) -> Array:
    if len(content) != count * dtype.itemsize:
        raise TensorFormatError(f"tensor_content has {len(content)} bytes instead of {count * dtype.itemsize}")
    return np.frombuffer(content, dtype)


def _decode_values(values: Sequence[Any], field: _Field, count: int) -> Array:
    per_item = field.dtype.itemsize // field.stored.itemsize
    # Integers narrower than their field wrap around, as a cast in C does.
    wide = np.dtype(np.int64) if field.name in ("int_val", "half_val") else field.stored
    sent = np.array(values[: count * per_item], wide).astype(field.stored)
    given = sent[: sent.size - sent.size % per_item].view(field.dtype)
    if given.size == count:
        return given
    full = np.zeros(count, field.dtype)
    full[: given.size] = given
    full[given.size :] = given[-1] if given.size else 0
    return full


def _decode_strings(proto: TensorProto, count: int) -> Array:
    if count > _MAX_BYTES // 8:
        raise TensorFormatError(f"a tensor of {count} strings is too large")
    content = proto.tensor_content
    try:
        values = packed_strings.unpack(content, count) if content else list(proto.string_val[:count])
    except ValueError as error:
        raise TensorFormatError(str(error)) from error
    last = values[-1] if values else b""
    array = np.full(count, last, np.object_)
    array[: len(values)] = values
    return array


def _encode_strings(values: list[bytes], proto: TensorProto, *, as_content: bool) -> None:
    if as_content:
        proto.tensor_content = packed_strings.pack(values)
    else:
        proto.string_val.extend(values)
