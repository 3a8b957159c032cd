"""The gateway process's composition root: environment -> parts -> application.

Importing does nothing.
"""

import logging
from concurrent.futures import ThreadPoolExecutor

from headway_serving.adapters.files.routes import RouteFile
from headway_serving.adapters.files.tokens import TokenFile
from headway_serving.adapters.metrics.prometheus import PrometheusMetrics, process_registry
from headway_serving.adapters.model_server.predictor import TfServingPredictor
from headway_serving.adapters.model_server.rest import TfServingRest
from headway_serving.gateway.app import Parts, create_admin_app, create_gateway
from headway_serving.gateway.requests.log_lines import OneLineFormatter
from headway_serving.gateway.server.admin_port import AdminServer
from headway_serving.gateway.server.asgi import FrontDoor
from headway_serving.gateway.server.bodies import BodyReader, BodyRules
from headway_serving.settings import GatewaySettings


def compose(settings: GatewaySettings) -> FrontDoor:
    """Compose the application and begin to follow its files.

    Raises ``InvalidRoutes``, ``InvalidTokens``, or OSError if the admin port cannot be had.
    """
    configure_logging(settings.log_level)
    routes = RouteFile(settings.routes_file, settings.routes_poll_seconds)
    metrics = PrometheusMetrics(process_registry())
    metrics.watch_routes(routes.problem)
    rest = TfServingRest(settings.model_server_rest, settings.threads) if settings.model_server_rest else None
    tokens = None
    if settings.tokens_file is not None:
        tokens = TokenFile(settings.tokens_file, settings.routes_poll_seconds)
        metrics.watch_tokens(tokens.problem)
        tokens.watch()
    parts = Parts(routes, TfServingPredictor(settings.model_server), metrics, rest, tokens)
    gateway = create_gateway(parts, settings)
    if settings.admin_port:
        AdminServer(settings.host, settings.admin_port, create_admin_app(parts)).start()
    routes.watch()
    bodies = BodyRules(
        settings.max_body_bytes, settings.max_held_bytes, settings.request_timeout_ms, settings.max_request_timeout_ms
    )
    return FrontDoor(
        gateway.app.wsgi_app,
        gateway.posts,
        ThreadPoolExecutor(settings.threads, thread_name_prefix="request"),
        BodyReader(bodies),
        gateway.refusals,
    )


def configure_logging(level: str) -> None:
    """Send log lines to stderr, one line each."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLineFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    # Pillow tells what it finds in users' pictures.
    logging.getLogger("PIL").setLevel(logging.ERROR)
