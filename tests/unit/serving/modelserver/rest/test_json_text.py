"""JSON in and out of the REST API, against Python's own reader and NumPy."""

import json
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_serving.apis import get_model_metadata_pb2

from headway_serving.modelserver.errors import StatusError
from headway_serving.modelserver.rest.json_text import decimals, parse_object, quoted, to_bytes
from headway_serving.modelserver.rest.outputs import write_outputs
from headway_serving.modelserver.rest.tensors import read_inputs

DTYPES = {1: np.float32, 2: np.float64, 3: np.int32, 9: np.int64, 23: np.uint64}
SHAPES = st.lists(st.integers(0, 3), max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def columns(value: Any, number: int) -> np.ndarray:
    return read_inputs({"inputs": value}, {"v": SimpleNamespace(dtype=number)}).arrays["v"]


def refusal(call: Callable[..., Any], *arguments: Any) -> str | None:
    """Return the text of the StatusError a call ends with; any other error is a failure of ours."""
    try:
        call(*arguments)
    except StatusError as error:
        return error.message
    return None


@given(st.dictionaries(st.text(), JSON, max_size=3))
def test_valid_json_is_read_as_python_reads_it(document: Any) -> None:
    assert parse_object(json.dumps(document).encode()) == document
    assert parse_object(json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"tail") is not None


@given(st.binary())
def test_any_bytes_are_read_or_refused_as_json(body: Any) -> None:
    refused = refusal(parse_object, body)
    assert refused is None or refused.startswith(("JSON Parse error: ", "JSON Value: "))


@given(st.binary())
def test_strings_keep_bytes_that_are_no_utf_8(value: Any) -> None:
    quoted_bytes = quoted(value).encode("utf-8", "surrogateescape")
    assert to_bytes(parse_object(b'{"a": ' + quoted_bytes + b"}")["a"]) == value


@given(st.sampled_from(sorted(DTYPES)), SHAPES, st.randoms(use_true_random=False))
def test_regular_lists_become_the_array_numpy_makes_of_them(number: Any, shape: Any, chance: Any) -> None:
    array = np.array([chance.randint(0, 1 << 20) for _ in range(math.prod(shape))], DTYPES[number]).reshape(shape)
    read = columns(array.tolist(), number)
    assert read.dtype == array.dtype
    # An empty list has no elements that could tell the dimensions after it.
    assert read.tolist() == array.tolist()


@given(st.lists(JSON, min_size=1, max_size=4), st.sampled_from([1, 3, 7, 10]))
def test_any_json_is_read_or_refused_as_rows_and_as_columns(value: Any, number: Any) -> None:
    for document in ({"instances": value}, {"inputs": value}):
        refused = refusal(read_inputs, document, {"v": SimpleNamespace(dtype=number)})
        assert refused is None or refused.partition(" ")[0] in {
            "JSON",
            "Failed",
            "Encountered",
            "Cannot",
            "Expecting",
            "Unable",
        }


def test_rows_read_at_once_equal_rows_read_one_by_one() -> None:
    rows = [[1, 2.5], [3, 4]]
    info = {"v": SimpleNamespace(dtype=1)}
    at_once = read_inputs({"instances": rows}, info).arrays["v"]
    by_name = read_inputs({"instances": [{"v": row} for row in rows]}, info).arrays["v"]
    beyond_a_mantissa = read_inputs({"instances": [*rows, [1e9, 0]]}, info).arrays["v"]
    assert at_once.tolist() == by_name.tolist() == beyond_a_mantissa[:2].tolist() == rows


@given(st.floats(width=32))
def test_floats_are_read_back_exactly(value: Any) -> None:
    (text,) = decimals(np.array([value], np.float32))
    read = np.float32(json.loads(text))
    assert read == np.float32(value) or (math.isnan(read) and math.isnan(value))


@given(st.floats())
def test_doubles_are_read_back_exactly(value: Any) -> None:
    (text,) = decimals(np.array([value], np.float64))
    read = json.loads(text)
    assert read == value or (math.isnan(read) and math.isnan(value))


@given(SHAPES, st.sampled_from([np.float32, np.int64, np.bool_]))
def test_outputs_are_json_of_the_same_values(shape: Any, dtype: Any) -> None:
    array = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
    assert json.loads(write_outputs({"v": array}, in_rows=False)) == {"outputs": array.tolist()}
    two = {"outputs": {"v": array.tolist(), "w": array.tolist()}}
    assert json.loads(write_outputs({"v": array, "w": array}, in_rows=False)) == two
    if shape:
        assert json.loads(write_outputs({"v": array}, in_rows=True)) == {"predictions": array.tolist()}
        rows = [{"v": row, "w": row} for row in array.tolist()]
        assert json.loads(write_outputs({"v": array, "w": array}, in_rows=True)) == {"predictions": rows}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a": ' + b"[" * 100_000, "JSON Parse error: Invalid value. at offset: 100006"),
        (b'{"a": ' + b"[" * 1_000_001, "JSON Parse error: The document is nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "JSON Parse error: Number too big to be stored in double. at offset: 6"),
        (b'{"a": -1e400}', "JSON Parse error: Number too big to be stored in double. at offset: 6"),
    ],
)
def test_what_would_hurt_is_refused(body: Any, expected: Any) -> None:
    with pytest.raises(StatusError) as caught:
        parse_object(body)
    assert caught.value.message == expected


def test_a_name_that_is_no_utf_8_is_no_input() -> None:
    signatures = get_model_metadata_pb2.SignatureDefMap()
    infos = dict(signatures.signature_def["s"].inputs)
    refused = refusal(read_inputs, parse_object(b'{"instances": [{"\xff": 1}]}'), infos)
    assert refused is not None
    assert "does not have named input: \udcff" in refused


def test_half_a_surrogate_pair_is_no_string() -> None:
    with pytest.raises(StatusError, match="surrogate pair"):
        columns(parse_object(b'{"a": "\\ud800"}')["a"], 7)
