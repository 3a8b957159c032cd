"""``/livez``, ``/readyz`` and ``/metrics``."""

from flask import Blueprint, Response

from headway_serving.adapters.prometheus_metrics import CONTENT_TYPE, PrometheusMetrics
from headway_serving.adapters.route_file import RouteFile
from headway_serving.gateway.error_responses import Problem, problem_document
from headway_serving.gateway.json_responses import json_response
from headway_serving.gateway.readiness import Readiness

_NOT_READY = Problem(503, "not_ready", "Not every routed model can answer", retry_after=1)


def blueprint(routes: RouteFile, readiness: Readiness, metrics: PrometheusMetrics) -> Blueprint:
    """Liveness depends on nothing else; readiness on the model server; neither counts as traffic."""
    endpoints = Blueprint("health", __name__)

    @endpoints.get("/livez")
    def livez() -> Response:
        return Response("ok\n", mimetype="text/plain")

    @endpoints.get("/readyz")
    def readyz() -> Response:
        waiting = readiness.obstacles(routes.table())
        if waiting:
            detail = "; ".join(f"{name}: {reason}" for name, reason in waiting.items())
            return problem_document(_NOT_READY, detail)
        return json_response({"status": "ready"})

    @endpoints.get("/metrics")
    def exposition() -> Response:
        return Response(metrics.exposition(), content_type=CONTENT_TYPE)

    return endpoints
