"""The gateway process's composition root: settings -> parts -> application -> server.

Importing does nothing.
"""

import logging
import os
from typing import TYPE_CHECKING

from flask import Flask

from headway_serving.adapters.files.routes import RouteFile
from headway_serving.adapters.files.routes_document import routes_digest
from headway_serving.adapters.files.tokens import TokenFile
from headway_serving.adapters.logs.setup import JSON, configure, unknown_variables
from headway_serving.adapters.metrics import names
from headway_serving.adapters.metrics.prometheus import PrometheusMetrics, process_registry
from headway_serving.adapters.metrics.surroundings import Supervision, memory_limit
from headway_serving.adapters.model_server.calls import ModelServerCall, Observe
from headway_serving.adapters.model_server.predictor import TfServingPredictor
from headway_serving.adapters.model_server.rest import TfServingRest
from headway_serving.adapters.model_server.version_watch import VersionWatch
from headway_serving.adapters.tracing.setup import TracingUnavailable, open_tracing
from headway_serving.core.polled_states import PolledStates
from headway_serving.gateway.app import Gateway, Parts, RouteSource, create_admin_app, create_gateway, queue_limits
from headway_serving.gateway.server.admin_port import AdminServer
from headway_serving.gateway.server.descriptors import most_connections
from headway_serving.gateway.server.dispatch import Dispatcher
from headway_serving.gateway.server.http_server import HttpServer
from headway_serving.settings import GatewaySettings, known_variables

if TYPE_CHECKING:
    from headway_serving.adapters.tracing.spans import Spans

_log = logging.getLogger(__name__)


def compose_server(settings: GatewaySettings) -> HttpServer:
    """Compose the gateway behind its own HTTP server, and begin to follow its files.

    Raises ``InvalidRoutes`` (also for a cluster that is not known), ``InvalidTokens``, or OSError if the admin port
    cannot be had.
    """
    gateway, model_server, metrics = _compose(settings)
    dispatcher = Dispatcher(
        gateway.app.wsgi_app,
        gateway.posts,
        queue_limits(settings, settings.threads),
        gateway.intake,
        (settings.host, settings.port),
    )
    most = most_connections()
    server = HttpServer(
        dispatcher,
        settings.host,
        settings.port,
        settings.drain_seconds,
        most,
        at_start=model_server.open_on_loop,
    )
    metrics.watch_value(names.CONNECTIONS, lambda: len(server.protocols))
    metrics.watch_value(names.CONNECTIONS_LIMIT, lambda: most)
    metrics.watch_value(names.DRAINING, lambda: server.stopping)
    return server


def compose_application(settings: GatewaySettings) -> Flask:
    """Compose the gateway for any WSGI server, and begin to follow its files. Raises as :func:`compose_server`."""
    return _compose(settings)[0].app


def _compose(settings: GatewaySettings) -> tuple[Gateway, TfServingPredictor, PrometheusMetrics]:
    lines = configure("gateway", as_json=settings.log_format == JSON, level=settings.log_level)
    for remark in unknown_variables(os.environ, known_variables()):
        _log.warning("%s", remark)
    routes = _routes(settings)
    metrics = PrometheusMetrics(process_registry(), settings.slo_seconds)
    _watch_files(metrics, routes, settings)
    metrics.watch(names.LOG_RECORDS, lambda: [((level,), count) for level, count in list(lines.counts.items())])
    rest = None
    if settings.model_server_rest:
        rest = TfServingRest(settings.model_server_rest, settings.threads, settings.max_answer_bytes)
    tokens = None
    if settings.tokens_file is not None:
        tokens = TokenFile(settings.tokens_file, settings.routes_poll_seconds)
        metrics.watch_tokens(tokens.problem)
        tokens.watch()
    spans = _spans()
    observe = metrics.observe_call if spans is None else _both(metrics.observe_call, spans.call)
    model_server = TfServingPredictor(settings.model_server, settings.model_server_socket, observe)
    parts = Parts(routes, model_server, metrics, rest, tokens, PolledStates(model_server), spans)
    gateway = create_gateway(parts, settings)
    if settings.admin_port:
        AdminServer(settings.host, settings.admin_port, create_admin_app(parts)).start()
    routes.watch()
    versions = VersionWatch(model_server, lambda: gateway.routes().models, settings.model_server)
    metrics.watch(names.MODEL_SERVER_UP, versions.up)
    metrics.watch(names.VERSION_STATE, versions.states)
    metrics.watch(names.VERSION_LOAD_FAILED, versions.failures)
    versions.start()
    return gateway, model_server, metrics


def _spans() -> "Spans | None":
    """Where spans go, if OpenTelemetry's variables say so; what keeps them from it is logged, and nothing else."""
    try:
        return open_tracing(os.environ, "headway-gateway")
    except TracingUnavailable as error:
        _log.error("no traces are recorded: %s", error)
        return None


def _both(one: Observe, other: Observe) -> Observe:
    def observe(call: ModelServerCall) -> None:
        one(call)
        other(call)

    return observe


def _watch_files(metrics: PrometheusMetrics, routes: RouteSource, settings: GatewaySettings) -> None:
    metrics.watch_routes(routes.problem)
    metrics.watch(names.ROUTES_INFO, lambda: [((routes_digest(routes.content()),), 1.0)])
    metrics.watch_value(names.ROUTES_TIMESTAMP, lambda: routes.read_at)
    metrics.watch(names.MEMORY_LIMIT_BYTES, memory_limit)
    if settings.supervision_file is not None:
        supervision = Supervision(settings.supervision_file)
        metrics.watch(names.CHILD_UP, supervision.up)
        metrics.watch(names.CHILD_RESTARTS, supervision.restarts)


def _routes(settings: GatewaySettings) -> RouteSource:
    if not settings.routes:
        return RouteFile(settings.routes_file, settings.routes_poll_seconds)
    # Only now: a gateway that follows a file needs nothing of this.
    from headway_serving.adapters.kubernetes.watched_routes import watch_routes  # noqa: PLC0415

    where = settings.routes.removeprefix("kubernetes:")
    return watch_routes(where, settings.routes_file, settings.routes_poll_seconds)
