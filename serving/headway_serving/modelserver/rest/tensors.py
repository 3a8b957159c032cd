"""Predict's JSON: inputs in rows (``instances``) or columns (``inputs``) to arrays, and outputs back to JSON."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headway_serving.modelserver.apis.tensor_codec import type_name as dtype_name
from headway_serving.modelserver.errors import Code, StatusError, invalid_argument
from headway_serving.modelserver.rest.json_text import (
    format_error,
    shown,
    to_bytes,
    type_name,
)

Array = NDArray[Any]

_STRING, _BOOL = 7, 10
_FLOATS: dict[int, type[Any]] = {1: np.float32, 2: np.float64}
_INTEGERS: dict[int, type[Any]] = {
    3: np.int32,
    4: np.uint8,
    5: np.int16,
    6: np.int8,
    9: np.int64,
    22: np.uint32,
    23: np.uint64,
}
_RANGES = {9: (-(1 << 63), (1 << 63) - 1), 22: (0, (1 << 32) - 1), 23: (0, (1 << 64) - 1)}
_INT32 = (-(1 << 31), (1 << 31) - 1)
"""What the other integer types accept; a value too wide for its tensor wraps around, as in TensorFlow Serving."""

_MAX_RANK = 63
"""NumPy's limit, less the dimension that rows add; TensorFlow's is 254."""


@dataclass(frozen=True)
class JsonInputs:
    """The inputs by alias, and whether they came in rows: the reply then has rows too."""

    arrays: Mapping[str, Array]
    in_rows: bool


def read_inputs(document: dict[str, Any], infos: Mapping[str, Any]) -> JsonInputs:
    """Return the inputs of a Predict body; ``infos`` are the signature's inputs, TensorInfo messages by alias.

    Raises StatusError: UNIMPLEMENTED for a dtype that JSON cannot carry, else INVALID_ARGUMENT.
    """
    if "instances" not in document:
        if "inputs" not in document:
            raise invalid_argument("Missing 'inputs' or 'instances' key")
        return JsonInputs(_read_columns(document["inputs"], infos), in_rows=False)
    if "inputs" in document:
        text = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
        raise format_error(document, text)
    rows = document["instances"]
    if not isinstance(rows, list):
        raise format_error(document, "Expecting 'instances' to be an list/array")
    if not rows:
        raise format_error(document, "No values in 'instances' array")
    return JsonInputs(_read_rows(rows, infos), in_rows=True)


def base64_bytes(value: Any) -> bytes:
    """Return the bytes of a ``{"b64": "..."}`` object; raises StatusError INVALID_ARGUMENT if it is none."""
    if not is_base64(value):
        raise format_error(value, "not formatted correctly for base64 data")
    text = b"".join(to_bytes(value["b64"]).split())
    digits = text.rstrip(b"=")
    padding = b"=" * (-len(digits) % 4)
    try:
        # None, or as many as there must be.
        if text not in (digits, digits + padding):
            raise ValueError("surplus or missing padding")
        return base64.b64decode(digits + padding, validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid_argument("Unable to base64 decode") from error


def is_base64(value: Any) -> bool:
    """Return whether a JSON value is an object whose one key is ``b64`` with a string."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def floats(numbers: Sequence[Any], number: int = 1) -> Array:
    """Return JSON numbers as an array of float (DataType 1) or double (2): the nearest, beyond its range infinity."""
    with np.errstate(over="ignore"):
        return np.array(numbers, np.float64).astype(_FLOATS[number])


def _read_columns(value: Any, infos: Mapping[str, Any]) -> dict[str, Array]:
    if not isinstance(value, dict) or is_base64(value):
        if len(infos) > 1:
            raise invalid_argument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        ((alias, info),) = infos.items()
        return {alias: _array(value, info.dtype)}
    columns = {}
    for alias in sorted(infos):
        if alias not in value:
            raise invalid_argument(f"Missing named input: {alias} in 'inputs' object.")
        columns[alias] = _array(value[alias], infos[alias].dtype)
    return columns


def _read_rows(rows: list[Any], infos: Mapping[str, Any]) -> dict[str, Array]:
    if not isinstance(rows[0], dict) and len(infos) > 1:
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    if isinstance(rows[0], dict) and not is_base64(rows[0]):
        return _read_named_rows(rows, infos)
    alias = min(infos)
    quick = _regular(rows, infos[alias].dtype)
    if quick is not None:
        return {alias: quick}
    cells: list[Array] = []
    for index, row in enumerate(rows):
        if isinstance(row, dict) and not is_base64(row):
            raise invalid_argument(f"Expecting value/list but got object at item {index} of input list")
        try:
            cells.append(_like_first(_array(row, infos[alias].dtype), cells))
        except StatusError as error:
            raise invalid_argument(f"Failed to process element: {index} of 'instances' list. Error: {error}") from error
    return {alias: np.stack(cells)}


def _read_named_rows(rows: list[Any], infos: Mapping[str, Any]) -> dict[str, Array]:
    cells: dict[str, list[Array]] = {alias: [] for alias in infos}
    for index, row in enumerate(rows):
        if not isinstance(row, dict) or is_base64(row):
            raise invalid_argument(f"Expecting object but got list at item {index} of input list")
        for alias, value in row.items():
            try:
                if alias not in infos:
                    raise invalid_argument(f"JSON object: does not have named input: {alias}")
                cells[alias].append(_like_first(_array(value, infos[alias].dtype), cells[alias]))
            except StatusError as error:
                raise invalid_argument(
                    f"Failed to process element: {index} key: {alias} of 'instances' list. Error: {error}"
                ) from error
        if row.keys() != infos.keys():
            raise invalid_argument(
                f"Failed to process element: {index} of 'instances' list. JSON object: {shown(row)} keys must be "
                f"equal to: {','.join(sorted(infos))}"
            )
    return {alias: np.stack(column) for alias, column in cells.items()}


def _like_first(array: Array, before: list[Array]) -> Array:
    if before and array.size != before[0].size:
        raise invalid_argument(f"Expecting tensor size: {before[0].size} but got: {array.size}")
    if before and array.shape != before[0].shape:
        raise invalid_argument(f"Expecting shape {_shape_text(before[0])} but got: {_shape_text(array)}")
    return array


def _shape_text(array: Array) -> str:
    return f"[{','.join(map(str, array.shape))}]"


def _array(value: Any, number: int) -> Array:
    """Return a JSON value or nested list as an array of DataType ``number``."""
    quick = _regular(value, number)
    if quick is not None:
        return quick
    shape = []
    first = value
    while isinstance(first, list):
        shape.append(len(first))
        first = first[0] if first else None
    if len(shape) > _MAX_RANK:
        raise invalid_argument(f"A tensor of {len(shape)} dimensions cannot be read; there may be {_MAX_RANK}")
    leaves: list[Any] = []
    _collect(value, 0, shape, number, leaves)
    return _to_array(leaves, number).reshape(shape)


def _regular(value: Any, number: int) -> Array | None:
    """Return the array of a nested list of plain numbers by C speed, or None if one must look at every element."""
    shape: list[int] = []
    level = [value]
    while level and type(level[0]) is list:
        sizes = set(map(len, level)) if set(map(type, level)) == {list} else set()
        if len(sizes) != 1 or len(shape) == _MAX_RANK:
            return None
        shape.append(sizes.pop())
        level = list(chain.from_iterable(level))
    allowed = {int, float} if number in _FLOATS else {int}
    if not set(map(type, level)) <= allowed or number not in _FLOATS | _INTEGERS:
        return None
    if level and number in _INTEGERS and not _fits(level, number):
        return None
    return _to_array(level, number).reshape(shape)


def _fits(numbers: list[Any], number: int) -> bool:
    least, most = _RANGES.get(number, _INT32)
    return bool(least <= min(numbers) and max(numbers) <= most)


def _collect(value: Any, level: int, shape: list[int], number: int, leaves: list[Any]) -> None:
    """Append the elements of ``value``, in order and checked, to ``leaves``."""
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid_argument(
                f"JSON Value: {shown(value)} found at incorrect level: {level + 1} in the JSON DOM. Expected at "
                f"level: {len(shape)}"
            )
        leaves.append(_checked(value, number))
        return
    if level >= len(shape):
        raise invalid_argument(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid_argument(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for element in value:
        _collect(element, level + 1, shape, number, leaves)


def _checked(value: Any, number: int) -> Any:
    """Return one element, strings as bytes, if it is of DataType ``number``."""
    if number == _STRING and isinstance(value, dict):
        return base64_bytes(value)
    if number == _STRING and isinstance(value, str):
        return to_bytes(value)
    if number in _FLOATS and type(value) in (int, float):
        return value
    if number in _INTEGERS and type(value) is int:
        least, most = _RANGES.get(number, _INT32)
        if least <= value <= most:
            return value
    if number == _BOOL and isinstance(value, bool):
        return value
    if not isinstance(value, dict) and number not in {_STRING, _BOOL, *_FLOATS, *_INTEGERS}:
        raise StatusError(Code.UNIMPLEMENTED, f"Conversion of JSON Value: {shown(value)} to type: {dtype_name(number)}")
    raise invalid_argument(
        f"JSON Value: {shown(value)} Type: {type_name(value)} is not of expected type: {dtype_name(number)}"
    )


def _to_array(leaves: list[Any], number: int) -> Array:
    if number == _STRING:
        array = np.empty(len(leaves), np.object_)
        array[:] = leaves
        return array
    if number in _FLOATS:
        return floats(leaves, number)
    if number == _BOOL:
        return np.array(leaves, np.bool_)
    wide = np.uint64 if number == 23 else np.int64
    return np.array(leaves, wide).astype(_INTEGERS[number])
