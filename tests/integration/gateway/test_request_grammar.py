"""One grammar of a request, asked of every endpoint: a row of ``requests/grammar.py`` here, an endpoint there."""

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.gateway.gateway_under_test import GatewayUnderTest, picture
from tests.integration.gateway.live_gateway import LiveGateway, live_gateway
from tests.integration.gateway.scripted_rest_server import rest_server

ENCODED = base64.b64encode(picture(3)).decode()
JSON_PICTURE = json.dumps({"images": [{"b64": ENCODED}]}).encode()
TENSOR = {"name": "images", "datatype": "BYTES", "shape": [1], "data": [ENCODED]}

ENDPOINTS: dict[str, tuple[str, str, bytes]] = {
    "classify, a picture": ("/v1/models/digits:classify", "image/png", picture(3)),
    "classify, JSON": ("/v1/models/digits:classify", "application/json", JSON_PICTURE),
    "classify, a version": ("/v1/models/digits/versions/2:classify", "image/png", picture(3)),
    "classify by several": ("/v1/classify?model=digits", "image/png", picture(3)),
    "infer": ("/v2/models/digits/infer", "application/json", json.dumps({"inputs": [TENSOR]}).encode()),
    "predict": ("/v1/models/digits:predict", "application/json", b'{"instances": []}'),
}

# Header lines, and the status of every endpoint that runs a model.
HEADERS: dict[str, tuple[str, int]] = {
    "nothing special": ("", 200),
    "no encoding": ("Content-Encoding: identity", 200),
    "an encoding": ("Content-Encoding: gzip", 415),
    "two encodings": ("Content-Encoding: gzip, br", 415),
    "a time": ("X-Request-Timeout-Ms: 9000", 200),
    "no time": ("X-Request-Timeout-Ms: 0", 400),
    "too long a time": ("X-Request-Timeout-Ms: 60001", 400),
    "a time in words": ("X-Request-Timeout-Ms: soon", 400),
    "an upgrade": ("Connection: Upgrade\r\nUpgrade: h2c", 200),
    "an unknown coding": ("Transfer-Encoding: xchunked", 400),
    "a length in words": ("Content-Length: abc", 400),
    "underscores": ("Content_Encoding: gzip\r\nX_Request_Timeout_Ms: 0\r\nContent_Length: abc", 200),
    "another expectation": ("Expect: a miracle", 200),
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with (
        rest_server() as model_server,
        live_gateway(tmp_path_factory.mktemp("grammar"), MODEL_SERVER_REST=model_server.url) as running,
    ):
        yield running


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize(("lines", "status"), HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize(("path", "kind", "body"), ENDPOINTS.values(), ids=ENDPOINTS)
def test_every_endpoint_reads_a_request_alike(
    gateway: LiveGateway, path: str, kind: str, body: bytes, lines: str, status: int
) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nConnection: close\r\n"
    length = "" if "Length: abc" in lines and "_" not in lines else f"Content-Length: {len(body)}\r\n"
    more = f"{lines}\r\n" if lines else ""
    answer = gateway.raw(f"{head}{length}{more}\r\n".encode() + body)
    assert status_of(answer) == status, answer
    if status == 415:
        assert b"send the body as it is, without Content-Encoding" in answer


@pytest.mark.parametrize("target", ["http://x{path}", "http://x:80{path}", "{path}#fragment"])
@pytest.mark.parametrize(("path", "kind", "body"), ENDPOINTS.values(), ids=ENDPOINTS)
def test_every_endpoint_is_found_by_every_form_of_a_target(
    gateway: LiveGateway, path: str, kind: str, body: bytes, target: str
) -> None:
    head = f"POST {target.format(path=path)} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nConnection: close\r\n"
    answer = gateway.raw(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    assert status_of(answer) == 200, answer


@pytest.mark.parametrize("version", ["two", "-1", "9" * 30, "1.0", "%D9%A3"])
@pytest.mark.parametrize("path", ["/v1/models/digits/versions/{}:classify", "/v2/models/digits/versions/{}/infer"])
def test_a_version_is_a_number_wherever_a_path_names_one(gateway: LiveGateway, path: str, version: str) -> None:
    head = f"POST {path.format(version)} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nConnection: close\r\n"
    answer = gateway.raw(f"{head}Content-Length: 1\r\n\r\nx".encode())
    assert status_of(answer) == 400, answer


def test_a_compressed_picture_is_refused_by_any_wsgi_server_too(tmp_path: Path) -> None:
    under_test = GatewayUnderTest(tmp_path / "routes.json", None, {})
    sent: dict[str, Any] = {"data": gzip.compress(picture(3)), "headers": {"Content-Encoding": "gzip"}}
    for path, kind, _ in ENDPOINTS.values():
        if not path.endswith(":predict"):
            assert under_test.post(path, content_type=kind, **sent).status_code == 415
