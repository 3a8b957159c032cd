"""Composes the Flask application from its parts; nothing here reads the environment or starts anything."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from flask import Blueprint, Flask
from werkzeug.routing import BaseConverter

from headway_contract.preprocessing import DecodeLimits
from headway_serving.adapters.files.tokens import TokenFile
from headway_serving.adapters.metrics import names
from headway_serving.adapters.metrics.prometheus import PrometheusMetrics
from headway_serving.adapters.model_server.batching import BatchingPredictor, BatchLimits
from headway_serving.concurrency.event_loop import in_thread
from headway_serving.concurrency.signal import Signal
from headway_serving.core.admission import Admission
from headway_serving.core.catalog import Catalog, ManifestSource, VersionStates
from headway_serving.core.classification import Classifier, Predictor
from headway_serving.core.decode_budget import DecodeBudget
from headway_serving.core.feedback import FeedbackDesk
from headway_serving.core.readiness import Readiness
from headway_serving.core.request_queue import QueueLimits
from headway_serving.core.request_trace import TraceContext
from headway_serving.core.routes_in_force import RoutesInForce
from headway_serving.core.routing import RouteTable
from headway_serving.core.shadow import ShadowMirror
from headway_serving.gateway.classify import endpoints as classify_endpoints
from headway_serving.gateway.classify import feedback as feedback_endpoints
from headway_serving.gateway.inference import endpoints as inference_endpoints
from headway_serving.gateway.inference import metadata_endpoints as inference_metadata_endpoints
from headway_serving.gateway.inference import triton_endpoints
from headway_serving.gateway.openapi import endpoints as docs_endpoints
from headway_serving.gateway.operators import health_endpoints, model_endpoints
from headway_serving.gateway.operators import metrics_endpoint as admin_endpoints
from headway_serving.gateway.requests import cross_origin, identity, problems
from headway_serving.gateway.requests.access_log import AccessLog
from headway_serving.gateway.requests.cross_origin import CrossOrigin
from headway_serving.gateway.requests.grammar import RequestLimits
from headway_serving.gateway.requests.identity import Authentication, Sample, follow
from headway_serving.gateway.requests.observation import Observer, Tracing
from headway_serving.gateway.server.dispatch import PicturePosts
from headway_serving.gateway.server.intake import GatewayIntake
from headway_serving.gateway.tfserving_rest import endpoints as tfserving_rest_endpoints
from headway_serving.gateway.tfserving_rest.endpoints import RestModelServer
from headway_serving.settings import GatewaySettings

_MOST_CALLS = 512


class NameConverter(BaseConverter):
    """One segment of a path up to a colon, as in ``/v1/models/NAME:classify``."""

    regex = "[^/:]+"


class GatewayTracing(Tracing, Protocol):
    """Chooses which requests are recorded, and records them."""

    def sample(self, caller: TraceContext | None, /) -> TraceContext | None:
        """The span of a request whose caller has this one."""
        ...


class ModelServer(Predictor, ManifestSource, VersionStates, Protocol):
    """All that the gateway asks of a model server."""


class RouteSource(Protocol):
    """Where the routes come from: a file, or a ConfigMap."""

    @property
    def read_at(self) -> float:
        """When the last good table was read, Unix time."""
        ...

    def content(self) -> RouteTable:
        """The last good table."""
        ...

    def problem(self) -> str | None:
        """Why the routes as they are now were refused, or None if they are in force."""
        ...

    def standing(self) -> Mapping[str, Any]:
        """``from``: where they come from; ``followed``: whether changes are seen; ``trouble``: why not."""
        ...

    def follow(self, take: Callable[[RouteTable], None]) -> None:
        """Have ``take`` called with every new good table; it must return at once."""
        ...

    def watch(self) -> None:
        """Begin to follow changes."""
        ...


@dataclass(frozen=True)
class Parts:
    """What the application is made of.

    ``rest``: where ``:predict`` is passed on to, if anywhere. ``tokens``: None lets everyone in. ``states``: what
    probes and listings are answered from, if not the model server itself. ``tracing``: where spans go, if anywhere; a
    caller's trace is followed without one too.
    """

    routes: RouteSource
    server: ModelServer
    metrics: PrometheusMetrics
    rest: RestModelServer | None = None
    tokens: TokenFile | None = None
    states: VersionStates | None = None
    tracing: GatewayTracing | None = None

    def states_of_all(self) -> VersionStates:
        """What probes and listings of every model ask."""
        return self.states or self.server


@dataclass(frozen=True)
class Gateway:
    """The application, which answers everything, and what our own HTTP server has besides: a shorter way for pictures.

    With ``settings.admin_port`` the application has no admin routes. ``routes``: those in force.
    """

    app: Flask
    posts: PicturePosts
    intake: GatewayIntake
    routes: Callable[[], RouteTable]


def create_gateway(parts: Parts, settings: GatewaySettings) -> Gateway:
    """Compose the gateway."""
    allowed = CrossOrigin(settings.origins)
    sample = follow if parts.tracing is None else parts.tracing.sample
    app = _app(parts, allowed, sample)
    limits = RequestLimits(
        settings.max_body_bytes,
        settings.max_images,
        settings.request_timeout_ms,
        settings.max_request_timeout_ms,
        settings.max_rows,
        settings.max_batch_rows,
        settings.max_answer_bytes,
    )
    app.config["MAX_CONTENT_LENGTH"] = limits.max_body_bytes
    app.url_map.converters["name"] = NameConverter
    catalog, admission = Catalog(parts.server), Admission(queue_limits(settings, settings.max_in_flight), Signal)
    parts.metrics.watch_queues(admission.states)
    readiness = Readiness(catalog, parts.server, of_all=parts.states_of_all())
    routes = _routes_in_force(parts, readiness, settings.routes_poll_seconds)
    classifier = _classifier(parts, settings, routes, catalog, admission)
    access_log = AccessLog(settings.access_log_share) if settings.access_log else None
    observer = Observer(routes.table, catalog, parts.metrics, access_log, parts.tracing)
    parts.metrics.watch_in_flight(observer.in_flight.count)
    classify = classify_endpoints.Classify(classifier, observer, limits)
    app.register_blueprint(classify_endpoints.blueprint(classify))
    app.register_blueprint(feedback_endpoints.blueprint(FeedbackDesk(routes.table, catalog, parts.metrics)))
    app.register_blueprint(inference_endpoints.blueprint(classifier, observer, limits))
    app.register_blueprint(tfserving_rest_endpoints.blueprint(parts.rest, classifier, observer, limits))
    app.register_blueprint(inference_metadata_endpoints.blueprint(routes, catalog, parts.server, readiness))
    app.register_blueprint(triton_endpoints.blueprint(routes, catalog, parts.metrics.totals, limits.max_images))
    app.register_blueprint(model_endpoints.blueprint(routes, catalog, readiness, parts.server, parts.states_of_all()))
    app.register_blueprint(health_endpoints.blueprint(parts.routes.problem, parts.routes.standing, routes, readiness))
    if not settings.admin_port:
        app.register_blueprint(_admin(parts))
    app.register_blueprint(docs_endpoints.blueprint(app, tokens_needed=parts.tokens is not None))
    intake = GatewayIntake(limits, settings.max_held_bytes, admission, observer, allowed)
    _watch_bodies(parts.metrics, intake, settings.max_held_bytes)
    return Gateway(app, PicturePosts(classify, _authentication(parts), allowed, sample), intake, routes.table)


def _watch_bodies(metrics: PrometheusMetrics, intake: GatewayIntake, max_held_bytes: int) -> None:
    metrics.watch_value(names.HELD_BYTES, lambda: intake.held)
    metrics.watch_value(names.HELD_BYTES_LIMIT, lambda: max_held_bytes)
    metrics.watch(names.HTTP_ANSWERS, lambda: [((str(status),), count) for status, count in intake.answers().items()])


def queue_limits(settings: GatewaySettings, most: int) -> QueueLimits:
    """How requests may wait, of which ``most`` are worked on at the same time."""
    return QueueLimits(most, settings.queue_target_ms / 1000, settings.request_timeout_ms / 1000)


def _routes_in_force(parts: Parts, readiness: Readiness, retry_seconds: float) -> RoutesInForce:
    routes = RoutesInForce(parts.routes.content(), readiness.of_version, retry_seconds)
    parts.routes.follow(routes.take)

    def pending() -> dict[str, bool]:
        waiting = routes.pending()
        return {name: name in waiting for name in sorted(routes.table().models)}

    parts.metrics.watch_route_table(routes.table)
    parts.metrics.watch_pending_routes(pending)
    return routes


def _classifier(
    parts: Parts, settings: GatewaySettings, routes: RoutesInForce, catalog: Catalog, admission: Admission
) -> Classifier:
    # Threads are made when they are needed: as many as calls may ever wait for the model server.
    callers = ThreadPoolExecutor(_MOST_CALLS, thread_name_prefix="call")
    # No more large pictures at the same time than there are cores: more would take as long. Small ones find threads
    # beside them.
    cores = os.cpu_count() or 1
    decoders = ThreadPoolExecutor(2 * cores, thread_name_prefix="decode")
    batch_limits = BatchLimits(settings.max_batch_rows, settings.target_batch_ms / 1000, settings.max_batches_in_flight)
    predictor = BatchingPredictor(parts.server, callers, batch_limits, parts.metrics.observe_batch)
    budget = DecodeBudget(settings.max_decode_bytes, cores, Signal)
    classifier = Classifier(
        routes=routes.table,
        catalog=catalog,
        predictor=predictor,
        limits=DecodeLimits(settings.max_image_bytes, settings.max_image_pixels),
        admission=admission,
        run_long_work=partial(in_thread, decoders),
        decode_budget=budget,
        rows_wanted=predictor.rows_wanted,
    )
    shadow = ShadowMirror(classifier.classify_by, admission, parts.metrics)
    _watch_work(parts.metrics, predictor, budget, shadow, settings.max_decode_bytes)
    return replace(classifier, mirror=shadow.offer)


def _watch_work(
    metrics: PrometheusMetrics,
    predictor: BatchingPredictor,
    budget: DecodeBudget,
    shadow: ShadowMirror,
    max_decode_bytes: int,
) -> None:
    metrics.watch(
        names.BATCH_WAITING_ROWS,
        lambda: [((model, str(version)), float(rows)) for model, version, rows in predictor.waiting_rows()],
    )
    metrics.watch_value(names.BATCH_CALLS, predictor.calls)
    metrics.watch_value(names.DECODE_BYTES, lambda: budget.used)
    metrics.watch_value(names.DECODE_BYTES_LIMIT, lambda: max_decode_bytes)
    metrics.watch_value(names.SHADOW_QUEUE, lambda: shadow.waiting)
    metrics.watch_value(names.SHADOW_QUEUE_BYTES, lambda: shadow.waiting_bytes)


def create_admin_app(parts: Parts) -> Flask:
    """The admin routes alone, for a port of their own; the same tokens open them."""
    app = _app(parts)
    app.register_blueprint(_admin(parts))
    return app


def _authentication(parts: Parts) -> Authentication:
    return Authentication(None if parts.tokens is None else parts.tokens.content, parts.metrics)


def _admin(parts: Parts) -> Blueprint:
    return admin_endpoints.blueprint(parts.metrics)


def _app(parts: Parts, allowed: CrossOrigin | None = None, sample: Sample = follow) -> Flask:
    """What every port has: request ids, tokens, and errors as problems; and pages of other origins, where allowed."""
    # No folder of static files: every route is one of ours.
    app = Flask("headway", static_folder=None)
    # A path with // is a wrong path: it gets a problem, not a redirect to a page of HTML.
    app.url_map.merge_slashes = False
    identity.install(app, sample)
    cross_origin.install(app, allowed or CrossOrigin())
    identity.install_authentication(app, _authentication(parts))
    problems.install(app)
    return app
