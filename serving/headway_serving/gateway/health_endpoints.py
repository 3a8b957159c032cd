"""``/livez``, ``/readyz`` and ``/metrics``."""

from flask import Blueprint, Response

from headway_serving.adapters.prometheus_metrics import CONTENT_TYPE, PrometheusMetrics
from headway_serving.adapters.route_file import RouteFile
from headway_serving.core.catalog import Catalog, VersionStates
from headway_serving.core.errors import ServingError
from headway_serving.core.routing import Pin, RouteTable
from headway_serving.gateway.error_responses import Problem, problem_document
from headway_serving.gateway.json_responses import json_response

_NOT_READY = Problem(503, "not_ready", "Not every routed model can answer", retry_after=1)
_TIMEOUT_SECONDS = 1.0


def blueprint(routes: RouteFile, catalog: Catalog, server: VersionStates, metrics: PrometheusMetrics) -> Blueprint:
    """Liveness depends on nothing else; readiness on the model server; neither counts as traffic."""
    endpoints = Blueprint("health", __name__)

    @endpoints.get("/livez")
    def livez() -> Response:
        return Response("ok\n", mimetype="text/plain")

    @endpoints.get("/readyz")
    def readyz() -> Response:
        table = routes.table()
        waiting = {name: reason for name in table.models if (reason := _obstacle(name, table)) is not None}
        if waiting:
            detail = "; ".join(f"{name}: {reason}" for name, reason in sorted(waiting.items()))
            return problem_document(_NOT_READY, detail)
        return json_response({"status": "ready"})

    @endpoints.get("/metrics")
    def exposition() -> Response:
        return Response(metrics.exposition(), content_type=CONTENT_TYPE)

    def _obstacle(name: str, table: RouteTable) -> str | None:
        """Why the stable version of a model cannot answer; None if it can. Reads its manifest on the way."""
        stable = table.of(name).stable
        try:
            state = server.version_states(name, _TIMEOUT_SECONDS).get(stable, "not loaded")
            if state != "AVAILABLE":
                return f"version {stable} is {state}"
            manifest = catalog.manifest(table.choose(name, Pin(label="stable"), ""), _TIMEOUT_SECONDS)
            if manifest.form == "on_base" and manifest.base is not None:
                base = manifest.base
                state = server.version_states(base.model, _TIMEOUT_SECONDS).get(base.version, "not loaded")
                if state != "AVAILABLE":
                    return f"its base {base.model} version {base.version} is {state}"
        except ServingError as error:
            return str(error)
        return None

    return endpoints
