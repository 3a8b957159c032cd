"""``/livez`` and ``/readyz``."""

from collections.abc import Callable, Mapping
from typing import Any

from flask import Blueprint, Response, request

from headway_serving.core.readiness import START_PATIENCE_SECONDS, Readiness
from headway_serving.core.routes_in_force import RoutesInForce
from headway_serving.core.routing import RouteTable
from headway_serving.gateway.operators.route_documents import pending_document, traffic_document
from headway_serving.gateway.requests.exchange import to_flask
from headway_serving.gateway.requests.json_responses import json_response
from headway_serving.gateway.requests.operations import Answer, Operation, Parameter, describes
from headway_serving.gateway.requests.problems import NOT_READY, problem_document
from headway_serving.gateway.requests.schemas import ref

_LIVE = Operation(
    tag="Health",
    summary="Whether the process lives",
    scope=None,
    answers={200: Answer("It does", {"text/plain": {"type": "string", "const": "ok\n"}})},
)
_READY = Operation(
    tag="Health",
    summary="Whether this process can answer",
    description=(
        "At the start it waits for the stable version of every routed model, or until no further one has come for "
        f"{START_PATIENCE_SECONDS:g} s; then it is ready while any model can answer. Whether a certain one can is told "
        "by /v1/models/{model} and /v2/models/{model}/ready."
    ),
    scope=None,
    answers={200: Answer("It can", {"application/json": ref("Ready")})},
    problems=("not_ready",),
    parameters=(
        Parameter("verbose", "query", "say of each model and of the routes how they stand", {"type": "string"}),
    ),
)


def blueprint(
    problem: Callable[[], str | None],
    standing: Callable[[], Mapping[str, Any]],
    routes: RoutesInForce,
    readiness: Readiness,
) -> Blueprint:
    """Liveness depends on nothing else; readiness on the model server; neither counts as traffic.

    ``problem``: why the routes as they are now are refused, or None. ``standing``: where they come from, and
    whether changes are seen.
    """
    endpoints = Blueprint("health", __name__)

    @endpoints.get("/livez")
    @describes(_LIVE)
    def livez() -> Response:
        return Response("ok\n", mimetype="text/plain")

    @endpoints.get("/readyz")
    @describes(_READY)
    def readyz() -> Response:
        table = routes.table()
        obstacles = readiness.obstacles(table)
        more = _explained(table, obstacles) if "verbose" in request.args else {}
        if not readiness.ready(table, obstacles):
            detail = "; ".join(f"{name}: {reason}" for name, reason in obstacles.items())
            return to_flask(problem_document(NOT_READY, detail, more))
        return json_response({"status": "ready", **more})

    def _explained(table: RouteTable, obstacles: Mapping[str, str]) -> dict[str, Any]:
        """How each model stands, which routes are in force and which wait. None of it alone makes it not ready."""
        refused = problem()
        return {
            "routes": {
                "valid": refused is None,
                "problem": refused,
                "source": dict(standing()),
                "in_force": {name: traffic_document(each) for name, each in sorted(table.models.items())},
                "pending": {name: pending_document(each) for name, each in sorted(routes.pending().items())},
            },
            "models": {name: obstacles.get(name, "ready") for name in sorted(table.models)},
        }

    return endpoints
