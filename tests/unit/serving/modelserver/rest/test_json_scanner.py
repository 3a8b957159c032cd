"""The reader without recursion reads what Python's own reads, and refuses it with the same words at the same place."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway_serving.modelserver.rest.json_scanner import MOST_LEVELS, TooDeep, scan

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def read(text: str) -> Any:
    return scan(text, 0, make_object=dict, whole=int, fraction=float)


def outcome(reader: Any, text: str) -> Any:
    try:
        return reader(text)
    except json.JSONDecodeError as error:
        return error.msg, error.pos


@given(JSON, st.sampled_from([None, 1]))
def test_it_reads_what_python_reads(value: Any, indent: Any) -> None:
    text = json.dumps(value, indent=indent)
    assert read(text) == json.loads(text) == value


@given(JSON, st.integers(0, 30))
def test_what_is_cut_off_is_refused_in_the_same_place(value: Any, length: int) -> None:
    text = json.dumps([value])[:length]
    python = json.JSONDecoder()
    assert outcome(read, text) == outcome(lambda cut: python.raw_decode(cut)[0], text)


@pytest.mark.parametrize(
    "text", ["[1,]", '{"a" 1}', '{"a": 1 "b"}', "[1 2]", "{1: 2}", '{"a": 1,}', "[tru]", "nonsense"]
)
def test_other_texts_are_refused_in_the_same_place(text: str) -> None:
    assert outcome(read, text) == outcome(json.loads, text)


def test_infinity_has_two_names() -> None:
    assert read("[Inf, -Inf, Infinity, -Infinity]") == [math.inf, -math.inf, math.inf, -math.inf]
    assert outcome(read, "[Infi]") == ("Expecting value", 1)


def test_depth_is_no_recursion_and_has_an_end() -> None:
    assert read("[" * 100_000 + "]" * 100_000) != []
    with pytest.raises(TooDeep):
        read("[" * (MOST_LEVELS + 1))
