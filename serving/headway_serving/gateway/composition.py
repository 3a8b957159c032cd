"""The gateway process's composition root: settings -> parts -> application -> server.

Importing does nothing.
"""

import logging

from flask import Flask

from headway_serving.adapters.files.routes import RouteFile
from headway_serving.adapters.files.tokens import TokenFile
from headway_serving.adapters.metrics.prometheus import PrometheusMetrics, process_registry
from headway_serving.adapters.model_server.predictor import TfServingPredictor
from headway_serving.adapters.model_server.rest import TfServingRest
from headway_serving.core.polled_states import PolledStates
from headway_serving.gateway.app import Gateway, Parts, create_admin_app, create_gateway, queue_limits
from headway_serving.gateway.requests.log_lines import OneLineFormatter
from headway_serving.gateway.server.admin_port import AdminServer
from headway_serving.gateway.server.descriptors import most_connections
from headway_serving.gateway.server.dispatch import Dispatcher
from headway_serving.gateway.server.http_server import HttpServer
from headway_serving.settings import GatewaySettings


def compose_server(settings: GatewaySettings) -> HttpServer:
    """Compose the gateway behind its own HTTP server, and begin to follow its files.

    Raises ``InvalidRoutes``, ``InvalidTokens``, or OSError if the admin port cannot be had.
    """
    gateway, model_server = _compose(settings)
    dispatcher = Dispatcher(
        gateway.app.wsgi_app,
        gateway.posts,
        queue_limits(settings, settings.threads),
        gateway.intake,
        (settings.host, settings.port),
    )
    return HttpServer(
        dispatcher,
        settings.host,
        settings.port,
        settings.drain_seconds,
        most_connections(),
        at_start=model_server.open_on_loop,
    )


def compose_application(settings: GatewaySettings) -> Flask:
    """Compose the gateway for any WSGI server, and begin to follow its files. Raises as :func:`compose_server`."""
    return _compose(settings)[0].app


def _compose(settings: GatewaySettings) -> tuple[Gateway, TfServingPredictor]:
    configure_logging(settings.log_level)
    routes = RouteFile(settings.routes_file, settings.routes_poll_seconds)
    metrics = PrometheusMetrics(process_registry())
    metrics.watch_routes(routes.problem)
    rest = None
    if settings.model_server_rest:
        rest = TfServingRest(settings.model_server_rest, settings.threads, settings.max_answer_bytes)
    tokens = None
    if settings.tokens_file is not None:
        tokens = TokenFile(settings.tokens_file, settings.routes_poll_seconds)
        metrics.watch_tokens(tokens.problem)
        tokens.watch()
    model_server = TfServingPredictor(settings.model_server, settings.model_server_socket)
    parts = Parts(routes, model_server, metrics, rest, tokens, PolledStates(model_server))
    gateway = create_gateway(parts, settings)
    if settings.admin_port:
        AdminServer(settings.host, settings.admin_port, create_admin_app(parts)).start()
    routes.watch()
    return gateway, model_server


def configure_logging(level: str) -> None:
    """Send log lines to stderr, one line each."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLineFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    # Pillow tells what it finds in users' pictures.
    logging.getLogger("PIL").setLevel(logging.ERROR)
