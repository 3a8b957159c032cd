"""The layer in front of Flask answers a posted picture exactly as the Flask route behind it does."""

import json
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse

from headway_serving.core.routing import Candidate, ModelRoutes
from headway_serving.gateway.picture_posts import PicturePosts
from tests.fakes.scripted_models import Fault, scripted_version
from tests.integration.gateway.gateway_under_test import CLASSIFY, GatewayUnderTest, as_body, picture

DIGITS = ModelRoutes(stable=1, candidate=Candidate(2, 1.0), labels={"old": 3})


@pytest.fixture
def gateway(tmp_path: Path) -> GatewayUnderTest:
    gateway = GatewayUnderTest(tmp_path / "routes.json", None, {"digits": DIGITS})
    # The candidate fails, so that a plain request is a fallback.
    gateway.versions["digits"][2] = scripted_version(fault=Fault.NOT_A_NUMBER)
    gateway.versions["digits"][3] = scripted_version(labels=("Übung", "数字", "🦔", 'a "b"', "e"))
    return gateway


def same(response: TestResponse) -> dict[str, Any]:
    headers = {name: value for name, value in response.headers if name != "Server-Timing"}
    timing = {part.split(";")[0] for part in response.headers.get("Server-Timing", "").split(", ")}
    return {"status": response.status, "headers": headers, "stages": timing, "body": json.loads(response.data)}


REQUESTS = {
    "by the routes, with a fallback": (CLASSIFY, picture(3), {}),
    "a version": ("/v1/models/digits/versions/1:classify", picture(3), {}),
    "a label of any script": ("/v1/models/digits/labels/old:classify", picture(3), {}),
    "two answers": (f"{CLASSIFY}?top_k=2", picture(3), {}),
    "no answer": (f"{CLASSIFY}?min_confidence=0.95", picture(3), {}),
    "a trace and a key": (CLASSIFY, picture(3), {"X-Routing-Key": "me", "X-Request-Timeout-Ms": "900"}),
    "no such model": ("/v1/models/letters:classify", picture(3), {}),
    "no such version": ("/v1/models/digits/versions/9:classify", picture(3), {}),
    "no such label": ("/v1/models/digits/labels/new:classify", picture(3), {}),
    "a version that is too long": (f"/v1/models/digits/versions/{'9' * 30}:classify", picture(3), {}),
    "no picture": (CLASSIFY, b"this is a text file", {}),
    "a damaged picture": ("/v1/models/digits/versions/1:classify", picture(3)[:-20], {}),
    "an odd parameter": (f"{CLASSIFY}?top_k=none", picture(3), {}),
    "an odd time": (CLASSIFY, picture(3), {"X-Request-Timeout-Ms": "soon"}),
}


@pytest.mark.parametrize(("path", "body", "headers"), REQUESTS.values(), ids=REQUESTS)
def test_both_answer_alike(gateway: GatewayUnderTest, path: str, body: bytes, headers: dict[str, str]) -> None:
    layer = gateway.app.wsgi_app
    assert isinstance(layer, PicturePosts)
    request = {**as_body(body), "headers": {**headers, "X-Request-Id": "one"}}
    passed_on: list[str] = []

    def watched(environ: Any, start_response: Any) -> Any:
        passed_on.append(environ["PATH_INFO"])
        return layer.application(environ, start_response)

    front = PicturePosts(watched, layer.endpoint, layer.authentication, layer.max_body_bytes)
    answers = [same(Client(application).post(path, **request)) for application in (front, layer.application)]
    assert passed_on == []
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    "request_",
    [
        {"data": picture(3), "content_type": "image/png", "method": "PUT"},
        {"data": picture(3), "content_type": "text/plain"},
        {"data": picture(3)},
        {"data": b"", "content_type": "image/png"},
        {"data": b"x" * 300_000, "content_type": "image/png"},
        {"json": {"images": []}},
        {"data": picture(3), "content_type": "image/png", "path": "/v1/models/di%20gits:classify"},
        {"data": picture(3), "content_type": "image/png", "path": "/v1/models/digits:predict"},
    ],
)
def test_what_is_no_plain_picture_post_is_left_to_flask(gateway: GatewayUnderTest, request_: dict[str, Any]) -> None:
    layer = gateway.app.wsgi_app
    assert isinstance(layer, PicturePosts)
    passed_on: list[str] = []

    def noted(environ: Any, start_response: Any) -> Any:
        passed_on.append(environ["PATH_INFO"])
        return layer.application(environ, start_response)

    front = PicturePosts(noted, layer.endpoint, layer.authentication, layer.max_body_bytes)
    response = Client(front).open(**{"path": CLASSIFY, "method": "POST", **request_})
    assert len(passed_on) == 1
    assert response.status_code >= 400


def test_a_body_that_breaks_off_is_a_bad_request(gateway: GatewayUnderTest) -> None:
    response = gateway.app.test_client().post(
        CLASSIFY, data=picture(3), content_type="image/png", environ_overrides={"CONTENT_LENGTH": "5000"}
    )
    assert response.status_code == 400
    assert response.get_json()["code"] == "invalid_request"
