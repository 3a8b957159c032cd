"""One request to one model is one observation, one log line and one span, whatever protocol it came by."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from headway_serving.adapters.metrics.key_sample import KeyedRequest
from headway_serving.adapters.metrics.observations import Observation
from headway_serving.adapters.metrics.prometheus import PrometheusMetrics
from headway_serving.core.catalog import Catalog
from headway_serving.core.classification import PictureAnswer
from headway_serving.core.errors import Overloaded
from headway_serving.core.request_trace import TraceContext
from headway_serving.core.requests import Progress, Stages, StageSpan
from headway_serving.core.routing import Route, RouteTable
from headway_serving.gateway.requests.access_log import AccessLog
from headway_serving.gateway.requests.exchange import Headers
from headway_serving.gateway.requests.identity import current
from headway_serving.gateway.requests.problems import problem_of


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


class Tracing(Protocol):
    """Where requests of recorded traces go."""

    def request(
        self,
        span: TraceContext,
        parent: TraceContext | None,
        request_id: str,
        model: str | None,
        route: Route | None,
        code: str,
        status: int,
        began: float,
        ended: float,
        stages: list[StageSpan],
    ) -> None:
        """Record one as it ended, and its stages; times are seconds on the monotonic clock."""
        ...


@dataclass(frozen=True)
class Observer:
    """Counts requests. ``access_log``: each leaves a line there too; ``tracing``: and its spans there, if sampled."""

    routes: Callable[[], RouteTable]
    catalog: Catalog
    metrics: PrometheusMetrics
    access_log: AccessLog | None = None
    tracing: Tracing | None = None
    in_flight: InFlight = field(default_factory=InFlight)

    def request(self, model: str, since: float | None = None) -> "ObservedRequest":
        """A block that is one request to a model; what is raised in it is counted, and passes.

        Its time began ``since`` on the monotonic clock, or when the request was received.
        """
        return ObservedRequest(self, model, since)

    def count_refusal(self, model: str, error: Exception) -> None:
        """Count a request that was refused before anything was made of it."""
        problem = problem_of(error)
        observation = Observation(
            self._routed(model), None, problem.code, 0, 0.0, {}, status=problem.status, shed=_shed(error)
        )
        self.metrics.observe(observation)
        if self.access_log is not None:
            self.access_log.write(observation, current(), ())

    def count(self, request: "ObservedRequest") -> None:
        """Count a request that has ended."""
        progress, now = request.progress, time.monotonic()
        chosen = progress.route if progress.fallback is None else progress.fallback.route
        if chosen is not None and chosen.position is not None:
            self._count_key(request, chosen, now - request.since)
        span = request.span
        observation = Observation(
            model=self._routed(request.model),
            route=self._known(progress.route),
            code=request.code,
            images=request.images,
            seconds=now - request.since,
            stage_seconds=progress.stages.seconds,
            fallback=progress.fallback,
            bad_picture_codes=tuple([problem_of(problem).code for problem in progress.bad_pictures]),
            status=request.status,
            results=request.results,
            body_bytes=sum(map(len, request.pictures)) if request.pictures else None,
            shed=request.shed,
            token=request.identity.caller,
            trace_id=span.trace_id if span is not None and span.sampled else None,
        )
        self.metrics.observe(observation)
        if self.access_log is not None:
            self.access_log.write(observation, request.identity, request.pictures)
        if span is not None and span.sampled and self.tracing is not None:
            identity = request.identity
            self.tracing.request(
                span,
                identity.parent if span is identity.span else identity.span,
                identity.request_id,
                observation.model,
                observation.route,
                observation.code,
                observation.status,
                request.since,
                now,
                progress.stages.spans or [],
            )

    def _count_key(self, request: "ObservedRequest", chosen: Route, seconds: float) -> None:
        routes, progress = self.routes().models.get(chosen.model), request.progress
        if routes is not None:
            code = request.code if progress.fallback is None else progress.fallback.code
            spent = progress.stages.seconds
            work = sum(spent.values()) - spent.get("read", 0.0) - spent.get("queue", 0.0)
            each = work / max(request.images, 1)
            self.metrics.observe_key(KeyedRequest(chosen, routes.sampling, code, seconds, each, progress.best))

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

    ``images``: pictures answered; ``code``: ``ok`` or a problem's code; ``status``: of HTTP; ``pictures``: as they were
    sent; ``results``: what each got. Who answers sets them.
    """

    __slots__ = (
        "_observer", "code", "identity", "images", "model", "pictures", "progress", "results", "shed", "since", "span",
        "status",
    )  # fmt: skip

    def __init__(self, observer: Observer, model: str, since: float | None) -> None:
        self._observer, self.model, self.identity = observer, model, current()
        self.since = self.identity.received_at if since is None else since
        self.span = self.identity.take_span()
        self.progress = Progress()
        if self.span is not None and self.span.sampled and observer.tracing is not None:
            self.progress.stages.spans = []
        self.images, self.code, self.status = 0, "ok", 200
        self.pictures: Sequence[bytes] = ()
        self.results: Sequence[PictureAnswer] = ()
        self.shed: str | None = None

    def __enter__(self) -> "ObservedRequest":
        self._observer.in_flight.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._observer.in_flight.__exit__()
        if isinstance(error, Exception):
            problem = problem_of(error)
            self.images, self.code, self.status = 0, problem.code, problem.status
            self.results, self.shed = (), _shed(error)
        self._observer.count(self)


def _shed(error: Exception) -> str | None:
    return error.reason if isinstance(error, Overloaded) else None


def route_headers(route: Route, stages: Stages) -> Headers:
    """Why the version was chosen, and how many milliseconds each stage took."""
    timing = ", ".join([f"{stage};dur={seconds * 1000:.3f}" for stage, seconds in stages.seconds.items()])
    return [("X-Route-Reason", route.reason), ("Server-Timing", timing)]
