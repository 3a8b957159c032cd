"""How many requests are worked on at the same time, and which are turned away first.

Theory of operation. Beyond a certain number of requests under way, one more makes none faster: it only waits, and all
others with it. That number depends on the models and the machine, so it is learned:

* a request that meets at most one other shows how long its kind (model and number of pictures, in powers of two) takes
  *unloaded*; the median of the last such requests is the kind's reference;
* over each short window, every finished request is compared with its kind's reference, or with ``QUICK_SECONDS`` where
  that is more: nobody minds a few milliseconds, and ordinary clients keep some tens of requests under way. If the
  median of these ratios is above ``TOLERANCE``, the limit shrinks by a tenth; if the limit was nearly reached and all
  was well, it grows (additive increase, multiplicative decrease, as TCP does: Chiu and Jain 1989). Medians, because a
  busy machine delays a few requests for long without being short of anything.

A request that finds the limit reached is turned away at once, with the seconds after which what is under way will be
done. Kinds of traffic may fill the limit to different shares, so that they are turned away in order: shadow, candidate,
batch (several pictures), stable. A kind that was never seen unloaded says nothing about the limit.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from enum import Enum
from statistics import median

from headway_serving.core.errors import Overloaded
from headway_serving.core.routing import Route

TOLERANCE = 3.5
"""How many times its unloaded latency a request may take before the limit shrinks."""

QUICK_SECONDS = 0.015
"""A latency that is never held against a model, seconds."""

_WINDOW_SECONDS = 0.1
_WINDOW_SAMPLES = 16
_REFERENCE_SAMPLES = 64
_ENOUGH_REFERENCES = 8
_SHRINK = 0.9
_RATE_SMOOTHING = 0.2


class Priority(Enum):
    """A kind of traffic; its value is the share of the limit that may be taken when it is let in."""

    SHADOW = 0.5
    CANDIDATE = 0.7
    BATCH = 0.85
    STABLE = 1.0


def priority_of(route: Route, pictures: int) -> Priority:
    """The kind of traffic that a request of so many pictures is, once its version is chosen."""
    if route.on_trial:
        return Priority.CANDIDATE
    return Priority.STABLE if pictures == 1 else Priority.BATCH


class Admission:
    """Lets requests in, up to a learned limit between ``least`` and ``most``. Safe for use by many threads."""

    def __init__(self, most: int, least: int = 10, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._least = most, min(least, most)
        self._clock = clock
        self._lock = threading.Lock()
        self._limit = float(most)
        self._in_flight = 0
        self._arrived = 0
        self._references: dict[tuple[str, int], _Reference] = {}
        self._ratios: list[float] = []
        self._peak = 0
        self._finished = 0
        self._rate = 0.0
        self._window_started = clock()

    @property
    def limit(self) -> int:
        """Requests that may be under way at the same time now."""
        return int(self._limit)

    @property
    def in_flight(self) -> int:
        """Requests that are under way."""
        return self._in_flight

    def admitted(self, priority: Priority, model: str, pictures: int) -> "_Admitted":
        """A block that counts as a request under way. Entering it raises :class:`Overloaded` instead."""
        return _Admitted(self, priority.value, (model, pictures.bit_length()))

    def enter(self, share: float) -> tuple[int, int, float]:
        """Begin a request that may fill ``share`` of the limit: how many it met, how many had come, and the time.

        Raises :class:`Overloaded`.
        """
        with self._lock:
            others = self._in_flight
            if others >= max(1, int(self._limit * share)):
                raise self.overloaded()
            self._in_flight = others + 1
            self._arrived += 1
            if others >= self._peak:
                self._peak = others + 1
            return others, self._arrived, self._clock()

    def leave(self, kind: tuple[str, int], begun: tuple[int, int, float], *, answered: bool) -> None:
        """End a request that has begun so."""
        others, arrived, started = begun
        with self._lock:
            now = self._clock()
            self._in_flight -= 1
            self._finished += 1
            # A failure is faster or slower than the work that it replaces: it says nothing.
            if answered:
                self._learn(kind, now - started, alone=max(others, self._arrived - arrived) <= 1)
            if now - self._window_started >= _WINDOW_SECONDS:
                self._adapt(now)

    def overloaded(self) -> Overloaded:
        """The error of a request that is turned away now, with the seconds until what is under way will be done."""
        seconds = self._in_flight / self._rate if self._rate > 0 else 1.0
        return Overloaded(f"{self._in_flight} requests are being answered, as many as can be in good time", seconds)

    def _learn(self, kind: tuple[str, int], seconds: float, *, alone: bool) -> None:
        reference = self._references.get(kind)
        if reference is None:
            reference = self._references[kind] = _Reference()
        if alone:
            reference.add(seconds)
        if reference.seconds is not None:
            self._ratios.append(seconds / reference.seconds)

    def _adapt(self, now: float) -> None:
        elapsed = now - self._window_started
        self._rate += _RATE_SMOOTHING * (self._finished / elapsed - self._rate)
        self._finished, self._window_started = 0, now
        if len(self._ratios) < _WINDOW_SAMPLES:
            return
        if median(self._ratios) > TOLERANCE:
            self._limit = max(float(self._least), self._limit * _SHRINK)
        elif self._peak >= 0.8 * self._limit:
            self._limit = min(float(self._most), self._limit + max(1.0, 0.05 * self._limit))
        self._ratios.clear()
        self._peak = self._in_flight


class _Reference:
    """How long one kind of request takes unloaded; ``seconds`` is None until enough of them were seen."""

    def __init__(self) -> None:
        self._samples: deque[float] = deque(maxlen=_REFERENCE_SAMPLES)
        self.seconds: float | None = None

    def add(self, seconds: float) -> None:
        """One more request, which met no other."""
        self._samples.append(seconds)
        if len(self._samples) >= _ENOUGH_REFERENCES:
            self.seconds = max(median(self._samples), QUICK_SECONDS)


class _Admitted:
    # A class: a generator as context manager costs several times as much.
    __slots__ = ("_admission", "_begun", "_kind", "_share")

    def __init__(self, admission: Admission, share: float, kind: tuple[str, int]) -> None:
        self._admission, self._share, self._kind = admission, share, kind

    def __enter__(self) -> None:
        self._begun = self._admission.enter(self._share)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._admission.leave(self._kind, self._begun, answered=kind is None)
