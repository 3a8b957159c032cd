"""The gateway process's composition root: environment -> parts -> application.

A WSGI server calls :func:`create_from_environment` once, in the process that answers; importing does nothing.
"""

import logging
import os
import warnings

from flask import Flask
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
from headway_serving.gateway.app import Parts, create_app
from headway_serving.settings import GatewaySettings


def create_from_environment() -> Flask:
    """Compose the application from ``HEADWAY_*`` variables and begin to follow the routes file.

    Raises ``InvalidSettings`` or ``InvalidRoutes``.
    """
    settings = GatewaySettings.from_environment(os.environ)
    configure_logging(settings.log_level)
    # Pillow warns of odd metadata in users' pictures; each such text would be a log line of a user's making.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    routes = RouteFile(settings.routes_file, settings.routes_poll_seconds)
    # One "_created" series for each series says nothing that a dashboard needs.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it without types
    registry = CollectorRegistry()
    for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
        registry.register(collector)
    metrics = PrometheusMetrics(registry)
    metrics.watch_routes(routes.problem)
    rest = TfServingRest(settings.model_server_rest, settings.threads) if settings.model_server_rest else None
    app = create_app(Parts(routes, TfServingPredictor(settings.model_server), metrics, rest), settings)
    routes.watch()
    return app


def configure_logging(level: str) -> None:
    """Send log lines to stderr, one line each."""
    logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
