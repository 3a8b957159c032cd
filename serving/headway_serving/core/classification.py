"""The straight line of serving: bytes of pictures in, ranked predictions out.

Routing comes before preprocessing, because size, colour and crop belong to the version that answers.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from headway_contract.errors import InvalidImage
from headway_contract.model_manifest import ModelManifest
from headway_contract.preprocessing import DecodeLimits, ImageSpec
from headway_serving.core.admission import Admission, priority_of
from headway_serving.core.catalog import Catalog
from headway_serving.core.decode_budget import DecodeBudget
from headway_serving.core.errors import IncompatibleModel, InvalidRequest, PredictionFailed
from headway_serving.core.pictures import PreparedPictures, RunLongWork, in_place, of_pixels, prepare
from headway_serving.core.ranking import Prediction, rank
from headway_serving.core.request_trace import current
from headway_serving.core.requests import ClassifyRequest, Deadline, Progress, SharedWork, answer_within
from headway_serving.core.routing import Route, RouteTable

_ANY_BYTES = 2**40


class Predictor(Protocol):
    """Runs a model version on rows of pixels or features."""

    def predict(
        self, route: Route, rows: NDArray[Any], timeout: float, signature: str = "serving_default"
    ) -> NDArray[np.float32]:
        """N rows -> ``float32[N, K]`` within ``timeout`` seconds. Raises a ``ServingError``.

        A version that answers a familiarity beside its scores has it in a last column, behind them.
        ``signature``: ``serving_default`` (``uint8[N, H, W, C]`` -> scores), ``features`` (``uint8[N, H, W, C]`` ->
        features) or ``from_features`` (``float32[N, D]`` -> scores).
        """
        ...


PictureAnswer = tuple[Prediction, ...] | InvalidImage
"""What one picture got: its predictions, or why it could not be read."""


@dataclass(frozen=True)
class Classification:
    """The route that answered and, for each picture in order, its predictions or its problem.

    ``scores``: ``float32[M, K]`` of the pictures that could be read, one column per label of ``manifest``.
    ``familiarities``: by place of a picture, 0 to 1, if the version answers them. ``abstains``: whether no prediction
    means that the version would rather not answer, as its own threshold was asked for.
    """

    route: Route
    manifest: ModelManifest
    results: tuple[PictureAnswer, ...]
    scores: NDArray[np.float32]
    familiarities: Mapping[int, float] = field(default_factory=dict)
    abstains: bool = False


@dataclass(frozen=True)
class Classifier:
    """Composes the line from its parts.

    ``routes`` gives the route table of this moment; ``mirror`` is shown every answer, for shadow traffic; pictures that
    are not small are decoded by ``run_long_work``, within ``decode_budget``; ``rows_wanted`` says of a version and
    signature how many rows keep its calls filled, or None.
    """

    routes: Callable[[], RouteTable]
    catalog: Catalog
    predictor: Predictor
    limits: DecodeLimits
    admission: Admission
    mirror: Callable[[ClassifyRequest, Classification, SharedWork, RouteTable], None] = lambda *_: None
    run_long_work: RunLongWork = in_place
    decode_budget: DecodeBudget = field(default_factory=lambda: DecodeBudget(_ANY_BYTES, most_large=1))
    rows_wanted: Callable[[Route, str], int | None] = lambda *_: None

    def classify(
        self, request: ClassifyRequest, progress: Progress, shared: SharedWork | None = None
    ) -> Classification:
        """Answer one request. ``shared`` is what other models of the same pictures have done already.

        A candidate that the split has chosen and that fails is replaced by the stable version within the same
        deadline. Raises a ``ServingError``, or ``InvalidImage`` for a request of one picture that cannot be read.
        """
        shared = shared or SharedWork()
        table = self.routes()
        route = progress.route = table.choose(request.model, request.pin, request.key)

        def ask(version: Route, deadline: Deadline) -> Classification:
            return self._answer(request, version, deadline, progress, shared)

        priority, time_left = priority_of(route, request.count), request.deadline.remaining
        came = time.monotonic()
        with self.admission.admitted(priority, request.model, request.count, time_left) as admitted:
            progress.stages.spent("queue", came, time.monotonic())
            progress.leave_queue = admitted.leave
            answer = answer_within(request.deadline, route, table, progress, ask)
            admitted.wanted = progress.wanted
        self.mirror(request, answer, shared, table)
        return answer

    def classify_by(self, request: ClassifyRequest, route: Route, shared: SharedWork) -> Classification:
        """Answer a request by one version, whatever the routes say. Raises as :meth:`classify`."""
        return self._answer(request, route, request.deadline, Progress(), shared)

    def _answer(
        self, request: ClassifyRequest, route: Route, deadline: Deadline, progress: Progress, shared: SharedWork
    ) -> Classification:
        stages = progress.stages
        with stages.timed("manifest"):
            manifest = self.catalog.manifest(route, deadline.remaining())
        pictures = self._pictures(request, manifest.image, deadline, progress, shared)
        scores, familiarities = self._scores(route, manifest, pictures, deadline, progress, shared)
        least = _own_threshold(manifest) if request.min_confidence is None else request.min_confidence
        with stages.timed("rank"):
            ranked = {
                index: rank(row, manifest.labels, request.top_k, least)
                for index, row in zip(pictures.indexes, scores, strict=True)
            }
            if route.position is not None and len(scores):
                best = int(np.argmax(scores[0]))
                progress.best = manifest.labels[best], float(scores[0][best])
        answers: dict[int, PictureAnswer] = {**ranked, **pictures.problems}
        results = tuple(answers[index] for index in range(request.count))
        familiar = dict(zip(pictures.indexes, familiarities, strict=True)) if familiarities else {}
        return Classification(route, manifest, results, scores, familiar, abstains=request.min_confidence is None)

    def _pictures(
        self, request: ClassifyRequest, spec: ImageSpec, deadline: Deadline, progress: Progress, shared: SharedWork
    ) -> PreparedPictures:
        pictures = shared.pictures.get(spec)
        if pictures is None:
            if request.pixels is None:
                timed = progress.stages.timed
                pictures = prepare(
                    request.images,
                    spec,
                    self.limits,
                    timed,
                    deadline.remaining,
                    self.decode_budget,
                    progress.leave_queue,
                    self.run_long_work,
                )
            elif request.pixels.shape[1:] == spec.shape:
                pictures = of_pixels(request.pixels)
            else:
                raise InvalidRequest(
                    f"images has shape {list(request.pixels.shape)}; {request.model} takes [N, "
                    f"{', '.join(map(str, spec.shape))}]"
                )
            shared.pictures[spec] = pictures
            progress.bad_pictures = tuple(pictures.problems.values())
        if pictures.problems and request.count == 1:
            # A picture that cannot be read is the fault of no version.
            progress.route = None
            raise pictures.problems[0]
        return pictures

    def _scores(
        self,
        route: Route,
        manifest: ModelManifest,
        pictures: PreparedPictures,
        deadline: Deadline,
        progress: Progress,
        shared: SharedWork,
    ) -> tuple[NDArray[np.float32], list[float]]:
        """The scores of the pictures, and their familiarities if the version answers any."""
        if not len(pictures.pixels):
            return np.empty((0, len(manifest.labels)), np.float32), []
        if manifest.form == "standalone":
            scores = self._predict(route, pictures.pixels, deadline, progress, "serving_default", "predict")
        else:
            base = manifest.base
            assert base is not None  # the manifest was checked for it
            key = (base.model, base.version, manifest.image)
            features = shared.features.get(key)
            if features is None:
                of_base = replace(route, model=base.model, version=base.version, reason="base")
                features = self._predict(of_base, pictures.pixels, deadline, progress, "features", "features")
                shared.features[key] = features
            scores = self._predict(route, features, deadline, progress, "from_features", "predict")
        familiarities: list[float] = []
        if manifest.familiarity is not None and scores.shape[1] == len(manifest.labels) + 1:
            scores, familiarities = scores[:, :-1], scores[:, -1].tolist()
        _check(scores, manifest, route)
        return scores, familiarities

    def _predict(
        self, route: Route, rows: NDArray[Any], deadline: Deadline, progress: Progress, signature: str, stage: str
    ) -> NDArray[np.float32]:
        with progress.stages.timed(stage):
            answers = self.predictor.predict(route, rows, deadline.remaining(), signature)
        trace = current()
        if trace is not None:
            progress.stages.move(stage, "batch", trace.take_batch_seconds())
        wanted = self.rows_wanted(route, signature)
        if wanted is not None:
            progress.wanted = min(wanted, progress.wanted or wanted)
        return answers


def _own_threshold(manifest: ModelManifest) -> float:
    """Below which score the version would rather not answer: 0 if it does not say."""
    return 0.0 if manifest.abstention is None else manifest.abstention.threshold


def _check(scores: NDArray[np.float32], manifest: ModelManifest, route: Route) -> None:
    if scores.shape[1] != len(manifest.labels):
        raise IncompatibleModel(
            f"{route.model} version {route.version}: {scores.shape[1]} scores for {len(manifest.labels)} labels"
        )
    # NaN reaches no min_confidence: a broken model would look like one that is sure of nothing.
    if not np.isfinite(scores).all():
        raise PredictionFailed(f"{route.model} version {route.version} answered scores that are not finite numbers")
