"""The gateway's application, its fake model server, and the requests that tests make of it."""

import base64
import json
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry
from werkzeug.test import TestResponse

from headway_contract.preprocessing import encode_png
from headway_serving.adapters.files.routes import RouteFile, write_routes
from headway_serving.adapters.files.tokens import TokenFile
from headway_serving.adapters.metrics.prometheus import PrometheusMetrics
from headway_serving.core.routing import ModelRoutes, RouteTable
from headway_serving.gateway.app import Parts, create_gateway
from headway_serving.gateway.tfserving_rest.endpoints import RestModelServer
from headway_serving.settings import GatewaySettings
from tests.fakes.scripted_models import ScriptedVersion, scripted_version
from tests.fakes.tfserving_predictor import FakePredictor

SMALL_LIMITS = GatewaySettings(
    max_body_bytes=200_000,
    max_image_bytes=50_000,
    max_image_pixels=10_000,
    max_images=3,
    request_timeout_ms=5000,
    max_request_timeout_ms=20_000,
)
DIGITS = ModelRoutes(stable=1, labels={"old": 3})
CLASSIFY = "/v1/models/digits:classify"


def picture(digit: int, side: int = 28) -> bytes:
    """A PNG that the scripted models take for ``digit``."""
    return encode_png(np.full((side, side, 1), digit, np.uint8))


def as_json(*pictures: bytes) -> dict[str, Any]:
    """Arguments of a request that sends pictures as JSON."""
    return {"json": {"images": [{"b64": base64.b64encode(data).decode()} for data in pictures]}}


def as_parts(*pictures: bytes) -> dict[str, Any]:
    """Arguments of a request that sends pictures as multipart/form-data."""
    files = [(BytesIO(data), f"{index}.png") for index, data in enumerate(pictures)]
    return {"data": {"image": files}, "content_type": "multipart/form-data"}


def as_body(data: bytes, content_type: str = "image/png") -> dict[str, Any]:
    """Arguments of a request that sends one picture as its body."""
    return {"data": data, "content_type": content_type}


class GatewayUnderTest:
    """``server`` is the fake model server, ``registry`` what ``/metrics`` shows, ``app`` the Flask application.

    ``posts`` answers pictures without it.
    """

    def __init__(
        self,
        routes_file: Path,
        settings: GatewaySettings | None,
        routes: Mapping[str, ModelRoutes],
        *,
        rest: RestModelServer | None = None,
        tokens: TokenFile | None = None,
    ) -> None:
        versions: dict[int, ScriptedVersion] = {number: scripted_version() for number in (1, 2, 3)}
        self.versions = {"digits": versions}
        self.server = FakePredictor(self.versions)
        self.routes_file = routes_file
        self.registry = CollectorRegistry()
        write_routes(routes_file, RouteTable(dict(routes) or {"digits": DIGITS}))
        self.routes = RouteFile(routes_file, poll_seconds=0.02)
        metrics = PrometheusMetrics(self.registry)
        metrics.watch_routes(self.routes.problem)
        self.parts = Parts(self.routes, self.server, metrics, rest, tokens)
        gateway = create_gateway(self.parts, settings or SMALL_LIMITS)
        self.app, self.posts = gateway.app, gateway.posts

    def get(self, path: str, **request: Any) -> TestResponse:
        """GET a path."""
        return self.app.test_client().get(path, **request)

    def post(self, path: str = CLASSIFY, **request: Any) -> TestResponse:
        """POST to a path."""
        return self.app.test_client().post(path, **request)

    def classify(self, digit: int = 3, path: str = CLASSIFY, **request: Any) -> TestResponse:
        """POST a good picture; it must be answered."""
        response = self.post(path, **as_body(picture(digit)), **request)
        assert response.status_code == 200, response.text
        return response

    def sample(self, name: str, **labels: str) -> float | None:
        """One value of ``/metrics``."""
        return self.registry.get_sample_value(name, labels)


PROBLEM_FIELDS = {"type", "title", "status", "detail", "code", "request_id"}


def check_problem(response: TestResponse, status: int, code: str) -> dict[str, Any]:
    """Assert that a response is that problem, complete and of the documented form; return its document."""
    assert (response.status_code, response.mimetype) == (status, "application/problem+json"), response.text
    problem: dict[str, Any] = json.loads(response.data)
    assert set(problem) == PROBLEM_FIELDS
    assert (problem["status"], problem["code"]) == (status, code), problem
    assert problem["type"] == f"urn:headway:problem:{code}"
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == response.headers["X-Request-Id"] != ""
    return problem


def check_error_object(response: TestResponse, status: int) -> str:
    """Assert that a response is ``{"error": "..."}`` of that status, as foreign protocols have it; return the text."""
    assert (response.status_code, response.mimetype) == (status, "application/json"), response.text
    document = json.loads(response.data)
    assert set(document) == {"error"}
    assert document["error"]
    assert response.headers["X-Request-Id"]
    return str(document["error"])


def top_labels(response: TestResponse) -> list[str]:
    """The best label of each picture of an answer."""
    assert response.status_code == 200, response.text
    results: Iterable[dict[str, Any]] = json.loads(response.data)["results"]
    return [result["predictions"][0]["label"] for result in results]
