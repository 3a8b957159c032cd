"""Composes the Flask application from its parts; nothing here reads the environment or starts anything."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from flask import Blueprint, Flask
from werkzeug.routing import BaseConverter

from headway_contract.preprocessing import DecodeLimits
from headway_serving.adapters.files.routes import RouteFile
from headway_serving.adapters.files.tokens import TokenFile
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
from headway_serving.core.routes_in_force import RoutesInForce
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
from headway_serving.gateway.requests.cross_origin import CrossOrigin
from headway_serving.gateway.requests.grammar import RequestLimits
from headway_serving.gateway.requests.identity import Authentication
from headway_serving.gateway.requests.observation import Observer
from headway_serving.gateway.server.dispatch import PicturePosts
from headway_serving.gateway.server.intake import GatewayIntake
from headway_serving.gateway.tfserving_rest import endpoints as tfserving_rest_endpoints
from headway_serving.gateway.tfserving_rest.endpoints import RestModelServer
from headway_serving.settings import GatewaySettings

_MOST_CALLS = 512


class NameConverter(BaseConverter):
    """One segment of a path up to a colon, as in ``/v1/models/NAME:classify``."""

    regex = "[^/:]+"


class ModelServer(Predictor, ManifestSource, VersionStates, Protocol):
    """All that the gateway asks of a model server."""


@dataclass(frozen=True)
class Parts:
    """What the application is made of.

    ``rest``: where ``:predict`` is passed on to, if anywhere. ``tokens``: None lets everyone in. ``states``: what
    probes and listings are answered from, if not the model server itself.
    """

    routes: RouteFile
    server: ModelServer
    metrics: PrometheusMetrics
    rest: RestModelServer | None = None
    tokens: TokenFile | None = None
    states: VersionStates | None = None

    def states_of_all(self) -> VersionStates:
        """What probes and listings of every model ask."""
        return self.states or self.server


@dataclass(frozen=True)
class Gateway:
    """The application, which answers everything, and what our own HTTP server has besides: a shorter way for pictures.

    With ``settings.admin_port`` the application has no admin routes.
    """

    app: Flask
    posts: PicturePosts
    intake: GatewayIntake


def create_gateway(parts: Parts, settings: GatewaySettings) -> Gateway:
    """Compose the gateway."""
    allowed = CrossOrigin(settings.origins)
    app = _app(parts, allowed)
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
    observer = Observer(routes.table, catalog, parts.metrics, settings.access_log)
    parts.metrics.watch_in_flight(observer.in_flight.count)
    classify = classify_endpoints.Classify(classifier, observer, limits)
    app.register_blueprint(classify_endpoints.blueprint(classify))
    app.register_blueprint(feedback_endpoints.blueprint(FeedbackDesk(routes.table, catalog, parts.metrics)))
    app.register_blueprint(inference_endpoints.blueprint(classifier, observer, limits))
    app.register_blueprint(tfserving_rest_endpoints.blueprint(parts.rest, classifier, observer, limits))
    app.register_blueprint(inference_metadata_endpoints.blueprint(routes, catalog, parts.server, readiness))
    app.register_blueprint(triton_endpoints.blueprint(routes, catalog, parts.metrics.totals, limits.max_images))
    app.register_blueprint(model_endpoints.blueprint(routes, catalog, readiness, parts.server, parts.states_of_all()))
    app.register_blueprint(health_endpoints.blueprint(parts.routes.problem, routes, readiness))
    if not settings.admin_port:
        app.register_blueprint(_admin(parts))
    app.register_blueprint(docs_endpoints.blueprint(app, tokens_needed=parts.tokens is not None))
    intake = GatewayIntake(limits, settings.max_held_bytes, admission, observer, allowed)
    return Gateway(app, PicturePosts(classify, _authentication(parts), allowed), intake)


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
    classifier = Classifier(
        routes=routes.table,
        catalog=catalog,
        predictor=predictor,
        limits=DecodeLimits(settings.max_image_bytes, settings.max_image_pixels),
        admission=admission,
        run_long_work=partial(in_thread, decoders),
        decode_budget=DecodeBudget(settings.max_decode_bytes, cores, Signal),
        rows_wanted=predictor.rows_wanted,
    )
    shadow = ShadowMirror(classifier.classify_by, admission, parts.metrics)
    return replace(classifier, mirror=shadow.offer)


def create_admin_app(parts: Parts) -> Flask:
    """The admin routes alone, for a port of their own; the same tokens open them."""
    app = _app(parts)
    app.register_blueprint(_admin(parts))
    return app


def _authentication(parts: Parts) -> Authentication:
    return Authentication(None if parts.tokens is None else parts.tokens.content, parts.metrics)


def _admin(parts: Parts) -> Blueprint:
    return admin_endpoints.blueprint(parts.metrics)


def _app(parts: Parts, allowed: CrossOrigin | None = None) -> Flask:
    """What every port has: request ids, tokens, and errors as problems; and pages of other origins, where allowed."""
    # No folder of static files: every route is one of ours.
    app = Flask("headway", static_folder=None)
    # A path with // is a wrong path: it gets a problem, not a redirect to a page of HTML.
    app.url_map.merge_slashes = False
    identity.install(app)
    cross_origin.install(app, allowed or CrossOrigin())
    identity.install_authentication(app, _authentication(parts))
    problems.install(app)
    return app
