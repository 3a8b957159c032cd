"""Which requests are worked on now, which wait, and which are turned away first.

Every model has a queue of its own (:mod:`.request_queue`, where the theory stands), and so have those of its requests
that go to a candidate: a slow candidate delays no stable request. When a queue sheds, kinds of traffic are let in up to
different shares of the target, so that they are turned away in order: shadow, candidate, batch (several pictures),
stable. Shadow traffic never waits: it is let in only where there is room to spare.

What waits is bounded by time, and by the memory that the bodies take (the gateway's intake), not by a number.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from headway_serving.core.errors import Overloaded
from headway_serving.core.request_queue import QueueLimits, RequestQueue, Ticket
from headway_serving.core.routing import Route


class Priority(Enum):
    """A kind of traffic; its value is the share of the target that its wait may have when the queue sheds."""

    SHADOW = 0.5
    CANDIDATE = 0.7
    BATCH = 0.85
    STABLE = 1.0


def priority_of(route: Route, pictures: int) -> Priority:
    """The kind of traffic that a request of so many pictures is, once its version is chosen."""
    if route.on_trial:
        return Priority.CANDIDATE
    return Priority.STABLE if pictures == 1 else Priority.BATCH


class Signal(Protocol):
    """What one waits for, once: in a thread, or on an event loop."""

    def wait(self, timeout: float) -> bool:
        """Wait until it is set, so many seconds at most; whether it is."""
        ...

    def set(self) -> None:
        """Let the one who waits go on; from any thread."""
        ...


@dataclass(frozen=True)
class QueueState:
    """A model's queue as it is now: pictures that wait and are worked on, seconds of waiting, whether it sheds.

    ``limit``: pictures that may be worked on at the same time.
    """

    waiting: int
    serving: int
    limit: int
    wait_seconds: float
    shedding: bool


class Admission:
    """The queues of all models. Safe for use by many threads and on an event loop."""

    def __init__(
        self,
        limits: QueueLimits | None = None,
        signal: Callable[[], Signal] = threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``signal`` makes what a request waits for where it is called."""
        self._limits = limits or QueueLimits()
        self._signal, self._clock = signal, clock
        self._lock = threading.Lock()
        self._queues: dict[tuple[str, bool], RequestQueue] = {}

    def admitted(self, priority: Priority, model: str, pictures: int, time_left: Callable[[], float]) -> "_Admitted":
        """A block that is a request being worked on; entering it waits for its turn.

        ``time_left``: the seconds that it has, more than 0; raises when there are none. Entering raises
        :class:`Overloaded` if the request is turned away, or if its time ends before its turn. What the block has
        learned of how many should be worked on at the same time, it may leave in ``wanted``.
        """
        return _Admitted(self, priority, model, pictures, time_left)

    def refusal(self, model: str) -> Overloaded | None:
        """The error of one more picture for a model if it would be turned away now, or None."""
        queue = self._queues.get((model, False))
        if queue is None or not queue.shedding:
            return None
        with self._lock:
            if queue.refuses(Priority.STABLE.value, self._clock()):
                return queue.overloaded()
        return None

    def states(self) -> Mapping[str, QueueState]:
        """The queue of every model that was asked, a candidate's in its model's."""
        with self._lock:
            now = self._clock()
            by_model: dict[str, list[RequestQueue]] = {}
            for (model, _), queue in self._queues.items():
                by_model.setdefault(model, []).append(queue)
            return {
                model: QueueState(
                    sum(each.waiting for each in queues),
                    sum(each.serving for each in queues),
                    sum(each.limit for each in queues),
                    max(each.wait for each in queues),
                    sum(each.sheds(now) for each in queues) > 0,
                )
                for model, queues in by_model.items()
            }

    def enter(self, priority: Priority, model: str, pictures: int, time_left: Callable[[], float]) -> Ticket:
        """Wait for a turn. Raises as :meth:`admitted`."""
        key = model, priority is Priority.CANDIDATE
        signal, seconds = None, time_left()
        with self._lock:
            now = self._clock()
            queue = self._queue(key, now)
            self._check_order(priority, model, queue, now)
            ticket, refused = queue.arrive(pictures, seconds, priority.value, now)
            if not (ticket.started or ticket.refused):
                signal = self._signal()
                ticket.called = signal.set
        for other in refused:
            other.called()
        if ticket.refused:
            raise queue.overloaded()
        if signal is not None:
            self._wait(signal, queue, ticket, seconds)
        return ticket

    def leave(self, priority: Priority, model: str, ticket: Ticket, wanted: int | None) -> None:
        """End a request that was worked on."""
        with self._lock:
            called = self._queues[model, priority is Priority.CANDIDATE].leave(ticket, self._clock(), wanted)
        for other in called:
            other.called()

    def _queue(self, key: tuple[str, bool], now: float) -> RequestQueue:
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = RequestQueue(self._limits, now)
        return queue

    def _check_order(self, priority: Priority, model: str, queue: RequestQueue, now: float) -> None:
        """Turn away shadow traffic where there is no room to spare, and a candidate's before the stable version's."""
        if priority is Priority.SHADOW and not queue.is_free(priority.value):
            raise queue.overloaded()
        if priority is Priority.CANDIDATE:
            stable = self._queues.get((model, False))
            if stable is not None and stable.refuses(priority.value, now):
                raise stable.overloaded()

    def _wait(self, signal: Signal, queue: RequestQueue, ticket: Ticket, seconds: float) -> None:
        signal.wait(seconds)
        with self._lock:
            if ticket.started:
                return
            reason = "limit" if ticket.refused else "deadline"
            queue.give_up(ticket)
            raise queue.overloaded(reason)


class _Admitted:
    # A class: a generator as context manager costs several times as much.
    __slots__ = ("_admission", "_model", "_pictures", "_priority", "_ticket", "_time_left", "wanted")

    def __init__(
        self,
        admission: Admission,
        priority: Priority,
        model: str,
        pictures: int,
        time_left: Callable[[], float],
    ) -> None:
        self._admission, self._priority, self._model = admission, priority, model
        self._pictures, self._time_left = pictures, time_left
        self.wanted: int | None = None
        self._ticket: Ticket | None = None

    def __enter__(self) -> "_Admitted":
        self._ticket = self._admission.enter(self._priority, self._model, self._pictures, self._time_left)
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Let others have its turn before the block ends: what takes its time is bounded elsewhere."""
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            self._admission.leave(self._priority, self._model, ticket, self.wanted)
