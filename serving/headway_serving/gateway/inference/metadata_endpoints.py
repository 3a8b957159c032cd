"""The Open Inference Protocol's health and metadata: what is there, in its words. None of it counts as traffic."""

import importlib.metadata
from typing import Any

from flask import Blueprint, Response

from headway_serving.core.catalog import Catalog, VersionStates
from headway_serving.core.readiness import Readiness
from headway_serving.core.routes_in_force import RoutesInForce
from headway_serving.gateway.inference.operations import (
    MODEL_METADATA,
    MODEL_READY,
    SERVER_LIVE,
    SERVER_METADATA,
    SERVER_READY,
)
from headway_serving.gateway.inference.protocol import EXTENSIONS, INPUT_NAME, OUTPUT_NAME
from headway_serving.gateway.requests.grammar import described_version, version_number
from headway_serving.gateway.requests.json_responses import json_response
from headway_serving.gateway.requests.operations import describes

_TIMEOUT_SECONDS = 2.0


def blueprint(routes: RoutesInForce, catalog: Catalog, server: VersionStates, readiness: Readiness) -> Blueprint:
    """The server's and the models' routes; a model without a version in the path is its stable version."""
    endpoints = Blueprint("inference_metadata", __name__)

    @endpoints.get("/v2")
    @describes(SERVER_METADATA)
    def metadata() -> Response:
        return json_response(
            {"name": "headway", "version": importlib.metadata.version("headway"), "extensions": list(EXTENSIONS)}
        )

    @endpoints.get("/v2/health/live")
    @describes(SERVER_LIVE)
    def live() -> Response:
        return json_response({"live": True})

    @endpoints.get("/v2/health/ready")
    @describes(SERVER_READY)
    def ready() -> Response:
        table = routes.table()
        waiting = readiness.obstacles(table)
        is_ready = readiness.ready(table, waiting)
        reason = "; ".join(f"{name}: {why}" for name, why in waiting.items())
        return _readiness({"ready": is_ready}, None if is_ready else reason)

    @endpoints.get("/v2/models/<name:model>/ready")
    @endpoints.get("/v2/models/<name:model>/versions/<name:version>/ready")
    @describes(MODEL_READY)
    def model_ready(model: str, version: str | None = None) -> Response:
        reason = readiness.obstacle(model, routes.table(), version_number(version))
        return _readiness({"name": model, "ready": reason is None}, reason)

    @endpoints.get("/v2/models/<name:model>")
    @endpoints.get("/v2/models/<name:model>/versions/<name:version>")
    @describes(MODEL_METADATA)
    def model_metadata(model: str, version: str | None = None) -> Response:
        manifest = catalog.manifest(described_version(routes.table(), model, version), _TIMEOUT_SECONDS)
        states = server.version_states(model, _TIMEOUT_SECONDS)
        body = {
            "name": model,
            "versions": [str(each) for each in sorted(states) if states[each] == "AVAILABLE"],
            "platform": "tensorflow_savedmodel",
            "inputs": [{"name": INPUT_NAME, "datatype": "UINT8", "shape": [-1, *manifest.image.shape]}],
            "outputs": [{"name": OUTPUT_NAME, "datatype": "FP32", "shape": [-1, len(manifest.labels)]}],
        }
        return json_response(body)

    return endpoints


def _readiness(body: dict[str, Any], reason: str | None) -> Response:
    if reason is None:
        return json_response(body)
    response = json_response({**body, "error": reason}, 503)
    response.headers["Retry-After"] = "1"
    return response
