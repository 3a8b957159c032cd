"""Concurrent requests for the same version share one Predict: the call costs more than a row in it.

Theory of operation. For every version and signature there is a queue and a small number of calls under way:

* no call is under way: one starts at once. On an event loop that is when the loop has handled what is ready, so that
  requests that arrived together go together; or, of many, when half a batch of them is here: then the model works on
  one half while the loop handles the other;
* else the rows wait. Whenever a call ends, all that has waited meanwhile goes into the next one, up to a bound: the
  busier the version, the larger its batches. The bound is in rows and in the time that rows add to a call
  (:mod:`.call_cost`), so that a slow model's batch does not delay a request for long. On an event loop, less than half
  a batch waits until the loop has handled what is ready: clients who were just answered may be among it;
* a further call beside the one under way is worth it only for half a batch: two small ones cost more than one. A row
  that takes long gains nothing from company, and other cores may be free for it.

A request that has waited until its deadline leaves the queue and is never sent; one whose deadline passes while its
batch is under way leaves alone. Rows of a request that are more than a batch are sent in pieces, between which others
get their turn. A batch that the model refuses is tried again request by request, so that one does not spoil another's
answer. The queues are bounded by what is worked on at the same time (``core.admission``), which follows
:meth:`BatchingPredictor.rows_wanted`.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headway_serving.adapters.model_server.call_cost import CallCost
from headway_serving.concurrency import event_loop
from headway_serving.concurrency.event_loop import running_loop
from headway_serving.concurrency.signal import Signal
from headway_serving.core import request_trace
from headway_serving.core.classification import Predictor
from headway_serving.core.errors import DeadlineExceeded, ModelUnavailable, PredictionFailed, without_frames
from headway_serving.core.request_trace import TraceContext
from headway_serving.core.routing import Route

_TURNS = 2
"""Of an event loop, until what was ready is in the queue: a request is read in one, and decoded in the next."""

_SMOOTHING = 0.1
"""Weight of the newest call in the running mean of the rows that are there."""

_LONG_ROW_SECONDS = 0.0015
"""A row that adds more costs as much in a batch as alone."""


@dataclass(frozen=True)
class BatchLimits:
    """``max_rows`` in one call, ``target_seconds`` that its rows may add to it, ``max_calls`` at the same time."""

    max_rows: int = 32
    target_seconds: float = 0.1
    max_calls: int = 2


class _Waiting:
    """Rows that wait for a call, and the answer that their request waits for."""

    __slots__ = ("abandoned", "answers", "came", "error", "expires_at", "route", "rows", "signal", "trace")

    def __init__(self, rows: NDArray[Any], route: Route, expires_at: float, came: float) -> None:
        self.rows, self.route, self.expires_at, self.came = rows, route, expires_at, came
        self.trace = request_trace.current()
        self.answers: NDArray[np.float32] | None = None
        self.error: Exception | None = None
        self.abandoned = False
        self.signal = Signal()

    def wait(self, seconds: float) -> NDArray[np.float32]:
        """The answer. Raises its error, or :class:`DeadlineExceeded` when the time is over; it is then not sent."""
        if not self.signal.wait(seconds):
            self.abandoned = True
            raise DeadlineExceeded("the model server did not answer within the request's time")
        error, self.error = self.error, None
        if error is not None:
            try:
                raise error
            finally:
                # The error's traceback holds this frame: without this, a cycle.
                del error
        assert self.answers is not None
        return self.answers

    def fail(self, error: Exception) -> None:
        """What :meth:`wait` will raise."""
        # Its frames lead to the batch, and so back here: a cycle with the pixels in it.
        self.error = without_frames(error)


class _Start(Enum):
    """Whether a request that begins to wait lets a call start: once the event loop has had its turn, or at once."""

    NOT = 0
    SOON = 1
    NOW = 2


class _Queue:
    """What waits for one version and signature, and how many calls are under way for it."""

    def __init__(self, limits: BatchLimits, clock: Callable[[], float]) -> None:
        self._max_calls = limits.max_calls
        self.cost = CallCost(limits.max_rows, limits.target_seconds, clock)
        self._lock = threading.Lock()
        self._waiting: deque[_Waiting] = deque()
        self._rows = self._rows_under_way = 0
        self._calls = 0
        # Most rows that waited or were under way between two calls: last, and in the running mean.
        self._most_rows, self._usual_rows = 0, float(limits.max_rows)
        # Of the calls, those that nobody has started yet: more may come to go with them.
        self._put_off = 0

    def enqueue(self, item: _Waiting) -> _Start:
        """Wait for a call to end, unless one may start: the caller then starts it."""
        with self._lock:
            self._waiting.append(item)
            self._rows += len(item.rows)
            self._most_rows = max(self._most_rows, self._rows + self._rows_under_way)
            if self._put_off and self._filled():
                self._put_off -= 1
                return _Start.NOW
            if not self._worth_a_call():
                return _Start.NOT
            self._calls += 1
            if item.signal.loop is None or self._filled():
                return _Start.NOW
            self._put_off += 1
            return _Start.SOON

    def state(self) -> tuple[int, int]:
        """Rows that wait, and calls under way or about to start."""
        return self._rows, self._calls

    def put_off(self) -> bool:
        """Leave the room of a call that has ended to one that starts soon. False: it is worth it now."""
        with self._lock:
            if self._filled():
                return False
            self._put_off += 1
            return True

    def take_up(self) -> bool:
        """Whether a call that was put off has not started meanwhile: the caller then starts it."""
        with self._lock:
            if not self._put_off:
                return False
            self._put_off -= 1
            return True

    def ended(self, batch: list[_Waiting]) -> None:
        """A call with this batch has ended; its room is still taken."""
        with self._lock:
            self._rows_under_way -= sum(len(item.rows) for item in batch)

    def next_batch(self) -> list[_Waiting]:
        """What the call that has ended makes room for; if nothing is worth it, empty, and the room is given back."""
        with self._lock:
            self._calls -= 1
            batch: list[_Waiting] = []
            rows, bound = 0, self.cost.max_rows
            while self._waiting and (batch or self._worth_a_call()):
                if batch and rows + len(self._waiting[0].rows) > bound:
                    break
                item = self._waiting.popleft()
                self._rows -= len(item.rows)
                if not item.abandoned:
                    batch.append(item)
                    rows += len(item.rows)
            if batch:
                self._calls += 1
                self._rows_under_way += rows
                self._usual_rows += _SMOOTHING * (self._most_rows - self._usual_rows)
                self._most_rows = self._rows + self._rows_under_way
            return batch

    def _worth_a_call(self) -> bool:
        if not self._calls:
            return True
        worth_it = self.cost.row_seconds > _LONG_ROW_SECONDS or self._filled()
        return self._calls < self._max_calls and worth_it

    def _filled(self) -> bool:
        """Whether so much waits that more company would save less than it costs to let the model idle.

        That is half of a batch, or of what usually is there: the other half has its turn meanwhile.
        """
        return 2 * self._rows >= int(min(self.cost.max_rows, self._usual_rows))

    def rows_wanted(self) -> int:
        """Rows that keep all calls filled, and, where a call is over soon, the next one too."""
        calls = self._max_calls if self.cost.row_seconds > _LONG_ROW_SECONDS else self._max_calls + 1
        return calls * self.cost.max_rows


class BatchingPredictor:
    """A :class:`Predictor` that sends what arrives at the same time to another one together. Safe for many threads.

    Calls for requests on an event loop are made on it: ``inner`` has to wait as :mod:`.event_loop` says. ``executor``
    runs the others, and should not be bounded below the number of versions times ``limits.max_calls``.
    ``observe`` gets the route, the signature and the rows of every call.
    """

    def __init__(
        self,
        inner: Predictor,
        executor: Executor,
        limits: BatchLimits,
        observe: Callable[[Route, str, int], None] = lambda *_: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner = inner
        self._executor = executor
        self._limits = limits
        self._observe, self._clock = observe, clock
        self._queues: dict[tuple[Any, ...], _Queue] = {}
        # The same by model, version and signature; rows of two shapes are rare.
        self._latest: dict[tuple[str, int, str], _Queue] = {}

    def predict(
        self, route: Route, rows: NDArray[Any], timeout: float, signature: str = "serving_default"
    ) -> NDArray[np.float32]:
        """N rows -> ``float32[N, K]``; see :class:`Predictor`."""
        expires_at = self._clock() + timeout
        # Rows of another shape would spoil the whole batch.
        queue = self._queue((route.model, route.version, signature, rows.dtype.char, rows.shape[1:]))
        bound = queue.cost.max_rows
        if len(rows) <= bound:
            return self._predict_some(queue, route, rows, expires_at, signature)
        pieces = [
            self._predict_some(queue, route, rows[start : start + bound], expires_at, signature)
            for start in range(0, len(rows), bound)
        ]
        return np.concatenate(pieces)

    def rows_wanted(self, route: Route, signature: str) -> int | None:
        """How many rows should be on their way to an answer, so that calls are filled; None if that is not known."""
        queue = self._latest.get((route.model, route.version, signature))
        return None if queue is None else queue.rows_wanted()

    def waiting_rows(self) -> list[tuple[str, int, int]]:
        """Model, version and the rows that wait for a call of it, of every version that was asked."""
        rows: dict[tuple[str, int], int] = {}
        for key, queue in list(self._queues.items()):
            rows[key[:2]] = rows.get(key[:2], 0) + queue.state()[0]
        return [(model, version, count) for (model, version), count in rows.items()]

    def calls(self) -> int:
        """Calls that are under way, or about to start."""
        return sum(queue.state()[1] for queue in list(self._queues.values()))

    def _queue(self, key: tuple[Any, ...]) -> _Queue:
        queue = self._queues.get(key)
        if queue is None:
            # setdefault is atomic: of two threads that meet here, both get the same queue.
            queue = self._queues.setdefault(key, _Queue(self._limits, self._clock))
            self._latest[key[:3]] = queue
        return queue

    def _predict_some(
        self, queue: _Queue, route: Route, rows: NDArray[Any], expires_at: float, signature: str
    ) -> NDArray[np.float32]:
        item = _Waiting(rows, route, expires_at, self._clock())
        start = queue.enqueue(item)
        if start is _Start.NOW:
            self._begin(item.signal.loop, queue, signature)
        elif start is _Start.SOON:
            assert item.signal.loop is not None
            self._begin_later(item.signal.loop, queue, signature, 1)
        return item.wait(max(0.0, expires_at - self._clock()))

    def _begin(self, loop: asyncio.AbstractEventLoop | None, queue: _Queue, signature: str) -> None:
        """Start the call that the queue has made room for."""
        if loop is None:
            self._executor.submit(self._drain, queue, signature)
        else:
            event_loop.start(loop, partial(self._drain, queue, signature), lambda _: None)

    def _begin_later(self, loop: asyncio.AbstractEventLoop, queue: _Queue, signature: str, turns: int) -> None:
        if turns:
            loop.call_soon(self._begin_later, loop, queue, signature, turns - 1)
        elif queue.take_up():
            self._begin(loop, queue, signature)

    def _drain(self, queue: _Queue, signature: str) -> None:
        """Call until nothing waits that is worth it; on an event loop, until less waits than is worth it at once."""
        loop = running_loop()
        while batch := queue.next_batch():
            self._send(queue, signature, batch)
            queue.ended(batch)
            if loop is not None and queue.put_off():
                self._begin_later(loop, queue, signature, _TURNS)
                return

    def _send(self, queue: _Queue, signature: str, batch: list[_Waiting]) -> None:
        try:
            rows = batch[0].rows if len(batch) == 1 else np.concatenate([item.rows for item in batch])
            began = self._clock()
            for item in batch:
                if item.trace is not None:
                    item.trace.batch_seconds += began - item.came
                    item.came = began
            # One call has one parent: of the requests whose traces are recorded, the first.
            request_trace.begin(_trace_of(batch))
            answers = self._call(queue, batch[0].route, rows, max(item.expires_at for item in batch), signature)
        except PredictionFailed as error:
            if len(batch) > 1:
                for item in batch:
                    self._send(queue, signature, [item])
                return
            batch[0].fail(error)
        # Whatever else happens, every request that waits must hear of it.
        except asyncio.CancelledError:
            for item in batch:
                item.fail(ModelUnavailable("the call to the model server was cancelled"))
        except Exception as error:
            for item in batch:
                item.fail(error)
        else:
            start = 0
            for item in batch:
                item.answers = answers[start : start + len(item.rows)]
                start += len(item.rows)
        for item in batch:
            item.signal.set()

    def _call(
        self, queue: _Queue, route: Route, rows: NDArray[Any], expires_at: float, signature: str
    ) -> NDArray[np.float32]:
        started = self._clock()
        if expires_at <= started:
            raise DeadlineExceeded("the request's time was over before the model was asked")
        answers = self._inner.predict(route, rows, expires_at - started, signature)
        queue.cost.measured(len(rows), self._clock() - started)
        self._observe(route, signature, len(rows))
        return answers


def _trace_of(batch: list[_Waiting]) -> TraceContext | None:
    contexts = [item.trace.context for item in batch if item.trace is not None and item.trace.context is not None]
    return next((each for each in contexts if each.sampled), contexts[0] if contexts else None)
