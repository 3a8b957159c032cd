"""``/metrics``: what only those who run the gateway may see; on a port of its own where one is asked for."""

from flask import Blueprint, Response, request

from headway_serving.adapters.metrics.prometheus import PrometheusMetrics
from headway_serving.core.access import Scope
from headway_serving.gateway.requests.operations import Answer, Operation, describes

_METRICS = Operation(
    tag="Operation",
    summary="Metrics in Prometheus' text format, or as OpenMetrics where that is asked for",
    scope=Scope.ADMIN,
    answers={
        200: Answer(
            "All metrics of this process",
            {"text/plain": {"type": "string"}, "application/openmetrics-text": {"type": "string"}},
        )
    },
)


def blueprint(metrics: PrometheusMetrics) -> Blueprint:
    """The routes of the scope ``admin``."""
    endpoints = Blueprint("admin", __name__)

    @endpoints.get("/metrics")
    @describes(_METRICS)
    def exposition() -> Response:
        page = metrics.page(request.headers.get("Accept", ""), request.headers.get("Accept-Encoding", ""))
        response = Response(page.body, content_type=page.content_type)
        response.headers["Vary"] = "Accept, Accept-Encoding"
        if page.encoding:
            response.headers["Content-Encoding"] = page.encoding
        return response

    return endpoints
