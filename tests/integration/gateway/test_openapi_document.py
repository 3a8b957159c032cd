"""``/openapi.json`` and ``/docs``: complete, valid, and of this process."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from headway_serving.adapters.files.tokens import TokenFile
from headway_serving.gateway.requests.operations import operation_of, routes_of
from headway_serving.gateway.requests.problems import problems_by_code
from headway_serving.settings import GatewaySettings
from tests.integration.gateway.gateway_under_test import GatewayUnderTest


def document_of(gateway: GatewayUnderTest) -> dict[str, Any]:
    response = gateway.get("/openapi.json")
    assert (response.status_code, response.mimetype) == (200, "application/json")
    document: dict[str, Any] = json.loads(response.data)
    return document


@pytest.fixture
def guarded(tmp_path: Path) -> GatewayUnderTest:
    path = tmp_path / "tokens.json"
    path.write_text('{"schema": 1, "tokens": []}')
    return GatewayUnderTest(tmp_path / "routes.json", None, {}, tokens=TokenFile(path, 1.0))


def codes_of(operation: dict[str, Any]) -> dict[str, int]:
    """The problem codes of an operation with the status under which each stands."""
    codes: dict[str, int] = {}
    for status, answer in operation["responses"].items():
        if int(status) >= 400:
            codes |= dict.fromkeys((line.partition(":")[0] for line in answer["description"].split("; ")), int(status))
    return codes


def test_it_is_valid_openapi_3_1(gateway: GatewayUnderTest, guarded: GatewayUnderTest) -> None:
    for each in (gateway, guarded):
        document = document_of(each)
        assert document["openapi"].startswith("3.1.")
        validate(document, cls=OpenAPIV31SpecValidator)


def test_every_route_is_in_it_and_it_has_no_others(gateway: GatewayUnderTest) -> None:
    undescribed = [rule for _, rule, endpoint in routes_of(gateway.app) if operation_of(gateway.app, endpoint) is None]
    assert undescribed == [], "put @describes(Operation(...)) on these"
    routed = {
        (method.lower(), re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)) for method, rule, _ in routes_of(gateway.app)
    }
    paths = document_of(gateway)["paths"]
    assert {(method, path) for path, methods in paths.items() for method in methods} == routed


def test_every_problem_is_in_it_under_its_status_and_it_has_no_others(guarded: GatewayUnderTest) -> None:
    document = document_of(guarded)
    table = {code: problem.status for code, problem in problems_by_code().items()}
    assert set(document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]) == set(table)
    told: dict[str, int] = {}
    for methods in document["paths"].values():
        for operation in methods.values():
            told |= codes_of(operation)
    # These two the server answers before there is a request: what it answers by itself is in the description.
    assert told == {code: status for code, status in table.items() if status not in (414, 431)}


def test_the_limits_are_those_of_the_process(start: Any) -> None:
    document = document_of(start(GatewaySettings(max_images=7, max_request_timeout_ms=1234)))
    operation = document["paths"]["/v1/models/{model}:classify"]["post"]
    content = operation["requestBody"]["content"]
    assert content["application/json"]["schema"]["properties"]["images"]["maxItems"] == 7
    assert content["multipart/form-data"]["schema"]["properties"]["image"]["maxItems"] == 7
    (timeout,) = [each for each in operation["parameters"] if each["name"] == "X-Request-Timeout-Ms"]
    assert timeout["schema"]["maximum"] == 1234


def test_tokens_are_told_where_they_are_asked_for(gateway: GatewayUnderTest, guarded: GatewayUnderTest) -> None:
    assert "securitySchemes" not in document_of(gateway)["components"]
    document = document_of(guarded)
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    scopes = {path: operation.get("x-scope") for path, methods in document["paths"].items()
              for operation in methods.values()}  # fmt: skip
    assert (scopes["/metrics"], scopes["/v1/models"], scopes["/livez"]) == ("admin", "classify", None)
    for methods in document["paths"].values():
        for operation in methods.values():
            assert ("security" in operation) == ("x-scope" in operation) == ("401" in operation["responses"])


def test_an_admin_port_takes_its_routes_out(start: Any) -> None:
    assert "/metrics" not in document_of(start(GatewaySettings(admin_port=9999)))["paths"]


class Page(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_shows_every_route_and_every_problem_of_the_document(guarded: GatewayUnderTest) -> None:
    document, html = document_of(guarded), guarded.get("/docs").text
    words = set(Page(html).words)
    assert set(document["paths"]) <= words
    codes = {code for methods in document["paths"].values() for each in methods.values() for code in codes_of(each)}
    assert codes <= words
    names = {attributes["id"] for _, attributes in Page(html).tags if "id" in attributes}
    links = {attributes["href"] for tag, attributes in Page(html).tags if tag == "a"}
    assert links <= {"openapi.json"} | {f"#{name}" for name in names}


def test_the_page_lets_a_browser_do_nothing_else(gateway: GatewayUnderTest) -> None:
    response = gateway.get("/docs")
    html, policy = response.text, response.headers["Content-Security-Policy"]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style.group(1).encode()).digest()).decode()
    assert directives == {
        "default-src": "'none'", "style-src": f"'sha256-{digest}'", "base-uri": "'none'", "form-action": "'none'",
        "frame-ancestors": "'none'",
    }  # fmt: skip
    assert response.headers["X-Frame-Options"] == "DENY"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    tags = Page(html).tags
    assert not {tag for tag, _ in tags} & {"script", "link", "img", "iframe", "object", "form"}
    assert not [name for _, attributes in tags for name in attributes if name == "style" or name.startswith("on")]


def test_it_is_made_once(gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    first, page = gateway.get("/openapi.json").data, gateway.get("/docs").data
    monkeypatch.setattr("headway_serving.gateway.openapi.endpoints.openapi_document", None)
    assert gateway.get("/openapi.json").data == first
    assert gateway.get("/docs").data == page
