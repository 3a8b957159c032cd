"""Predict's outputs as JSON, in rows (``predictions``) or columns (``outputs``)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from headway_serving.modelserver.apis.tensor_codec import dtype_number, type_name
from headway_serving.modelserver.errors import invalid_argument
from headway_serving.modelserver.rest.json_text import INDENT, decimals, many_lines, quoted, single_line

Array = NDArray[Any]

_FLOATS = frozenset({"float", "double"})
_INTEGERS = frozenset({"int8", "int16", "int32", "int64", "uint8", "uint32", "uint64"})


def write_outputs(arrays: Mapping[str, Array], *, in_rows: bool) -> str:
    """Return the JSON text of a Predict reply. Raises StatusError INVALID_ARGUMENT for what JSON cannot carry."""
    return _write_rows(arrays) if in_rows else _write_columns(arrays)


def _write_rows(arrays: Mapping[str, Array]) -> str:
    batch = None
    for alias, array in arrays.items():
        if array.ndim == 0:
            raise invalid_argument(f"Tensor name: {alias} has no shape information ")
        if batch is not None and len(array) != batch:
            text = f"Tensor name: {alias} has inconsistent batch size: {len(array)} expecting: {batch}"
            raise invalid_argument(text)
        batch = len(array)
    assert batch is not None, "a signature has an output"
    named = len(arrays) > 1
    columns = {}
    for alias, array in arrays.items():
        depth = (3 if named else 2) + array.ndim - 1
        columns[alias] = single_line(_texts(alias, array, depth), batch, array.shape[1:])
    if not named:
        ((_, cells),) = columns.items()
        text = "[" + ", ".join(cells) + (f"\n{INDENT}]" if cells else "]")
    else:
        rows = [_write_row({alias: cells[index] for alias, cells in columns.items()}) for index in range(batch)]
        text = "[\n" + ",\n".join(rows) + f"\n{INDENT}]" if rows else "[]"
    return f'{{\n{INDENT}"predictions": {text}\n}}'


def _write_row(cells: Mapping[str, str]) -> str:
    lines = ",\n".join(f"{INDENT * 3}{quoted(alias)}: {text}" for alias, text in cells.items())
    return f"{INDENT * 2}{{\n{lines}\n{INDENT * 2}}}"


def _write_columns(arrays: Mapping[str, Array]) -> str:
    depth = 2 if len(arrays) > 1 else 1
    texts = {
        alias: many_lines(_texts(alias, array, depth + array.ndim), array.shape, depth)
        for alias, array in arrays.items()
    }
    if len(texts) == 1:
        ((_, text),) = texts.items()
    else:
        text = "{\n" + ",\n".join(f"{INDENT * 2}{quoted(alias)}: {item}" for alias, item in texts.items())
        text += f"\n{INDENT}}}"
    return f'{{\n{INDENT}"outputs": {text}\n}}'


def _texts(alias: str, array: Array, depth: int) -> list[str]:
    """Return each element as JSON; strings of an output called *_bytes as b64 objects, inside ``depth`` containers."""
    flat = array.ravel()
    name = type_name(dtype_number(array))
    if name in _FLOATS:
        return decimals(flat)
    if name in _INTEGERS:
        return list(map(str, flat.tolist()))
    if name == "bool":
        return ["true" if value else "false" for value in flat.tolist()]
    if name == "string" and alias.endswith("_bytes"):
        return [_base64_object(value, depth) for value in flat.tolist()]
    if name == "string":
        return [quoted(value) for value in flat.tolist()]
    raise invalid_argument(f"Failed to write JSON value for tensor type: {name}")


def _base64_object(value: bytes, depth: int) -> str:
    encoded = base64.b64encode(value).decode()
    return f'{{\n{INDENT * (depth + 1)}"b64": "{encoded}"\n{INDENT * depth}}}'
