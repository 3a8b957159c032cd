"""``GET /v1/models``, ``/v1/models/{model}`` and ``/v1/models/{model}/route``: what is served, and who is asked."""

from dataclasses import asdict
from typing import Any

from flask import Blueprint, Response, request

from headway_contract.model_manifest import ModelManifest
from headway_serving.core.access import Scope
from headway_serving.core.catalog import Catalog, VersionStates
from headway_serving.core.errors import InvalidRequest, ServingError
from headway_serving.core.readiness import Readiness
from headway_serving.core.routes_in_force import RoutesInForce
from headway_serving.core.routing import ModelRoutes, Pin, Route, RouteTable, position
from headway_serving.gateway.operators.route_documents import pending_document, traffic_document
from headway_serving.gateway.requests.json_responses import json_response
from headway_serving.gateway.requests.operations import Answer, Operation, Parameter, describes
from headway_serving.gateway.requests.schemas import ref

_TIMEOUT_SECONDS = 2.0

_MODELS = Operation(
    tag="Models",
    summary="The models that get traffic",
    scope=Scope.CLASSIFY,
    answers={200: Answer("All of them, by name", {"application/json": ref("Models")})},
)
_MODEL = Operation(
    tag="Models",
    summary="One model that gets traffic",
    scope=Scope.CLASSIFY,
    answers={200: Answer("The model", {"application/json": ref("Model")})},
    problems=("model_not_found",),
)
_ROUTE = Operation(
    tag="Models",
    summary="Which version a routing key gets, and why",
    scope=Scope.CLASSIFY,
    answers={200: Answer("The choice, and the routes that it was made by", {"application/json": ref("RouteChoice")})},
    problems=("invalid_request", "model_not_found"),
    parameters=(
        Parameter("key", "query", "what the request would send as X-Routing-Key", {"type": "string"}, required=True),
    ),
)


def blueprint(
    routes: RoutesInForce, catalog: Catalog, readiness: Readiness, server: VersionStates, of_all: VersionStates
) -> Blueprint:
    """The listing routes and the explanation of a choice. While the model server is away they say what is routed.

    ``server`` is asked for one model, ``of_all`` for the list of all.
    """
    endpoints = Blueprint("models", __name__)

    @endpoints.get("/v1/models")
    @describes(_MODELS)
    def models() -> Response:
        table = routes.table()
        obstacles = readiness.obstacles(table)
        described = [_describe(name, table, of_all, name not in obstacles) for name in sorted(table.models)]
        return json_response({"models": described})

    @endpoints.get("/v1/models/<name:model>")
    @describes(_MODEL)
    def model(model: str) -> Response:
        table = routes.table()
        return json_response(_describe(model, table, server, readiness.obstacle(model, table) is None))

    @endpoints.get("/v1/models/<name:model>/route")
    @describes(_ROUTE)
    def route(model: str) -> Response:
        key = request.args.get("key")
        table = routes.table()
        routed = table.of(model)
        if key is None:
            raise InvalidRequest("key is missing; write ?key=VALUE, what the request would send as X-Routing-Key")
        chosen = table.choose(model, Pin(), key)
        return json_response({**_explained(chosen, routed, key), **_routing(model, routed)})

    def _describe(name: str, table: RouteTable, asked: VersionStates, ready: bool) -> dict[str, Any]:
        routed = table.of(name)
        states: dict[int, str] = {}
        try:
            states = asked.version_states(name, _TIMEOUT_SECONDS)
            manifest = catalog.manifest(table.choose(name, Pin(label="stable"), ""), _TIMEOUT_SECONDS)
            description = _self_description(manifest)
        except ServingError as error:
            description = {"classes": [], "unavailable": str(error)}
        pending = routes.pending().get(name)
        return {
            **_routing(name, routed),
            "pending": None if pending is None else pending_document(pending),
            # As KServe's protocol asks it.
            "ready": ready,
            "versions": sorted(version for version, state in states.items() if state == "AVAILABLE"),
            "states": {str(version): state for version, state in sorted(states.items())},
            **description,
        }

    return endpoints


def _explained(chosen: Route, routed: ModelRoutes, key: str) -> dict[str, Any]:
    """What a key gets and why, in numbers and in words."""
    place, candidate = position(chosen.model, routed.salt, key), routed.candidate
    if candidate is None:
        why = f"there is no candidate, so every key gets stable version {routed.stable}"
    else:
        side = "below" if place < candidate.weight else "not below"
        why = (
            f"the key's position {place:.6f} is {side} {candidate.weight:g}, the weight of version {candidate.version}"
        )
    return {"key": key, "version": chosen.version, "arm": chosen.arm.value, "reason": chosen.reason,
            "position": place, "why": why}  # fmt: skip


def _routing(name: str, routed: ModelRoutes) -> dict[str, Any]:
    rollout = routed.rollout
    return {
        "name": name,
        **traffic_document(routed),
        "labels": dict(routed.labels),
        "rollout": None if rollout is None else rollout.status.value,
    }


def _self_description(manifest: ModelManifest) -> dict[str, Any]:
    """What the stable version's manifest says, without golden samples and provenance."""
    accuracy, base = manifest.test_accuracy, manifest.base
    abstention, familiarity = manifest.abstention, manifest.familiarity
    assert accuracy is not None  # what answers pictures was measured; the manifest is checked for it
    return {
        "classes": list(manifest.labels),
        "kind": manifest.kind,
        "base": None if base is None else {"model": base.model, "version": base.version},
        "image": manifest.image.to_mapping(),
        "test_accuracy": {"value": accuracy.value, "low": accuracy.low, "high": accuracy.high},
        "abstention": None if abstention is None else asdict(abstention),
        "familiarity": None if familiarity is None else {"threshold": familiarity.threshold},
    }
