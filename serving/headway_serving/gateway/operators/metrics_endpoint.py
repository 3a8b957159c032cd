"""``/metrics``: what only those who run the gateway may see; on a port of its own where one is asked for."""

from flask import Blueprint, Response

from headway_serving.adapters.metrics.prometheus import CONTENT_TYPE, PrometheusMetrics
from headway_serving.core.access import Scope
from headway_serving.gateway.requests.operations import Answer, Operation, describes

_METRICS = Operation(
    tag="Operation",
    summary="Metrics in Prometheus' text format",
    scope=Scope.ADMIN,
    answers={200: Answer("All metrics of this process", {"text/plain": {"type": "string"}})},
)


def blueprint(metrics: PrometheusMetrics) -> Blueprint:
    """The routes of the scope ``admin``."""
    endpoints = Blueprint("admin", __name__)

    @endpoints.get("/metrics")
    @describes(_METRICS)
    def exposition() -> Response:
        return Response(metrics.exposition(), content_type=CONTENT_TYPE)

    return endpoints
