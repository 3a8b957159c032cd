"""The gateway process's composition root: environment -> parts -> application.

Importing does nothing.
"""

import logging
from concurrent.futures import ThreadPoolExecutor

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    disable_created_metrics,
)

from headway_serving.adapters.prometheus_metrics import PrometheusMetrics
from headway_serving.adapters.route_file import RouteFile
from headway_serving.adapters.tfserving_predictor import TfServingPredictor
from headway_serving.adapters.tfserving_rest import TfServingRest
from headway_serving.adapters.token_file import TokenFile
from headway_serving.gateway.admin_server import AdminServer
from headway_serving.gateway.app import Parts, create_admin_app, create_gateway
from headway_serving.gateway.front_door import FrontDoor
from headway_serving.gateway.log_lines import OneLineFormatter
from headway_serving.gateway.request_bodies import BodyReader, BodyRules
from headway_serving.settings import GatewaySettings


def compose(settings: GatewaySettings) -> FrontDoor:
    """Compose the application and begin to follow its files.

    Raises ``InvalidRoutes``, ``InvalidTokens``, or OSError if the admin port cannot be had.
    """
    configure_logging(settings.log_level)
    routes = RouteFile(settings.routes_file, settings.routes_poll_seconds)
    # One "_created" series for each series says nothing that a dashboard needs.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it without types
    registry = CollectorRegistry()
    for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
        registry.register(collector)
    metrics = PrometheusMetrics(registry)
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
