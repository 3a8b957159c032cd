"""What answers a posted picture without Flask answers exactly as the Flask route does."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from werkzeug.exceptions import ClientDisconnected

from headway_serving.core.routing import Candidate, ModelRoutes
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


def as_sent(body: bytes, **headers: str) -> list[tuple[bytes, bytes]]:
    """Headers as the HTTP server has them."""
    given = {"content-type": "image/png", "content-length": str(len(body)), **headers}
    return [(name.lower().encode(), value.encode()) for name, value in given.items()]


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
    headers = {**headers, "X-Request-Id": "one"}
    post = gateway.posts.opened(b"POST", path.encode(), as_sent(body, **headers))
    assert post is not None
    direct = gateway.posts.answer(post, lambda: body)
    flask = gateway.post(path, **as_body(body), headers=headers)
    assert said(direct.status, direct.headers, direct.body) == said(
        flask.status_code, flask.headers.items(), flask.data
    )


TOO_LARGE = b"x" * 300_000


@pytest.mark.parametrize(
    ("method", "path", "body", "headers"),
    [
        ("PUT", CLASSIFY, picture(3), {}),
        ("POST", CLASSIFY, picture(3), {"content-type": "text/plain"}),
        ("POST", CLASSIFY, picture(3), {"content-type": ""}),
        ("POST", CLASSIFY, b"", {}),
        ("POST", CLASSIFY, TOO_LARGE, {}),
        ("POST", CLASSIFY, b'{"images": []}', {"content-type": "application/json"}),
        ("POST", "/v1/models/di%20gits:classify", picture(3), {}),
        ("POST", "/v1/models/digits:predict", picture(3), {}),
        ("POST", "/v1/models/digits/versions/one:classify", picture(3), {}),
    ],
)
def test_what_is_no_plain_picture_post_is_left_to_flask(
    gateway: GatewayUnderTest, method: str, path: str, body: bytes, headers: dict[str, str]
) -> None:
    assert gateway.posts.opened(method.encode(), path.encode(), as_sent(body, **headers)) is None
    request = {"data": body, "content_type": headers.get("content-type", "image/png")}
    response = gateway.app.test_client().open(path, method=method, **request)
    assert response.status_code >= 400


@pytest.mark.parametrize(
    "odd",
    [
        [(b"content-length", b"10"), (b"content-length", b"10")],
        [(b"content-length", b"1_0")],
        [(b"content-length", "\u0661".encode())],
        [(b"content-length", b"9" * 30)],
        [(b"transfer-encoding", b"chunked")],
    ],
)
def test_a_length_that_is_none_is_left_to_flask(gateway: GatewayUnderTest, odd: list[tuple[bytes, bytes]]) -> None:
    assert gateway.posts.opened(b"POST", CLASSIFY.encode(), [(b"content-type", b"image/png"), *odd]) is None


def test_a_body_that_breaks_off_is_a_bad_request(gateway: GatewayUnderTest) -> None:
    def broken() -> bytes:
        raise ClientDisconnected

    post = gateway.posts.opened(b"POST", CLASSIFY.encode(), as_sent(picture(3)))
    assert post is not None
    direct = gateway.posts.answer(post, broken)
    assert (direct.status, json.loads(direct.body)["code"]) == (400, "invalid_request")
    response = gateway.app.test_client().post(
        CLASSIFY, data=picture(3), content_type="image/png", environ_overrides={"CONTENT_LENGTH": "5000"}
    )
    assert response.status_code == 400
    assert response.get_json()["code"] == "invalid_request"
