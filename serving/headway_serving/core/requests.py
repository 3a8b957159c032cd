"""What one request asks for, how long it may take, how far it came, and what a candidate on trial may cost it.

A candidate that the split has chosen cannot hurt: it gets half of the time left, and if it fails, the stable version
answers (:func:`answer_within`, for every protocol).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from headway_contract.preprocessing import ImageSpec
from headway_serving.core.errors import (
    DeadlineExceeded,
    IncompatibleModel,
    ModelUnavailable,
    PredictionFailed,
    VersionNotFound,
    without_frames,
)
from headway_serving.core.pictures import PreparedPictures
from headway_serving.core.routing import Pin, Route, RouteTable

T = TypeVar("T")

DEFAULT_TOP_K = 5
"""Predictions of a picture in an answer, when the request does not say how many."""

CANDIDATE_SHARE = 0.5
"""Of the time left, what a candidate gets before the stable version is asked; the other half is for its answer."""

VERSION_FAILURES = (ModelUnavailable, VersionNotFound, IncompatibleModel, PredictionFailed, DeadlineExceeded)
"""What a version can be blamed for; a request that another version would refuse too is not among them."""


class Deadline:
    """The moment by which a request must be answered: ``seconds`` after ``since`` on the monotonic clock, or now."""

    def __init__(self, seconds: float, since: float | None = None) -> None:
        self._seconds = seconds
        self._at = (time.monotonic() if since is None else since) + seconds

    def remaining(self) -> float:
        """Seconds left, more than 0. Raises :class:`DeadlineExceeded` when there are none."""
        left = self._at - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded(f"no answer within the request's {self._seconds:g} s")
        return left

    def part(self, share: float) -> "Deadline":
        """A deadline for a first try, after ``share`` (0 to 1) of the time that is left. Raises as above."""
        return Deadline(self.remaining() * share)


@dataclass(frozen=True, slots=True)
class StageSpan:
    """One stay in a stage: when it began and ended, on the monotonic clock, and whether it failed."""

    stage: str
    began: float
    ended: float
    failed: bool


class Stages:
    """Seconds that one request spent in each stage, in the order of the stages.

    ``spans``: of a request whose trace is recorded, each stay; else None.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.spans: list[StageSpan] | None = None

    def timed(self, stage: str, since: float | None = None) -> "_Timed":
        """A block whose time is counted, also when it fails; ``since``: it began then, on the monotonic clock."""
        return _Timed(self, stage, since)

    def spent(self, stage: str, began: float, ended: float, *, failed: bool = False) -> None:
        """Count a stay in a stage, from and to on the monotonic clock."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + ended - began
        if self.spans is not None:
            self.spans.append(StageSpan(stage, began, ended, failed))

    def move(self, stage: str, other: str, seconds: float) -> None:
        """Count a part of what was counted for ``stage`` for another one instead."""
        if seconds > 0:
            self.seconds[stage] = max(0.0, self.seconds[stage] - seconds)
            self.seconds[other] = self.seconds.get(other, 0.0) + seconds


class _Timed:
    # A class: a generator as context manager costs three times as much, and there are seven of them in a request.
    __slots__ = ("_stage", "_stages", "_started")

    def __init__(self, stages: Stages, stage: str, since: float | None) -> None:
        self._stages, self._stage, self._started = stages, stage, since

    def __enter__(self) -> None:
        if self._started is None:
            self._started = time.monotonic()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._started is not None
        self._stages.spent(self._stage, self._started, time.monotonic(), failed=kind is not None)


@dataclass(frozen=True)
class ClassifyRequest:
    """One request to one model: encoded pictures, what it asks for, and how long it may take.

    ``key`` makes the arm sticky. ``min_confidence``: None for the threshold of the version itself.
    ``pixels``: instead of ``images``, ``uint8[N, H, W, C]`` in the model's own geometry.
    """

    model: str
    images: Sequence[bytes]
    pin: Pin
    key: str
    deadline: Deadline
    top_k: int = DEFAULT_TOP_K
    min_confidence: float | None = 0.0
    pixels: NDArray[np.uint8] | None = None

    @property
    def count(self) -> int:
        """How many pictures are to be classified."""
        return len(self.images) if self.pixels is None else len(self.pixels)


@dataclass(frozen=True)
class Fallback:
    """A candidate that failed, the problem's code, and that the stable version answered in its place."""

    route: Route
    code: str


@dataclass
class Progress:
    """How far a request came: filled on the way, so that a failure can be counted for the version it happened on.

    ``wanted``: pictures of its model that should be worked on at the same time, as its calls have shown. ``best``:
    label and score of the first picture, where the split chose the version. ``leave_queue``: gives the request's turn
    to others.
    """

    stages: Stages = field(default_factory=Stages)
    route: Route | None = None
    fallback: Fallback | None = None
    bad_pictures: tuple[Exception, ...] = ()
    wanted: int | None = None
    best: tuple[str, float] | None = None
    leave_queue: Callable[[], None] = lambda: None


@dataclass
class SharedWork:
    """What the models that one request asks have in common: pixels by geometry, features by base version."""

    pictures: dict[ImageSpec, PreparedPictures] = field(default_factory=dict)
    features: dict[tuple[str, int, ImageSpec], NDArray[Any]] = field(default_factory=dict)


def answer_within(
    deadline: Deadline, route: Route, table: RouteTable, progress: Progress, ask: Callable[[Route, Deadline], T]
) -> T:
    """What ``ask`` answers for the route; if the split chose a candidate and it fails, what the stable version answers.

    ``ask`` gets the version and the time that it has. Raises what it raises for the version that had the last word;
    ``progress`` names that version, and the candidate that failed before it.
    """
    if not route.on_trial:
        return ask(route, deadline)
    try:
        return ask(route, deadline.part(CANDIDATE_SHARE))
    except VERSION_FAILURES as error:
        progress.fallback = Fallback(route, without_frames(error).code)
    stable = progress.route = table.fallback(route)
    return ask(stable, deadline)
