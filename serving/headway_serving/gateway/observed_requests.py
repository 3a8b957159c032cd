"""What every door into the classifier does around it: one request to one model is one observation and one log line."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from flask import g

from headway_serving.adapters.prometheus_metrics import Observation, PrometheusMetrics
from headway_serving.core.classification import Classification, Classifier
from headway_serving.core.requests import ClassifyRequest, Progress, SharedWork
from headway_serving.core.routing import Route
from headway_serving.gateway.error_responses import problem_of

T = TypeVar("T")

_access_log = logging.getLogger("headway.access")


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
        started = time.perf_counter()
        progress, code, status, images = Progress(), "ok", 200, 0
        with self.metrics.in_flight.track_inprogress():
            try:
                classification = self.classifier.classify(read(progress), progress, shared)
                images = len(classification.scores)
                answer = respond(classification, progress)
            except Exception as error:
                problem, answer = problem_of(error), refuse(error)
                code, status = problem.code, problem.status
        observation = Observation(
            model=model if model in self.classifier.routes().models else None,
            route=self._known(progress.route),
            code=code,
            images=images,
            seconds=time.perf_counter() - started,
            stage_seconds=progress.stages.seconds,
            fallback=progress.fallback,
            bad_picture_codes=tuple(problem_of(problem).code for problem in progress.bad_pictures),
        )
        self.metrics.observe(observation)
        if self.access_log:
            _write_access_line(observation, status)
        return answer

    def _known(self, route: Route | None) -> Route | None:
        # A version that a client typed becomes a metric label only once the model server has shown that it exists.
        return route if route is not None and self.classifier.catalog.knows(route.model, route.version) else None


def _write_access_line(observation: Observation, status: int) -> None:
    route = observation.route
    line = {
        "request_id": g.request_id,
        "trace_id": g.trace_id,
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
