"""Bad requests: each error a client can meet, as a complete problem of the right status and code."""

import base64
import json
import logging
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from headway_serving.core.routing import ModelRoutes
from tests.fakes.scripted_models import Fault, ScriptedVersion, scripted_version
from tests.integration.gateway.gateway_under_test import (
    CLASSIFY,
    GatewayUnderTest,
    as_body,
    as_json,
    as_parts,
    check_problem,
    picture,
)

GOOD = picture(3)
TEXT = b"this is a text file\n"
Gateway = GatewayUnderTest


def json_body(text: str | bytes) -> dict[str, Any]:
    return {"data": text, "content_type": "application/json"}


def big_png(side: int) -> bytes:
    buffer = BytesIO()
    Image.new("L", (side, side)).save(buffer, "PNG")
    return buffer.getvalue()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


BAD_BODIES: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "no body at all": ({}, 400, "empty_body", "the request has no body"),
    "empty picture": (as_body(b""), 400, "empty_body", "image 0 (counted from 0) is empty"),
    "empty octets": (as_body(b"", "application/octet-stream"), 400, "empty_body", "0 bytes were sent"),
    "empty JSON body": (json_body(""), 400, "empty_body", "the request has no body"),
    "no part": (as_parts(), 400, "empty_body", 'parts named "image"'),
    "empty part": (as_parts(b""), 400, "empty_body", "image 0 (counted from 0) is empty"),
    "part of another name": (
        {"data": {"picture": (BytesIO(GOOD), "a.png")}}, 400, "empty_body", 'parts named "image"',
    ),
    "multipart without a boundary": (as_body(GOOD, "multipart/form-data"), 400, "invalid_request", "has no boundary"),
    "multipart of another boundary": (
        as_body(b"--a\r\n\r\nx\r\n--a--\r\n", "multipart/form-data; boundary=b"),
        400, "invalid_request", "cannot be read",
    ),
    "multipart that breaks off": (
        as_body(b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\nx', "multipart/form-data; boundary=b"),
        400, "invalid_request", "cannot be read",
    ),
    "a picture and a file of another name": (
        {"data": {"image": (BytesIO(GOOD), "a.png"), "picture": (BytesIO(GOOD), "b.png")}},
        400, "invalid_request", "files named 'picture' are not read",
    ),
    "no picture in JSON": (as_json(), 400, "empty_body", "no picture"),
    "empty picture in JSON": (as_json(b""), 400, "empty_body", "image 0"),
    "no content type": ({"data": TEXT}, 415, "unsupported_media_type", "no Content-Type; send the picture itself"),
    "text content type": (as_body(TEXT, "text/plain"), 415, "unsupported_media_type", "Content-Type text/plain is not"),
    "web form": (as_body(TEXT, "application/x-www-form-urlencoded"), 415, "unsupported_media_type", "multipart/form"),
    "text as a picture": (as_body(TEXT), 415, "unsupported_image", "accepted format (JPEG, PNG"),
    "text as octets": (as_body(TEXT, "application/octet-stream"), 415, "unsupported_image", "accepted format"),
    "text as a part": (as_parts(TEXT), 415, "unsupported_image", "accepted format"),
    "text in JSON": (as_json(TEXT), 415, "unsupported_image", "accepted format"),
    "truncated PNG": (as_body(big_png(90)[:-30]), 422, "invalid_image", "damaged or incomplete"),
    "header of a PNG": (as_body(GOOD[:20]), 422, "invalid_image", "picture"),
    "JSON text": (json_body("images"), 400, "invalid_request", "the body is not JSON"),
    "half of JSON": (json_body('{"images": ['), 400, "invalid_request", "the body is not JSON"),
    "binary as JSON": (json_body(b"\xff\xfe\xfd"), 400, "invalid_request", "the body is not JSON"),
    "deep JSON": (json_body("[" * 100_000), 400, "invalid_request", "the body is not JSON"),
    "JSON with an endless number": (json_body("1" * 10_000), 400, "invalid_request", "the body is not JSON"),
    "JSON list": (json_body("[]"), 400, "invalid_request", 'needs "images"'),
    "JSON without images": (json_body('{"image": []}'), 400, "invalid_request", 'needs "images"'),
    "images that are no list": (json_body('{"images": {"b64": "aaaa"}}'), 400, "invalid_request", 'needs "images"'),
    "image that is no object": (json_body('{"images": ["aaaa"]}'), 400, "invalid_request", "images[0]"),
    "image by its address": (
        json_body('{"images": [{"url": "http://127.0.0.1:1/3.png"}]}'),
        400, "invalid_request", "pictures are never fetched from an address",
    ),
    "address in base64": (as_json(b"file:///etc/passwd"), 415, "unsupported_image", "accepted format"),
    "b64 that is no text": (json_body('{"images": [{"b64": 1}]}'), 400, "invalid_request", "images[0]"),
    "b64 of wrong letters": (
        json_body(json.dumps({"images": [{"b64": b64(GOOD)}, {"b64": "not base64!"}]})),
        400, "invalid_request", "images[1].b64 is not base64",
    ),
    "b64 of wrong length": (json_body('{"images": [{"b64": "abcde"}]}'), 400, "invalid_request", "images[0].b64"),
    "b64 beyond ASCII": (json_body('{"images": [{"b64": "\\u00fc"}]}'), 400, "invalid_request", "images[0].b64"),
    "too many parts": (as_parts(*[GOOD] * 4), 413, "too_many_images", "4 pictures were sent; at most 3"),
    "too many in JSON": (as_json(*[GOOD] * 4), 413, "too_many_images", "4 pictures were sent; at most 3"),
    "far too many parts": (as_parts(*[b"x"] * 40), 413, "payload_too_large", "a form of more than 19 parts"),
    "too large a body": (as_body(b"x" * 200_001), 413, "payload_too_large", "more than 200,000 bytes"),
    "too large a form": (as_parts(b"x" * 200_001), 413, "payload_too_large", "more than 200,000 bytes"),
    "too large a JSON": (as_json(b"x" * 200_001), 413, "payload_too_large", "more than 200,000 bytes"),
    "too large a picture": (as_body(b"x" * 50_001), 413, "image_too_large", "50,001 bytes; at most 50,000"),
    "too many pixels": (as_body(big_png(101)), 413, "image_too_large", "101 x 101 = 10,201 pixels; at most 10,000"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "status", "code", "detail"), BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_bad_body_is_refused_with_the_reason(
    gateway: Gateway, body: dict[str, Any], status: int, code: str, detail: str
) -> None:
    problem = check_problem(gateway.post(**body), status, code)
    assert detail in problem["detail"]
    assert gateway.server.predicted == []


BAD_PATHS: dict[str, tuple[str, int, str, str]] = {
    "unknown model": ("/v1/models/letters:classify", 404, "model_not_found", "models served: digits"),
    "unknown model of any letters": ("/v1/models/%F0%9F%A6%94%00:classify", 404, "model_not_found", "digits"),
    "unknown version": ("/v1/models/digits/versions/9:classify", 404, "version_not_found", "no version 9"),
    "unknown label": ("/v1/models/digits/labels/new:classify", 404, "label_not_found", "its labels: old, stable"),
    "label without a candidate": ("/v1/models/digits/labels/candidate:classify", 404, "label_not_found", "stable"),
    "version that is no number": ("/v1/models/digits/versions/two:classify", 400, "invalid_request", "'two'"),
    "negative version": ("/v1/models/digits/versions/-1:classify", 400, "invalid_request", "'-1'"),
    "version of other digits": ("/v1/models/digits/versions/%D9%A3:classify", 400, "invalid_request", "version"),
    "version beyond all": (f"/v1/models/digits/versions/{'9' * 400}:classify", 400, "invalid_request", "version"),
    "no such page": ("/v1/model/digits:classify", 404, "not_found", "POST /v1/models/MODEL:classify"),
    "no such verb": ("/v1/models/digits:regress", 404, "not_found", "nothing is at /v1/models/digits:regress"),
    "two slashes": ("/v1/models//digits:classify", 404, "not_found", "nothing is at"),
    "slash at the end": ("/v1/models/digits:classify/", 404, "not_found", "nothing is at"),
}


@pytest.mark.parametrize(("path", "status", "code", "detail"), BAD_PATHS.values(), ids=BAD_PATHS)
def test_a_bad_path_is_refused_with_what_there_is(
    gateway: Gateway, path: str, status: int, code: str, detail: str
) -> None:
    problem = check_problem(gateway.post(path, **as_body(GOOD)), status, code)
    assert detail in problem["detail"]


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("top_k=0", "top_k must be a number, 1 or more, not '0'"),
        ("top_k=-1", "top_k must be"),
        ("top_k=", "top_k must be"),
        ("top_k=many", "not 'many'"),
        ("top_k=2.5", "top_k must be"),
        ("top_k=1_0", "not '1_0'"),
        ("top_k=%D9%A3", "top_k must be"),
        ("top_k=%203", "top_k must be"),
        ("top_k=" + "9" * 5000, "top_k must be"),
        ("min_confidence=1.01", "min_confidence must be a number, 0 to 1 (or model), not '1.01'"),
        ("min_confidence=-0.1", "min_confidence must be"),
        ("min_confidence=nan", "min_confidence must be"),
        ("min_confidence=inf", "min_confidence must be"),
        ("min_confidence=high", "min_confidence must be"),
        ("min_confidence=", "min_confidence must be"),
    ],
)
def test_a_bad_query_is_refused(gateway: Gateway, query: str, detail: str) -> None:
    problem = check_problem(gateway.post(f"{CLASSIFY}?{query}", **as_body(GOOD)), 400, "invalid_request")
    assert detail in problem["detail"]
    assert gateway.server.predicted == []


@pytest.mark.parametrize(
    "text",
    ["", "0", "-5", "1.5", "1e3", "20001", "soon", "1_000", "+5", "٣", "9" * 5000, "000000000001" + "0" * 20,
     "000000000001" + "0" * 5000],
    ids=lambda text: text[:24],
)  # fmt: skip
def test_a_bad_timeout_is_refused(gateway: Gateway, text: str) -> None:
    header = {"HTTP_X_REQUEST_TIMEOUT_MS": text.encode().decode("latin-1")}
    response = gateway.post(**as_body(GOOD), environ_overrides=header)
    problem = check_problem(response, 400, "invalid_request")
    assert problem["detail"] == "X-Request-Timeout-Ms must be whole milliseconds from 1 to 20000"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_only_post_classifies(gateway: Gateway, method: str) -> None:
    response = gateway.app.test_client().open(CLASSIFY, method=method)
    problem = check_problem(response, 405, "method_not_allowed")
    assert problem["detail"] == f"{CLASSIFY} takes OPTIONS, POST"
    assert response.headers["Allow"] == "OPTIONS, POST"


def test_the_request_id_of_the_caller_is_in_the_problem(gateway: Gateway) -> None:
    response = gateway.post(**as_body(TEXT), headers={"X-Request-Id": "abc-1"})
    assert check_problem(response, 415, "unsupported_image")["request_id"] == "abc-1"


def without_server(gateway: Gateway) -> None:
    gateway.server.away = True


def without_version(gateway: Gateway) -> None:
    del gateway.versions["digits"][1]


def with_fault(fault: Fault) -> Callable[[Gateway], None]:
    def break_it(gateway: Gateway) -> None:
        gateway.classify()  # its manifest is known
        gateway.versions["digits"][1] = scripted_version(fault=fault)

    return break_it


def with_foreign_manifest(gateway: Gateway) -> None:
    gateway.versions["digits"][1] = ScriptedVersion(b'{"schema": 99}')


BAD_SERVERS: dict[str, tuple[Callable[[Gateway], None], int, str]] = {
    "server away": (without_server, 503, "model_unavailable"),
    "routed version not loaded": (without_version, 503, "model_unavailable"),
    "no answer in time": (with_fault(Fault.HANGS), 504, "deadline_exceeded"),
    "prediction refused": (with_fault(Fault.REFUSES), 502, "prediction_failed"),
    "scores that are no numbers": (with_fault(Fault.NOT_A_NUMBER), 502, "prediction_failed"),
    "malformed answer": (with_fault(Fault.MALFORMED), 502, "incompatible_model"),
    "manifest of another schema": (with_foreign_manifest, 502, "incompatible_model"),
}


@pytest.mark.parametrize(("break_it", "status", "code"), BAD_SERVERS.values(), ids=BAD_SERVERS)
def test_a_failure_behind_the_gateway_is_told_apart(
    gateway: Gateway, break_it: Callable[[Gateway], None], status: int, code: str
) -> None:
    break_it(gateway)
    response = gateway.post(**as_body(GOOD))
    check_problem(response, status, code)
    assert response.headers.get("Retry-After") == ("1" if status == 503 else None)


def test_the_gateway_recovers_with_its_model_server(gateway: Gateway) -> None:
    gateway.server.away = True
    check_problem(gateway.post(**as_body(GOOD)), 503, "model_unavailable")
    gateway.server.away = False
    gateway.classify()


def test_an_error_of_our_own_is_logged_and_tells_nothing(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def explode(*_: object) -> None:
        raise RuntimeError("the secret of /etc/passwd")

    monkeypatch.setattr(gateway.server, "predict", explode)
    with caplog.at_level(logging.ERROR):
        response = gateway.post(**as_body(GOOD), headers={"X-Request-Id": "abc-1"})
    problem = check_problem(response, 500, "internal_error")
    assert problem["detail"] == "the error was logged under this request_id"
    assert "abc-1" in caplog.text
    assert "the secret of /etc/passwd" in caplog.text


def test_an_error_of_our_own_outside_classification_tells_nothing_either(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object) -> None:
        raise RuntimeError("the secret of /etc/passwd")

    monkeypatch.setattr(gateway.server, "version_states", explode)
    for path in ("/v1/models", "/v1/models/digits", "/readyz"):
        check_problem(gateway.get(path), 500, "internal_error")


def test_a_gateway_that_routes_nothing_says_so(start: Callable[..., Gateway]) -> None:
    gateway = start(letters=ModelRoutes(stable=1))
    problem = check_problem(gateway.post(**as_body(GOOD)), 404, "model_not_found")
    assert "models served: letters" in problem["detail"]


@pytest.mark.parametrize("query", ["", "?model=", "?model=digits&model=", "?" + "&".join(["model=digits"] * 101)])
def test_models_that_are_not_named_are_asked_nothing(gateway: Gateway, query: str) -> None:
    problem = check_problem(gateway.post(f"/v1/classify{query}", **as_body(GOOD)), 400, "invalid_request")
    assert "?model=a&model=b" in problem["detail"]
