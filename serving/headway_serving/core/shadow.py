"""Shadow traffic: a share of what the stable version has answered is asked of the candidate too, and compared.

No client gets the candidate's answers or waits for them: a copy is put on a bounded queue after the answer is
made, and one thread works it off at the lowest priority of admission. What finds the queue full, or the gateway busy,
is dropped and counted. Pixels, and features of a base that both versions stand on, are taken over from the answer.
"""

import logging
import random
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from headway_serving.core.admission import Admission, Priority
from headway_serving.core.classification import Classification
from headway_serving.core.errors import Overloaded, ServingError
from headway_serving.core.requests import ClassifyRequest, Deadline, SharedWork
from headway_serving.core.routing import Arm, Route, RouteTable

_SECONDS = 10.0
"""What a mirrored request may take; no client waits for it."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Comparison:
    """One picture: the label of each version, and how far apart their scores of the stable one's label are (0 to 1).

    ``score_shift`` is None where the shadow's classes do not have that label.
    """

    stable_label: str
    shadow_label: str
    score_shift: float | None


class ShadowObserver(Protocol):
    """Where it is counted how a shadow fared."""

    def compared(self, model: str, version: int, comparisons: list[Comparison]) -> None:
        """Pictures that both versions have answered."""
        ...

    def not_compared(self, model: str, version: int, outcome: str, pictures: int) -> None:
        """Pictures without a comparison; ``outcome``: ``error`` (the shadow failed) or ``dropped`` (never asked)."""
        ...


@dataclass(frozen=True)
class _Copy:
    request: ClassifyRequest
    answer: Classification
    shared: SharedWork
    route: Route
    size: int


Classify = Callable[[ClassifyRequest, Route, SharedWork], Classification]
"""Answers a request by one version."""


class ShadowMirror:
    """The queue and its thread. ``max_copies`` and ``max_bytes`` bound what waits."""

    def __init__(
        self,
        classify: Classify,
        admission: Admission,
        observer: ShadowObserver,
        max_copies: int = 64,
        max_bytes: int = 64 * 1024 * 1024,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._classify, self._admission, self._observer = classify, admission, observer
        self._max_copies, self._max_bytes = max_copies, max_bytes
        self._draw = draw
        self._waiting: deque[_Copy] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        """Mirrored requests that wait."""
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """Their bytes."""
        return self._bytes

    def offer(self, request: ClassifyRequest, answer: Classification, shared: SharedWork, table: RouteTable) -> None:
        """Mirror a request that was answered, if its model has a shadow and it is drawn; never blocks."""
        routes = table.models.get(request.model)
        shadow = None if routes is None else routes.shadow
        if shadow is None or answer.route.arm is not Arm.STABLE or answer.route.reason in ("version", "label"):
            return
        if not len(answer.scores) or self._draw() >= shadow.share:
            return
        route = Route(request.model, shadow.version, Arm.CANDIDATE, "shadow")
        size = sum(map(len, request.images)) + sum(each.pixels.nbytes for each in shared.pictures.values())
        copy = _Copy(request, answer, shared, route, size)
        with self._changed:
            if len(self._waiting) < self._max_copies and self._bytes + copy.size <= self._max_bytes:
                self._waiting.append(copy)
                self._bytes += copy.size
                self._changed.notify()
                # Most gateways never have a shadow.
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
                    self._thread.start()
                return
        self._dropped(copy)

    def _work(self) -> None:
        while True:
            copy = self._next()
            try:
                self._compare(copy)
            # The thread must outlive whatever a model does; what it is that failed stands in the log.
            except Exception:
                _log.exception("a shadow of %s failed", copy.route.model)
                self._failed(copy)

    def _next(self) -> _Copy:
        with self._changed:
            while not self._waiting:
                self._changed.wait()
            copy = self._waiting.popleft()
            self._bytes -= copy.size
            return copy

    def _compare(self, copy: _Copy) -> None:
        request = ClassifyRequest(
            copy.request.model, copy.request.images, copy.request.pin, copy.request.key, Deadline(_SECONDS),
            pixels=copy.request.pixels,
        )  # fmt: skip
        try:
            with self._admission.admitted(Priority.SHADOW, request.model, request.count, request.deadline.remaining):
                shadow = self._classify(request, copy.route, copy.shared)
        except Overloaded:
            self._dropped(copy)
        except ServingError:
            self._failed(copy)
        else:
            comparisons = compare(copy.answer, shadow)
            self._observer.compared(copy.route.model, copy.route.version, comparisons)

    def _dropped(self, copy: _Copy) -> None:
        self._observer.not_compared(copy.route.model, copy.route.version, "dropped", len(copy.answer.scores))

    def _failed(self, copy: _Copy) -> None:
        self._observer.not_compared(copy.route.model, copy.route.version, "error", len(copy.answer.scores))


def compare(stable: Classification, shadow: Classification) -> list[Comparison]:
    """The best labels of both versions, picture by picture, and how far the score of the stable one's has moved."""
    column = {label: index for index, label in enumerate(shadow.manifest.labels)}
    comparisons = []
    for ours, theirs in zip(stable.scores, shadow.scores, strict=True):
        best = int(np.argmax(ours))
        label = stable.manifest.labels[best]
        there = column.get(label)
        shift = None if there is None else abs(float(theirs[there]) - float(ours[best]))
        comparisons.append(Comparison(label, shadow.manifest.labels[int(np.argmax(theirs))], shift))
    return comparisons
