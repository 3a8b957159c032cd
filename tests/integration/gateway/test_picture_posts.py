"""What answers a posted picture without Flask answers exactly as the Flask route does."""

import gzip
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from headway_serving.core.errors import InvalidRequest
from headway_serving.core.routing import Candidate, ModelRoutes
from headway_serving.gateway.requests.exchange import Answer
from headway_serving.gateway.server.reading import Request
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


def said(status: int, headers: Iterable[tuple[str, str]], body: bytes) -> dict[str, Any]:
    named = {name.lower(): value for name, value in headers}
    timing = {part.split(";")[0] for part in named.pop("server-timing", "").split(", ")}
    named.pop("content-length", None)
    return {"status": status, "headers": named, "stages": timing, "body": json.loads(body)}


def as_sent(method: str, target: str, body: bytes, headers: dict[str, str]) -> Request:
    """The request as the HTTP server has it."""
    named = {"content-type": "image/png", "content-length": str(len(body)), **headers}
    pairs = [(name.lower().encode(), value.encode()) for name, value in named.items()]
    return Request(method.encode(), target.encode(), pairs, dict(pairs), time.monotonic(), body=body)


def answer_of(gateway: GatewayUnderTest, request: Request) -> Answer:
    post = gateway.posts.recognized(request)
    assert post is not None
    return gateway.posts.answer(post)


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
    "nothing": (CLASSIFY, b"", {}),
    "a compressed picture": (CLASSIFY, gzip.compress(picture(3)), {"Content-Encoding": "gzip"}),
    "an encoding that is none": (CLASSIFY, picture(3), {"Content-Encoding": "identity"}),
}


@pytest.mark.parametrize(("path", "body", "headers"), REQUESTS.values(), ids=REQUESTS)
def test_both_answer_alike(gateway: GatewayUnderTest, path: str, body: bytes, headers: dict[str, str]) -> None:
    headers = {**headers, "X-Request-Id": "one"}
    direct = answer_of(gateway, as_sent("POST", path, body, headers))
    flask = gateway.post(path, **as_body(body), headers=headers)
    assert said(direct.status, direct.headers, direct.body) == said(
        flask.status_code, flask.headers.items(), flask.data
    )


@pytest.mark.parametrize(
    ("method", "path", "body", "headers"),
    [
        ("PUT", CLASSIFY, picture(3), {}),
        ("POST", CLASSIFY, b"seven", {"content-type": "text/plain"}),
        ("POST", CLASSIFY, b"seven", {"content-type": ""}),
        ("POST", CLASSIFY, b'{"images": []}', {"content-type": "application/json"}),
        ("POST", "/v1/models/di%20gits:classify", picture(3), {}),
        ("POST", "/v1/models/digits:predict", picture(3), {}),
        ("POST", "/v1/models/digits/versions/one:classify", picture(3), {}),
    ],
)
def test_what_is_no_plain_picture_post_is_left_to_flask(
    gateway: GatewayUnderTest, method: str, path: str, body: bytes, headers: dict[str, str]
) -> None:
    assert gateway.posts.recognized(as_sent(method, path, body, headers)) is None
    kind = headers.get("content-type", "image/png")
    response = gateway.app.test_client().open(path, method=method, data=body, content_type=kind)
    assert response.status_code >= 400


def test_a_header_that_comes_twice_is_left_to_flask(gateway: GatewayUnderTest) -> None:
    request = as_sent("POST", CLASSIFY, picture(3), {"x-routing-key": "a"})
    request.headers.append((b"x-routing-key", b"b"))
    assert gateway.posts.recognized(request) is None


def test_what_is_wrong_with_the_body_is_the_answer(gateway: GatewayUnderTest) -> None:
    request = as_sent("POST", CLASSIFY, b"", {})
    request.error = InvalidRequest("the connection ended before the body did")
    direct = answer_of(gateway, request)
    assert (direct.status, json.loads(direct.body)["code"]) == (400, "invalid_request")
    assert (
        gateway.sample(
            "headway_requests_total", model="digits", version="unknown", arm="unknown", code="invalid_request"
        )
        == 1
    )
    response = gateway.app.test_client().post(
        CLASSIFY, data=picture(3), content_type="image/png", environ_overrides={"CONTENT_LENGTH": "5000"}
    )
    assert response.status_code == 400
    assert response.get_json()["code"] == "invalid_request"
