"""Of Triton's extensions of the Open Inference Protocol, what its clients ask before they send pictures."""

from collections.abc import Callable

from flask import Blueprint, Response

from headway_serving.adapters.metrics.observations import VersionTotals
from headway_serving.core.catalog import Catalog
from headway_serving.core.routes_in_force import RoutesInForce
from headway_serving.gateway.inference.operations import MODEL_CONFIG, MODEL_STATS
from headway_serving.gateway.inference.protocol import INPUT_NAME, OUTPUT_NAME
from headway_serving.gateway.requests.grammar import described_version
from headway_serving.gateway.requests.json_responses import json_response
from headway_serving.gateway.requests.operations import describes

_TIMEOUT_SECONDS = 2.0


def blueprint(
    routes: RoutesInForce, catalog: Catalog, totals: Callable[[str, int], VersionTotals], max_images: int
) -> Blueprint:
    """The routes of configuration and statistics. ``totals``: what was counted for a version of a model."""
    endpoints = Blueprint("triton", __name__)

    @endpoints.get("/v2/models/<name:model>/config")
    @endpoints.get("/v2/models/<name:model>/versions/<name:version>/config")
    @describes(MODEL_CONFIG)
    def config(model: str, version: str | None = None) -> Response:
        manifest = catalog.manifest(described_version(routes.table(), model, version), _TIMEOUT_SECONDS)
        pixels = {"name": INPUT_NAME, "data_type": "TYPE_UINT8", "format": "FORMAT_NHWC"}
        scores = {"name": OUTPUT_NAME, "data_type": "TYPE_FP32", "dims": [len(manifest.labels)]}
        body = {
            "name": model,
            "platform": "tensorflow_savedmodel",
            "backend": "tensorflow",
            "max_batch_size": max_images,
            "input": [{**pixels, "dims": list(manifest.image.shape)}],
            "output": [scores],
        }
        return json_response(body)

    @endpoints.get("/v2/models/<name:model>/stats")
    @endpoints.get("/v2/models/<name:model>/versions/<name:version>/stats")
    @describes(MODEL_STATS)
    def stats(model: str, version: str | None = None) -> Response:
        route = described_version(routes.table(), model, version)
        found = totals(model, route.version)
        one = {
            "name": model,
            "version": str(route.version),
            "inference_count": found.pictures,
            "execution_count": found.answered,
            "inference_stats": {
                # Seconds are counted whatever became of a request: they stand where most of them belong.
                "success": {"count": found.answered, "ns": int(found.seconds * 1e9)},
                "fail": {"count": found.failed, "ns": 0},
            },
            "batch_stats": [],
        }
        return json_response({"model_stats": [one]})

    return endpoints
