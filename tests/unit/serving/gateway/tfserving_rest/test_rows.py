"""The rows of a ``:predict`` body are those that a JSON parser finds, and any other body has none that could be cut."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway_serving.gateway.tfserving_rest.rows import joined, rows_of

TEXT = st.text(alphabet='ab"\\[]{},: é\n')
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
ROWS = st.lists(VALUES, min_size=1, max_size=7)
OTHER = st.dictionaries(TEXT, VALUES, max_size=2)


@given(
    rows=ROWS,
    before=OTHER,
    after=OTHER,
    indent=st.sampled_from([None, 1]),
    key=st.sampled_from(["instances", "inputs"]),
)
def test_pieces_hold_the_rows_in_their_order(
    rows: list[Any], before: dict[str, Any], after: dict[str, Any], indent: int | None, key: str
) -> None:
    document = {**before, key: rows, **after}
    found = rows_of(json.dumps(document, indent=indent).encode())
    assert found.count == len(rows)
    pieces = [json.loads(piece) for piece in found.pieces(3)]
    assert [row for piece in pieces for row in piece[key]] == rows
    assert all({**piece, key: rows} == document for piece in pieces)
    assert max(len(piece[key]) for piece in pieces) <= 3


@given(rows=ROWS)
def test_columns_are_cut_together(rows: list[Any]) -> None:
    document = {"inputs": {"a": rows, "b": [[row] for row in rows]}, "signature_name": "x"}
    found = rows_of(json.dumps(document).encode())
    assert found.can_be_divided
    pieces = [json.loads(piece)["inputs"] for piece in found.pieces(2)]
    assert [row for piece in pieces for row in piece["a"]] == rows
    assert all(piece["b"] == [[row] for row in piece["a"]] for piece in pieces)


def test_columns_of_different_rows_are_not_divided() -> None:
    found = rows_of(b'{"inputs": {"a": [1, 2, 3], "b": [1]}}')
    assert (found.count, found.can_be_divided) == (3, False)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"7", b'{"instances": []}', b'{"instances": 7}', b'{"instances"', b"{{{", b'{"a']
)
def test_a_body_without_rows_has_none(body: bytes) -> None:
    assert rows_of(body).count == 0


@given(body=st.binary() | st.text(alphabet='{}[]",:instace \\').map(str.encode))
def test_no_body_is_too_strange(body: bytes) -> None:
    found = rows_of(body)
    if found.count and found.can_be_divided:
        assert list(found.pieces(2))


def test_a_key_written_with_escapes_is_the_same_key() -> None:
    assert rows_of(rb'{"inst\u0061nces": [1, 2]}').count == 2


def test_answers_that_do_not_fit_are_not_joined() -> None:
    assert joined([b'{"predictions": [1]}', b'{"predictions": [2]}']) == b'{"predictions": [1, 2]}'
    assert joined([b'{"outputs": {"a": [1]}}', b'{"outputs": {"a": [2]}}']) == b'{"outputs": {"a": [1, 2]}}'
    for other in (b'{"outputs": [2]}', b"7", b'{"predictions": 7}', b"no"):
        assert joined([b'{"predictions": [1]}', other]) is None
