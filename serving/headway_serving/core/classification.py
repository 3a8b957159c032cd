"""The straight line of serving: bytes of pictures in, ranked predictions out.

Routing comes before preprocessing, because size, colour and crop belong to the version that answers.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headway_contract.errors import InvalidImage
from headway_contract.preprocessing import DecodeLimits, ImageSpec, decode_image, to_model_input
from headway_serving.core.catalog import Catalog
from headway_serving.core.errors import DeadlineExceeded, IncompatibleModel, PredictionFailed
from headway_serving.core.ranking import Prediction, rank
from headway_serving.core.routing import Pin, Route, RouteTable


class Predictor(Protocol):
    """Runs a model version on pixels."""

    def predict(self, route: Route, pixels: NDArray[np.uint8], timeout: float) -> NDArray[np.float32]:
        """``uint8[N, H, W, C]`` -> scores ``float32[N, K]`` within ``timeout`` seconds. Raises a ``ServingError``."""
        ...


class Deadline:
    """The moment by which a request must be answered, on the monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._at = time.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left, more than 0. Raises :class:`DeadlineExceeded` when there are none."""
        left = self._at - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded(f"no answer within the request's {self._seconds:g} s")
        return left


class Stages:
    """Seconds that one request spent in each stage, in the order of the stages."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Count the time of the block, also when it fails."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started


@dataclass(frozen=True)
class ClassifyRequest:
    """One request: encoded pictures, what it asks for, and how long it may take. ``key`` makes the arm sticky."""

    model: str
    images: Sequence[bytes]
    pin: Pin
    key: str
    deadline: Deadline
    top_k: int = 5
    min_confidence: float = 0.0


@dataclass
class Progress:
    """How far a request came: filled on the way, so that a failure can be counted for the version it happened on."""

    stages: Stages = field(default_factory=Stages)
    route: Route | None = None


@dataclass(frozen=True)
class Classification:
    """The route that answered and, for each picture in order, its predictions."""

    route: Route
    results: tuple[tuple[Prediction, ...], ...]


class InvalidImageInRequest(InvalidImage):
    """A picture of the request cannot be read; ``index`` says which, ``reason`` is the contract's error."""

    def __init__(self, index: int, count: int, reason: InvalidImage) -> None:
        where = f"image {index} of {count} (counted from 0): " if count > 1 else ""
        super().__init__(f"{where}{reason}")
        self.index = index
        self.reason = reason


@dataclass(frozen=True)
class Classifier:
    """Composes the line from its parts. ``routes`` gives the route table of this moment."""

    routes: Callable[[], RouteTable]
    catalog: Catalog
    predictor: Predictor
    limits: DecodeLimits

    def classify(self, request: ClassifyRequest, progress: Progress) -> Classification:
        """Answer one request. Raises a ``ServingError`` or :class:`InvalidImageInRequest`."""
        stages = progress.stages
        route = progress.route = self.routes().choose(request.model, request.pin, request.key)
        with stages.timed("manifest"):
            manifest = self.catalog.manifest(route, request.deadline.remaining())
        pixels = self._pixels(request, manifest.image, progress)
        with stages.timed("predict"):
            scores = self.predictor.predict(route, pixels, request.deadline.remaining())
        if scores.shape[1] != len(manifest.labels):
            raise IncompatibleModel(
                f"{route.model} version {route.version}: {scores.shape[1]} scores for {len(manifest.labels)} labels"
            )
        # NaN reaches no min_confidence: a broken model would look like one that is sure of nothing.
        if not np.isfinite(scores).all():
            raise PredictionFailed(f"{route.model} version {route.version} answered scores that are not finite numbers")
        with stages.timed("rank"):
            results = tuple(rank(row, manifest.labels, request.top_k, request.min_confidence) for row in scores)
        return Classification(route, results)

    def _pixels(self, request: ClassifyRequest, spec: ImageSpec, progress: Progress) -> NDArray[np.uint8]:
        """``uint8[N, H, W, C]``: one picture after the other, so that only one is ever held decoded."""
        stages, count = progress.stages, len(request.images)
        pixels = np.empty((count, *spec.shape), np.uint8)
        for index, data in enumerate(request.images):
            request.deadline.remaining()
            try:
                with stages.timed("decode"):
                    picture = decode_image(data, self.limits)
                with stages.timed("preprocess"):
                    pixels[index] = to_model_input(picture, spec)
            except InvalidImage as error:
                # A picture that cannot be read is the fault of no version.
                progress.route = None
                raise InvalidImageInRequest(index, count, error) from error
        return pixels
