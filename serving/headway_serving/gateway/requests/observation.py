"""What every door into the classifier does around it: one request to one model is one observation and one log line."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from flask import Response

from headway_serving.adapters.metrics.prometheus import Observation, PrometheusMetrics
from headway_serving.core.classification import Classification, Classifier
from headway_serving.core.requests import ClassifyRequest, Progress, SharedWork, Stages
from headway_serving.core.routing import Route
from headway_serving.gateway.requests.identity import current
from headway_serving.gateway.requests.problems import problem_of

T = TypeVar("T")

_access_log = logging.getLogger("headway.access")


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """An answer and what it counts as: pictures answered, ``ok`` or a problem's code, and HTTP status."""

    answer: T
    images: int = 0
    code: str = "ok"
    status: int = 200


@dataclass(frozen=True)
class ObservedClassifier:
    """The classifier with its metrics; with ``access_log`` each request leaves one JSON line."""

    classifier: Classifier
    metrics: PrometheusMetrics
    access_log: bool

    def answer(
        self,
        model: str,
        read: Callable[[Progress], ClassifyRequest],
        respond: Callable[[Classification, Progress], T],
        refuse: Callable[[Exception], T],
        shared: SharedWork | None = None,
    ) -> T:
        """Read a request, classify, and make the answer; every outcome is counted here, and no error passes.

        ``read`` may raise what is wrong with the request, ``refuse`` makes an answer of any error.
        """

        def work(progress: Progress) -> Outcome[T]:
            classification = self.classifier.classify(read(progress), progress, shared)
            return Outcome(respond(classification, progress), len(classification.scores))

        # Of a request to several models, each one's time is its own.
        return self.observe(model, work, refuse, since=None if shared is None else time.monotonic())

    def observe(
        self,
        model: str,
        work: Callable[[Progress], Outcome[T]],
        refuse: Callable[[Exception], T],
        since: float | None = None,
    ) -> T:
        """Let any work on a request to one model be counted as :meth:`answer` counts classifications.

        Its time began ``since`` on the monotonic clock, or when the request was received.
        """
        started = current().received_at if since is None else since
        progress = Progress()
        with self.metrics.in_flight:
            try:
                outcome = work(progress)
            except Exception as error:
                problem = problem_of(error)
                outcome = Outcome(refuse(error), 0, problem.code, problem.status)
                # What it passed may hold the error: a cycle, with the pictures in it.
                error.__traceback__ = None
        observation = Observation(
            model=model if model in self.classifier.routes().models else None,
            route=self._known(progress.route),
            code=outcome.code,
            images=outcome.images,
            seconds=time.monotonic() - started,
            stage_seconds=progress.stages.seconds,
            fallback=progress.fallback,
            bad_picture_codes=tuple(problem_of(problem).code for problem in progress.bad_pictures),
        )
        self.metrics.observe(observation)
        if self.access_log:
            _write_access_line(observation, outcome.status)
        return outcome.answer

    def count_refusal(self, model: str, error: Exception) -> None:
        """Count a request that was refused before anything was made of it."""
        problem = problem_of(error)
        known = model if model in self.classifier.routes().models else None
        observation = Observation(known, None, problem.code, 0, 0.0, {})
        self.metrics.observe(observation)
        if self.access_log:
            _write_access_line(observation, problem.status)

    def _known(self, route: Route | None) -> Route | None:
        # A version that a client typed becomes a metric label only once the model server has shown that it exists.
        if route is None or self.classifier.catalog.knows(route.model, route.version):
            return route
        routes = self.classifier.routes().models.get(route.model)
        return route if routes is not None and route.version in routes.versions() else None


def describe_route(response: Response, route: Route, stages: Stages) -> Response:
    """Say in the headers why the version was chosen, and how long each stage took."""
    response.headers.update(route_headers(route, stages))
    return response


def route_headers(route: Route, stages: Stages) -> list[tuple[str, str]]:
    """Why the version was chosen, and how many milliseconds each stage took."""
    timing = ", ".join([f"{stage};dur={seconds * 1000:.3f}" for stage, seconds in stages.seconds.items()])
    return [("X-Route-Reason", route.reason), ("Server-Timing", timing)]


def _write_access_line(observation: Observation, status: int) -> None:
    route, identity = observation.route, current()
    line = {
        "request_id": identity.request_id,
        "trace_id": identity.trace_id,
        "model": observation.model,
        "version": route.version if route else None,
        "arm": route.arm.value if route else None,
        "fallback_from": observation.fallback.route.version if observation.fallback else None,
        "code": observation.code,
        "status": status,
        "images": observation.images,
        "ms": round(observation.seconds * 1000, 3),
    }
    _access_log.info(json.dumps(line))
