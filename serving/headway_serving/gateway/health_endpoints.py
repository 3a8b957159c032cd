"""``/livez`` and ``/readyz``."""

from flask import Blueprint, Response

from headway_serving.adapters.route_file import RouteFile
from headway_serving.gateway.error_responses import NOT_READY, problem_document
from headway_serving.gateway.json_responses import json_response
from headway_serving.gateway.operations import Answer, Operation, describes
from headway_serving.gateway.readiness import Readiness
from headway_serving.gateway.schemas import ref

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
        waiting = readiness.obstacles(routes.table())
        if waiting:
            detail = "; ".join(f"{name}: {reason}" for name, reason in waiting.items())
            return problem_document(NOT_READY, detail)
        return json_response({"status": "ready"})

    return endpoints
