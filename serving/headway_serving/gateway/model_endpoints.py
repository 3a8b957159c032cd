"""``GET /v1/models`` and ``GET /v1/models/{model}``: what is served, and what each model says of itself."""

from typing import Any

from flask import Blueprint, Response

from headway_contract.model_manifest import ModelManifest
from headway_serving.adapters.route_file import RouteFile
from headway_serving.adapters.token_file import Scope
from headway_serving.core.catalog import Catalog, VersionStates
from headway_serving.core.errors import ServingError
from headway_serving.core.routing import ModelRoutes, Pin, RouteTable
from headway_serving.gateway.json_responses import json_response
from headway_serving.gateway.operations import Answer, Operation, describes
from headway_serving.gateway.schemas import ref

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


def blueprint(routes: RouteFile, catalog: Catalog, server: VersionStates) -> Blueprint:
    """The two listing routes. While the model server is away they still say what is routed."""
    endpoints = Blueprint("models", __name__)

    @endpoints.get("/v1/models")
    @describes(_MODELS)
    def models() -> Response:
        table = routes.table()
        return json_response({"models": [_describe(name, table) for name in sorted(table.models)]})

    @endpoints.get("/v1/models/<name:model>")
    @describes(_MODEL)
    def model(model: str) -> Response:
        return json_response(_describe(model, routes.table()))

    def _describe(name: str, table: RouteTable) -> dict[str, Any]:
        routed = table.of(name)
        states: dict[int, str] = {}
        try:
            states = server.version_states(name, _TIMEOUT_SECONDS)
            manifest = catalog.manifest(table.choose(name, Pin(label="stable"), ""), _TIMEOUT_SECONDS)
            description = _self_description(manifest)
        except ServingError as error:
            description = {"classes": [], "unavailable": str(error)}
        return {
            **_routing(name, routed),
            "versions": sorted(version for version, state in states.items() if state == "AVAILABLE"),
            "states": {str(version): state for version, state in sorted(states.items())},
            **description,
        }

    return endpoints


def _routing(name: str, routed: ModelRoutes) -> dict[str, Any]:
    candidate = routed.candidate
    return {
        "name": name,
        "stable": routed.stable,
        "candidate": None if candidate is None else {"version": candidate.version, "weight": candidate.weight},
        "labels": dict(routed.labels),
    }


def _self_description(manifest: ModelManifest) -> dict[str, Any]:
    """What the stable version's manifest says, without golden samples and provenance."""
    accuracy, base = manifest.test_accuracy, manifest.base
    assert accuracy is not None  # what answers pictures was measured; the manifest sees to it
    return {
        "classes": list(manifest.labels),
        "kind": manifest.kind,
        "base": None if base is None else {"model": base.model, "version": base.version},
        "image": manifest.image.to_mapping(),
        "test_accuracy": {"value": accuracy.value, "low": accuracy.low, "high": accuracy.high},
    }
