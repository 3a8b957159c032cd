"""How many rows a request may have, so that no number of them ends the process for want of memory.

What a row takes while a model runs is found by running one and two rows of the request and counting, in the runtime's
own trace, what all operations allocated; the second run's surplus is a row's share. That is more than is ever taken at
once, as much of it is freed meanwhile. Versions that Headway exported answer row by row, so that they are run in
parts where many rows would take too much; of others nobody knows whether a row changes its neighbours' answers, and
what would take more than there is gets RESOURCE_EXHAUSTED.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from headway_serving.modelserver.errors import Code, StatusError

Tensors = Mapping[str, NDArray[Any]]

FEW_ROWS = 8
"""Requests of so few rows are run unseen."""

_PART = 4
"""Rows that are run in parts take this part of the memory at most."""

_ANSWER_PART = 16
"""An answer may have this part of the memory: it exists up to four times while it is written."""

_MOST_KNOWN = 100


class MeasuredSession(Protocol):
    """A session that can say what a run has allocated."""

    def run(
        self, feeds: Tensors, fetches: Sequence[str] = (), targets: Sequence[str] = (), timeout_ms: int | None = None
    ) -> list[NDArray[Any]]:
        """Return the tensors named ``fetches``; raises StatusError."""

    def measure(self, feeds: Tensors, fetches: Sequence[str]) -> tuple[list[NDArray[Any]], int]:
        """Return what ``run`` does, and the bytes that all operations of the run allocated together."""


@dataclass(frozen=True)
class _RowCost:
    """Bytes that a row takes while it runs, and in the answer."""

    working: int
    answer: int


class RowBounds:
    """Runs requests on ``session`` within ``memory`` bytes; in parts if the version is ``row_wise``."""

    def __init__(self, session: MeasuredSession, memory: int, *, row_wise: bool) -> None:
        self._session = session
        self._memory = memory
        self._row_wise = row_wise
        self._known: dict[Any, _RowCost] = {}
        # What is too large for one run takes its part of the memory once, however many send such requests.
        self._one_in_parts = threading.Lock()

    def run(self, feeds: Tensors, fetches: Sequence[str], timeout_ms: int | None) -> list[NDArray[Any]]:
        """Return the tensors named ``fetches``. Raises StatusError, RESOURCE_EXHAUSTED for too many rows."""
        rows = _rows(feeds)
        if rows <= FEW_ROWS:
            return self._session.run(feeds, fetches, timeout_ms=timeout_ms)
        until = None if timeout_ms is None else time.monotonic() + timeout_ms / 1000
        cost = self._cost(feeds, fetches)
        if cost is None:
            return self._session.run(feeds, fetches, timeout_ms=_left(until))
        self._check_answer(rows, cost)
        most = self._memory // (max(cost.working, 1) * (_PART if self._row_wise else 1))
        if rows <= most:
            return self._session.run(feeds, fetches, timeout_ms=_left(until))
        if not self._row_wise:
            raise StatusError(
                Code.RESOURCE_EXHAUSTED,
                f"{rows} rows may take {rows * cost.working} bytes of memory while the model runs, and there are "
                f"{self._memory}. Send at most {most} rows at a time.",
            )
        with self._one_in_parts:
            return self._in_parts(feeds, fetches, max(most, 1), until)

    def _in_parts(self, feeds: Tensors, fetches: Sequence[str], most: int, until: float | None) -> list[NDArray[Any]]:
        parts = [
            self._session.run(_slice(feeds, begin, begin + most), fetches, timeout_ms=_left(until))
            for begin in range(0, _rows(feeds), most)
        ]
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def _check_answer(self, rows: int, cost: _RowCost) -> None:
        most = self._memory // _ANSWER_PART
        if rows * cost.answer > most:
            raise StatusError(
                Code.RESOURCE_EXHAUSTED,
                f"The answer to {rows} rows would have about {rows * cost.answer} bytes; there may be {most}. Send at "
                f"most {most // cost.answer} rows at a time, or ask for fewer outputs.",
            )

    def _cost(self, feeds: Tensors, fetches: Sequence[str]) -> _RowCost | None:
        """Return what a row takes; None if a request of one or two such rows fails, whose error the run then gives."""
        key = tuple(sorted((name, value.dtype.str, value.shape[1:]) for name, value in feeds.items())), tuple(fetches)
        # What a text stands for, a picture perhaps, is different in each request.
        texts = any(value.dtype == np.object_ for value in feeds.values())
        if key in self._known and not texts:
            return self._known[key]
        try:
            _, of_one = self._session.measure(_slice(feeds, 0, 1), fetches)
            outputs, of_two = self._session.measure(_slice(feeds, 0, 2), fetches)
        except StatusError:
            return None
        answer = sum(_bytes(output) // 2 for output in outputs if output.ndim and len(output) == 2)
        cost = _RowCost(max(of_two - of_one, answer), answer)
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[key] = cost
        return cost


def _rows(feeds: Tensors) -> int:
    """Return the rows that all tensors have; 0 if they have none, or different numbers of them."""
    found = {len(value) if value.ndim else 0 for value in feeds.values()}
    return found.pop() if len(found) == 1 else 0


def _slice(feeds: Tensors, begin: int, end: int) -> Tensors:
    return {name: value[begin:end] for name, value in feeds.items()}


def _bytes(output: NDArray[Any]) -> int:
    return sum(map(len, output.ravel().tolist())) if output.dtype == np.object_ else output.nbytes


def _left(until: float | None) -> int | None:
    """Return the milliseconds left until then on the monotonic clock."""
    return None if until is None else max(int((until - time.monotonic()) * 1000), 0)
