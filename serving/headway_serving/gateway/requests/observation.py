"""One request to one model is one observation and one log line, whatever protocol it came by."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from headway_serving.adapters.metrics.key_sample import KeyedRequest
from headway_serving.adapters.metrics.prometheus import Observation, PrometheusMetrics
from headway_serving.core.catalog import Catalog
from headway_serving.core.requests import Progress, Stages
from headway_serving.core.routing import Route, RouteTable
from headway_serving.gateway.requests.exchange import Headers
from headway_serving.gateway.requests.identity import current
from headway_serving.gateway.requests.problems import problem_of

_access_log = logging.getLogger("headway.access")


class InFlight:
    """A block that is counted as long as something is in it. Safe for use by many threads."""

    def __init__(self) -> None:
        # Lists grow and shrink atomically: a number would need a lock.
        self._inside: list[None] = []

    def count(self) -> int:
        """How many are in it now."""
        return len(self._inside)

    def __enter__(self) -> None:
        self._inside.append(None)

    def __exit__(self, *_: object) -> None:
        self._inside.pop()


@dataclass(frozen=True)
class Observer:
    """Counts requests. ``access_log``: each leaves one JSON line too."""

    routes: Callable[[], RouteTable]
    catalog: Catalog
    metrics: PrometheusMetrics
    access_log: bool
    in_flight: InFlight = field(default_factory=InFlight)

    def request(self, model: str, since: float | None = None) -> "ObservedRequest":
        """A block that is one request to a model; what is raised in it is counted, and passes.

        Its time began ``since`` on the monotonic clock, or when the request was received.
        """
        return ObservedRequest(self, model, current().received_at if since is None else since)

    def count_refusal(self, model: str, error: Exception) -> None:
        """Count a request that was refused before anything was made of it."""
        self._count(
            Observation(self._routed(model), None, problem_of(error).code, 0, 0.0, {}), problem_of(error).status
        )

    def count(self, request: "ObservedRequest") -> None:
        """Count a request that has ended."""
        progress, seconds = request.progress, time.monotonic() - request.since
        chosen = progress.route if progress.fallback is None else progress.fallback.route
        if chosen is not None and chosen.position is not None:
            self._count_key(request, chosen, seconds)
        self._count(
            Observation(
                model=self._routed(request.model),
                route=self._known(progress.route),
                code=request.code,
                images=request.images,
                seconds=seconds,
                stage_seconds=progress.stages.seconds,
                fallback=progress.fallback,
                bad_picture_codes=tuple(problem_of(problem).code for problem in progress.bad_pictures),
            ),
            request.status,
        )

    def _count_key(self, request: "ObservedRequest", chosen: Route, seconds: float) -> None:
        routes, progress = self.routes().models.get(chosen.model), request.progress
        if routes is not None:
            code = request.code if progress.fallback is None else progress.fallback.code
            work = sum(spent for stage, spent in progress.stages.seconds.items() if stage != "read")
            each = work / max(request.images, 1)
            self.metrics.observe_key(KeyedRequest(chosen, routes.sampling, code, seconds, each, progress.best))

    def _count(self, observation: Observation, status: int) -> None:
        self.metrics.observe(observation)
        if self.access_log:
            _write_access_line(observation, status)

    def _routed(self, model: str) -> str | None:
        return model if model in self.routes().models else None

    def _known(self, route: Route | None) -> Route | None:
        # A version that a client typed becomes a metric label only once the model server has shown that it exists.
        if route is None or self.catalog.knows(route.model, route.version):
            return route
        routes = self.routes().models.get(route.model)
        return route if routes is not None and route.version in routes.versions() else None


class ObservedRequest:
    """A request while it is worked on. ``progress``: how far it came.

    ``images``: pictures answered; ``code``: ``ok`` or a problem's code; ``status``: of HTTP. Who answers sets them.
    """

    __slots__ = ("_observer", "code", "images", "model", "progress", "since", "status")

    def __init__(self, observer: Observer, model: str, since: float) -> None:
        self._observer, self.model, self.since = observer, model, since
        self.progress = Progress()
        self.images, self.code, self.status = 0, "ok", 200

    def __enter__(self) -> "ObservedRequest":
        self._observer.in_flight.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._observer.in_flight.__exit__()
        if isinstance(error, Exception):
            problem = problem_of(error)
            self.images, self.code, self.status = 0, problem.code, problem.status
        self._observer.count(self)


def route_headers(route: Route, stages: Stages) -> Headers:
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
