"""How many rows a request may have, on a session that counts what each row takes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from headway_serving.modelserver.errors import Code, StatusError
from headway_serving.modelserver.runtime.row_bounds import FEW_ROWS, RowBounds

MEMORY = 64_000


class Session:
    """Doubles its input; a row takes 1000 bytes, beside 50,000 for weights. ``runs``: the rows of each run."""

    def __init__(self, error: StatusError | None = None) -> None:
        self.runs: list[int] = []
        self.measured: list[int] = []
        self.limits: list[int | None] = []
        self._error = error

    def run(
        self,
        feeds: Mapping[str, Any],
        fetches: Sequence[str] = (),
        _targets: Sequence[str] = (),
        timeout_ms: int | None = None,
    ) -> list[Any]:
        self.runs.append(len(feeds["x"]))
        self.limits.append(timeout_ms)
        return [feeds["x"] * 2 if name == "y" else np.full(len(feeds["x"]), b"t" * 100, object) for name in fetches]

    def measure(self, feeds: Mapping[str, Any], fetches: Sequence[str]) -> tuple[list[Any], int]:
        if self._error is not None:
            raise self._error
        rows = len(feeds["x"])
        self.measured.append(rows)
        return self.run(feeds, fetches), 50_000 + 1000 * rows


def ask(session: Session, rows: int, fetches: Sequence[str] = ("y",), *, row_wise: bool = True) -> Any:
    bounds = RowBounds(session, MEMORY, row_wise=row_wise)
    x = np.arange(rows, dtype=np.float32)
    found = bounds.run({"x": x}, fetches, None)
    session.runs = [run for run in session.runs if run > 2]
    return found


def test_few_rows_are_run_unseen() -> None:
    session = Session()
    ask(session, FEW_ROWS)
    assert (session.runs, session.measured) == ([FEW_ROWS], [])


def test_rows_that_the_memory_holds_are_run_at_once() -> None:
    session = Session()
    ask(session, 16)
    assert session.runs == [16]


def test_more_rows_of_a_version_of_ours_are_run_in_parts_and_answered_in_order() -> None:
    session = Session()
    (found,) = ask(session, 100)
    # A quarter of the memory, for the runs of 1000 bytes a row.
    assert session.runs == [16] * 6 + [4]
    assert found.tolist() == (2 * np.arange(100)).tolist()


def test_of_other_versions_what_the_memory_does_not_hold_is_refused() -> None:
    session = Session()
    ask(session, 64, row_wise=False)
    assert session.runs == [64]
    with pytest.raises(StatusError) as caught:
        ask(session, 65, row_wise=False)
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    assert caught.value.message == (
        "65 rows may take 65000 bytes of memory while the model runs, and there are 64000. Send at most 64 rows at a "
        "time."
    )


def test_answers_that_multiply_are_refused_before_they_are_computed() -> None:
    session = Session()
    ask(session, 40, ["text"])
    session.runs.clear()
    with pytest.raises(StatusError) as caught:
        ask(session, 41, ["text"])
    assert [run for run in session.runs if run > 2] == []
    assert caught.value.message == (
        "The answer to 41 rows would have about 4100 bytes; there may be 4000. Send at most 40 rows at a time, or ask "
        "for fewer outputs."
    )


def test_what_a_row_takes_is_measured_once_for_its_shape() -> None:
    session = Session()
    bounds = RowBounds(session, MEMORY, row_wise=True)
    for width in (3, 3, 4):
        bounds.run({"x": np.zeros([9, width], np.float32)}, ["y"], None)
    assert session.measured == [1, 2, 1, 2]


def test_the_parts_share_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session()
    clock = iter(range(100))
    monkeypatch.setattr("headway_serving.modelserver.runtime.row_bounds.time.monotonic", lambda: next(clock))
    RowBounds(session, MEMORY, row_wise=True).run({"x": np.zeros(40, np.float32)}, ["y"], 10_000)
    assert [limit for limit in session.limits if limit is not None] == [9000, 8000, 7000]


def test_a_request_that_fails_is_left_to_its_own_run() -> None:
    session = Session(StatusError(Code.INVALID_ARGUMENT, "no such thing"))
    ask(session, 1000)
    assert session.runs == [1000]


def test_inputs_of_different_lengths_have_no_rows() -> None:
    session = Session()
    RowBounds(session, MEMORY, row_wise=True).run({"x": np.zeros(1000), "scale": np.float32(1)}, ["y"], None)  # type: ignore[dict-item]
    assert (session.runs, session.measured) == ([1000], [])
