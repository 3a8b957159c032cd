"""``/openapi.json`` and ``/docs``: what the gateway can do, for programs and for people."""

import json
from functools import cache
from importlib import resources
from typing import Any

from flask import Blueprint, Flask, Response, render_template_string

from headway_serving.gateway.openapi.document import openapi_document
from headway_serving.gateway.openapi.pages import html_page
from headway_serving.gateway.requests.operations import Answer, Operation, describes

_DOCUMENT = Operation(
    tag="Documentation",
    summary="This document",
    scope=None,
    answers={200: Answer("An OpenAPI 3.1 document", {"application/json": {"type": "object"}})},
)
_PAGE = Operation(
    tag="Documentation",
    summary="This document as a page",
    scope=None,
    answers={200: Answer("A page of HTML", {"text/html": {"type": "string"}})},
)


def blueprint(app: Flask, *, tokens_needed: bool) -> Blueprint:
    """The two routes; they tell routes and limits, no model, so they are open to everyone."""
    endpoints = Blueprint("docs", __name__)

    @cache
    def document() -> dict[str, Any]:
        return openapi_document(app, tokens_needed=tokens_needed)

    @cache
    def as_json() -> str:
        return json.dumps(document(), ensure_ascii=False)

    @cache
    def as_page() -> tuple[str, str]:
        folder = resources.files(__package__) / "page"
        style = (folder / "docs.css").read_text(encoding="utf-8")
        template = (folder / "docs.html").read_text(encoding="utf-8")
        html = render_template_string(template, style=style, document=document(), operations=_by_tag(document()))
        return html, style

    @endpoints.get("/openapi.json")
    @describes(_DOCUMENT)
    def openapi() -> Response:
        return Response(as_json(), mimetype="application/json")

    @endpoints.get("/docs")
    @describes(_PAGE)
    def page() -> Response:
        return html_page(*as_page())

    return endpoints


def _by_tag(document: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The operations with their path and method, under their tag, in the order of the document."""
    tagged: dict[str, list[dict[str, Any]]] = {tag["name"]: [] for tag in document["tags"]}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            tagged[operation["tags"][0]].append({"path": path, "method": method.upper(), **operation})
    return tagged
