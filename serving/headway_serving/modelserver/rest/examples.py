"""Classify's and Regress's JSON: examples to tf.Example messages, and results back to JSON."""

from __future__ import annotations

from typing import Any

import numpy as np

from headway_serving.modelserver.errors import StatusError, invalid_argument
from headway_serving.modelserver.rest.json_text import (
    INDENT,
    decimals,
    format_error,
    quoted,
    single_line,
    to_bytes,
    type_name,
)
from headway_serving.modelserver.rest.tensors import base64_bytes, floats, is_base64

_INT64_LIMIT, _UINT64_LIMIT = 1 << 63, 1 << 64


def read_examples(document: dict[str, Any], message: Any) -> None:
    """Fill an empty Input message from the body of Classify or Regress; raises StatusError INVALID_ARGUMENT."""
    target = message.example_list
    if "context" in document:
        target = message.example_list_with_context
        _read_example(document["context"], target.context)
    if "examples" not in document:
        raise format_error(document, "When method is classify, key 'examples' is expected and was not found")
    examples = document["examples"]
    if not isinstance(examples, list):
        raise format_error(document, "Expecting 'examples' value to be an list/array")
    if not examples:
        raise format_error(document, "'examples' value is an empty array")
    for example in examples:
        _read_example(example, target.examples.add())


def write_classifications(result: Any) -> str:
    """Return the JSON text of a ClassificationResult: for each example a list of [label, score]."""
    rows = []
    for classifications in result.classifications:
        scores = decimals(np.array([found.score for found in classifications.classes], np.float32))
        pairs = zip(classifications.classes, scores, strict=True)
        rows.append("[" + ", ".join(f"[{quoted(found.label)}, {score}]" for found, score in pairs) + "]")
    return f'{{\n{INDENT}"results": [{", ".join(rows)}\n{INDENT}]\n}}'


def write_regressions(result: Any) -> str:
    """Return the JSON text of a RegressionResult: a value for each example."""
    values = decimals(np.array([found.value for found in result.regressions], np.float32))
    (text,) = single_line(values, 1, [len(values)])
    return f'{{\n{INDENT}"results": {text}\n}}'


def _read_example(value: Any, example: Any) -> None:
    if not isinstance(value, dict):
        raise invalid_argument(f"Example must be JSON object but got JSON {type_name(value)}")
    for name, content in value.items():
        feature = example.features.feature[to_bytes(name).decode("utf-8", "replace")]
        for element in content if isinstance(content, list) else [content]:
            _add_value(element, name, feature)


def _add_value(value: Any, name: str, feature: Any) -> None:
    """Append a JSON value to the list of its kind; a feature's values are all of one kind."""
    kind, converted = _feature_value(value, name)
    present = feature.WhichOneof("kind")
    if present not in (None, kind):
        expected = present.removesuffix("_list")
        raise invalid_argument(f"Unexpected element type in feature: {name} expecting type: {expected}")
    getattr(feature, kind).value.append(converted)


def _feature_value(value: Any, name: str) -> tuple[str, Any]:
    if isinstance(value, str):
        return "bytes_list", to_bytes(value)
    if is_base64(value):
        return "bytes_list", base64_bytes(value)
    if value is None or isinstance(value, dict | list):
        raise _unexpected(value, name)
    if isinstance(value, bool) or (isinstance(value, int) and -_INT64_LIMIT <= value < _INT64_LIMIT):
        return "int64_list", int(value)
    if isinstance(value, int) and 0 <= value < _UINT64_LIMIT:
        raise invalid_argument(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
    return "float_list", floats([value]).item()


def _unexpected(value: Any, name: str) -> StatusError:
    return invalid_argument(f"Feature: {name} has element with unexpected JSON type: {type_name(value)}")
