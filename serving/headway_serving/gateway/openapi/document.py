"""``/openapi.json``: the gateway's routes as an OpenAPI 3.1 document, made from what the routes say of themselves.

It is made once, when it is first asked for, from the routes that are registered, their operations and the table of
problems; what is not registered (an admin route on a port of its own) is not in it.
"""

import importlib.metadata
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from flask import Flask

from headway_serving.gateway.inference.schemas import INFERENCE_DOCUMENTS
from headway_serving.gateway.requests.identity import LONGEST_ID
from headway_serving.gateway.requests.operations import (
    ERROR_OBJECT_FORM,
    Answer,
    Operation,
    Parameter,
    operation_of,
    routes_of,
)
from headway_serving.gateway.requests.problems import Problem, problems_by_code
from headway_serving.gateway.requests.schemas import DOCUMENTS, TEXT, problem_documents

_ABOUT = (
    "Image classifiers behind one address. Errors are documents of RFC 9457: their code is stable, their detail says "
    "what to do. Under /v2 and for :predict they have the same status and the form of those protocols. A request "
    "that is no HTTP/1.1, or whose head is too large, is answered with a problem of 400, 414 or 431 by the server, "
    "before it reaches any of these routes."
)
_PATH_PARAMETER = re.compile(r"<(?:[^:<>]+:)?([^:<>]+)>")
_SEGMENT = {"type": "string", "minLength": 1, "pattern": "^[^/:]+$"}
_REQUEST_ID = Parameter(
    "X-Request-Id", "header", f"kept if it is 1 to {LONGEST_ID} letters, digits and ._:-, else replaced", TEXT
)
_SCHEME = "token"


def openapi_document(app: Flask, *, tokens_needed: bool) -> dict[str, Any]:
    """The document of every registered route that describes itself. ``tokens_needed``: callers must show one."""
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for method, rule, endpoint in routes_of(app):
        operation = operation_of(app, endpoint)
        if operation is not None:
            written = _operation(operation, rule, tokens_needed=tokens_needed)
            # Where one endpoint has several rules, what they add to the model's name tells them apart.
            written["operationId"] = "_".join([*endpoint.split("."), *_PATH_PARAMETER.findall(rule)[1:]])
            paths[_PATH_PARAMETER.sub(r"{\1}", rule)][method.lower()] = written
    documents = {**DOCUMENTS, **INFERENCE_DOCUMENTS, **problem_documents(list(problems_by_code()))}
    components: dict[str, Any] = {"schemas": documents}
    if tokens_needed:
        components["securitySchemes"] = {
            _SCHEME: {"type": "http", "scheme": "bearer", "description": "a token of the gateway's tokens file"}
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Headway gateway", "version": importlib.metadata.version("headway"), "description": _ABOUT},
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in _tags(paths)],
        "paths": paths,
        "components": components,
    }


def _operation(operation: Operation, rule: str, *, tokens_needed: bool) -> dict[str, Any]:
    names = _PATH_PARAMETER.findall(rule)
    written: dict[str, Any] = {
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": [_parameter(each) for each in _parameters(operation, names)],
        "responses": {str(status): _answer(answer) for status, answer in sorted(operation.answers.items())},
    }
    if operation.description:
        written["description"] = operation.description
    if operation.body is not None:
        content = {kind: {"schema": schema} for kind, schema in operation.body.items()}
        written["requestBody"] = {"required": True, "content": content}
    codes = {*operation.problems, "internal_error"}
    if names:
        # A name with a slash or a colon in it makes another path, which may lead nowhere or take another method.
        codes |= {"not_found", "method_not_allowed"}
    if tokens_needed and operation.scope is not None:
        codes |= {"unauthorized", "forbidden"}
        written["security"] = [{_SCHEME: []}]
        written["x-scope"] = operation.scope.value
    table = problems_by_code()
    by_status: dict[int, list[Problem]] = defaultdict(list)
    for code in sorted(codes):
        by_status[table[code].status].append(table[code])
    for status, rows in sorted(by_status.items()):
        # A status that says something else too, as an unready service does, keeps what it says.
        written["responses"].setdefault(str(status), _error(operation, rows))
    return written


def _parameters(operation: Operation, names: Iterable[str]) -> list[Parameter]:
    declared = {each.name: each for each in operation.parameters if each.where == "path"}
    in_path = [declared.get(name, Parameter(name, "path", f"the {name}", _SEGMENT, required=True)) for name in names]
    return [*in_path, *(each for each in operation.parameters if each.where != "path"), _REQUEST_ID]


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name, "in": parameter.where, "required": parameter.required,
        "description": parameter.description, "schema": parameter.schema,
    }  # fmt: skip


def _answer(answer: Answer) -> dict[str, Any]:
    headers = {"X-Request-Id": "the id of this request", **answer.headers}
    return {
        "description": answer.description,
        "headers": _headers(headers),
        "content": {kind: {"schema": schema} for kind, schema in answer.content.items()},
    }


def _error(operation: Operation, problems: list[Problem]) -> dict[str, Any]:
    headers = {"X-Request-Id": "the id of this request"}
    if any(each.retry_after is not None for each in problems):
        headers["Retry-After"] = "seconds after which to try again"
    if problems[0].status in (401, 403):
        headers["WWW-Authenticate"] = "what is asked for (RFC 6750)"
    schema = operation.errors.schema
    if operation.errors.has_code:
        narrow = {"status": {"const": problems[0].status}, "code": {"enum": [each.code for each in problems]}}
        schema = {"allOf": [schema, {"properties": narrow}]}
    content = {operation.errors.media_type: {"schema": schema}}
    if {"not_found", "method_not_allowed"} & {each.code for each in problems}:
        # The path that a name has made may be one of the other protocol, and is answered as that one says it.
        content.setdefault(ERROR_OBJECT_FORM.media_type, {"schema": ERROR_OBJECT_FORM.schema})
    return {
        "description": "; ".join(f"{each.code}: {each.title}" for each in problems),
        "headers": _headers(headers),
        "content": content,
    }


def _headers(headers: Mapping[str, str]) -> dict[str, Any]:
    return {name: {"description": description, "schema": TEXT} for name, description in headers.items()}


def _tags(paths: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(each["tags"][0] for operations in paths.values() for each in operations.values()))
