"""``/livez`` and ``/readyz``."""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, request

from headway_serving.adapters.files.routes import RouteFile
from headway_serving.core.readiness import Readiness
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
    summary="Whether the stable version of every routed model can answer",
    scope=None,
    answers={200: Answer("All of them can", {"application/json": ref("Ready")})},
    problems=("not_ready",),
    parameters=(
        Parameter("verbose", "query", "say of each model and of the routes file how it stands", {"type": "string"}),
    ),
)


def blueprint(routes: RouteFile, readiness: Readiness) -> Blueprint:
    """Liveness depends on nothing else; readiness on the model server; neither counts as traffic."""
    endpoints = Blueprint("health", __name__)

    @endpoints.get("/livez")
    @describes(_LIVE)
    def livez() -> Response:
        return Response("ok\n", mimetype="text/plain")

    @endpoints.get("/readyz")
    @describes(_READY)
    def readyz() -> Response:
        obstacles = readiness.obstacles(routes.table())
        more = _explained(obstacles) if "verbose" in request.args else {}
        if obstacles:
            detail = "; ".join(f"{name}: {reason}" for name, reason in obstacles.items())
            return to_flask(problem_document(NOT_READY, detail, more))
        return json_response({"status": "ready", **more})

    def _explained(obstacles: Mapping[str, str]) -> dict[str, Any]:
        """Which routes are in force and what each model waits for. A refused file is no reason not to be ready."""
        problem = routes.problem()
        return {
            "routes": {"valid": problem is None, "problem": problem},
            "models": {name: obstacles.get(name, "ready") for name in sorted(routes.table().models)},
        }

    return endpoints
