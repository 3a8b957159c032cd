"""The Flask application alone, under a WSGI server that is not ours: it answers every route as our server does."""

import json
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.integration.gateway.gateway_under_test import CLASSIFY, picture
from tests.integration.gateway.live_gateway import LiveGateway, live_gateway

# The address comes from HEADWAY_PORT, as the other gateway's does.
GUNICORN = [
    sys.executable, "-c",
    "import os, sys; from gunicorn.app.wsgiapp import run\n"
    "sys.argv = ['gunicorn', '--threads', '4', '--bind', '127.0.0.1:' + os.environ['HEADWAY_PORT'],"
    " 'headway_serving.gateway.wsgi:app']\n"
    "sys.exit(run())",
]  # fmt: skip


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with live_gateway(tmp_path_factory.mktemp("ours")) as running:
        yield running


@pytest.fixture(scope="module")
def under_gunicorn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with live_gateway(tmp_path_factory.mktemp("gunicorn"), GUNICORN) as running:
        yield running


PNG = {"Content-Type": "image/png"}
REQUESTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "a picture": ("POST", CLASSIFY, {"content": picture(3), "headers": PNG}),
    "a form": ("POST", CLASSIFY, {"files": [("image", picture(3)), ("image", picture(4))]}),
    "a pinned version": ("POST", "/v1/models/digits/versions/2:classify", {"content": picture(3), "headers": PNG}),
    "several models": ("POST", "/v1/classify?model=digits&model=none", {"content": picture(3), "headers": PNG}),
    "chunks": ("POST", CLASSIFY, {"content": [picture(3)[:50], picture(3)[50:]], "headers": PNG}),
    "no picture": ("POST", CLASSIFY, {"content": b"text", "headers": PNG}),
    "a compressed picture": ("POST", CLASSIFY, {"content": b"x", "headers": {**PNG, "Content-Encoding": "gzip"}}),
    "no time": ("POST", CLASSIFY, {"content": picture(3), "headers": {**PNG, "X-Request-Timeout-Ms": "0"}}),
    "models": ("GET", "/v1/models", {}),
    "readiness": ("GET", "/readyz?verbose", {}),
    "nothing there": ("GET", "/nowhere", {}),
    "another method": ("DELETE", CLASSIFY, {}),
    "the document": ("GET", "/openapi.json", {}),
    "infer": ("POST", "/v2/models/digits/infer", {"json": {"inputs": []}}),
}
OF_THE_SERVER = {"date", "server", "connection", "content-length", "transfer-encoding", "server-timing"}


def told(gateway: LiveGateway, method: str, path: str, request: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
    headers = {**request.get("headers", {}), "X-Request-Id": "one"}
    answer = httpx.request(method, gateway.url + path, **{**request, "headers": headers}, timeout=30)
    said = {name: value for name, value in answer.headers.items() if name not in OF_THE_SERVER}
    # Each has its routes in a folder of its own, and says so.
    return answer.status_code, said, json.loads(answer.text.replace(str(gateway.log.parent), "folder"))


@pytest.mark.parametrize("name", REQUESTS)
def test_both_servers_answer_alike(ours: LiveGateway, under_gunicorn: LiveGateway, name: str) -> None:
    method, path, request = REQUESTS[name]
    assert told(ours, method, path, request) == told(under_gunicorn, method, path, request)


def test_its_metrics_are_there(under_gunicorn: LiveGateway) -> None:
    page = httpx.get(f"{under_gunicorn.url}/metrics").text
    assert 'headway_requests_total{arm="stable",code="ok",model="digits",version="1"}' in page
