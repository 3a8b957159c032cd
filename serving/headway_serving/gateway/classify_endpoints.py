"""Classification over HTTP: requests -> the core's line -> answers.

``POST /v1/models/{model}[/versions/{n}|/labels/{label}]:classify`` asks one model,
``POST /v1/classify?model=a&model=b`` several about the same pictures.
"""

import math
from dataclasses import replace
from typing import Any, TypeVar

from flask import Blueprint, Request, Response, g, request

from headway_contract.errors import InvalidImage
from headway_serving.core.classification import Classification, PictureAnswer
from headway_serving.core.errors import InvalidRequest
from headway_serving.core.requests import ClassifyRequest, Progress, SharedWork
from headway_serving.core.routing import Pin
from headway_serving.gateway.classify_operations import classification_by_one, classification_by_several
from headway_serving.gateway.error_responses import problem_part, problem_response
from headway_serving.gateway.image_bodies import read_images
from headway_serving.gateway.json_responses import json_response
from headway_serving.gateway.observed_requests import ObservedClassifier, describe_route
from headway_serving.gateway.operations import describes
from headway_serving.gateway.request_rules import RequestRules, deadline_of, routing_key, version_number

N = TypeVar("N", int, float)

_MOST_MODELS = 100


def blueprint(classifier: ObservedClassifier, rules: RequestRules) -> Blueprint:
    """The classify routes."""
    routes = Blueprint("classify", __name__)

    @routes.post("/v1/models/<name:model>:classify")
    @routes.post("/v1/models/<name:model>/versions/<name:version>:classify")
    @routes.post("/v1/models/<name:model>/labels/<name:label>:classify")
    @describes(classification_by_one(rules.max_images, rules.max_timeout_ms))
    def classify(model: str, version: str | None = None, label: str | None = None) -> Response:
        return classifier.answer(
            model,
            read=lambda progress: _read(request, model, Pin(version_number(version), label), rules, progress),
            respond=_response,
            refuse=problem_response,
        )

    @routes.post("/v1/classify")
    @describes(classification_by_several(rules.max_images, rules.max_timeout_ms, _MOST_MODELS))
    def classify_by_several() -> Response:
        models = request.args.getlist("model")
        if not 1 <= len(models) <= _MOST_MODELS:
            raise InvalidRequest(f"name 1 to {_MOST_MODELS} models, as in /v1/classify?model=a&model=b")
        # Read once and before any model is asked: what is wrong with the request is wrong for all of them.
        first = _read(request, models[0], Pin(), rules, Progress())
        shared = SharedWork()

        def ask(model: str) -> dict[str, Any]:
            return classifier.answer(
                model,
                read=lambda _: replace(first, model=model),
                respond=_document,
                refuse=lambda error: {"model": model, "problem": problem_part(error)},
                shared=shared,
            )

        return json_response({"answers": [ask(model) for model in models], "request_id": g.request_id})

    return routes


def _read(http: Request, model: str, pin: Pin, rules: RequestRules, progress: Progress) -> ClassifyRequest:
    deadline = deadline_of(http, rules)
    with progress.stages.timed("read"):
        images = read_images(http, rules.max_images)
    return ClassifyRequest(
        model=model,
        images=images,
        pin=pin,
        key=routing_key(http),
        deadline=deadline,
        top_k=_number(http, "top_k", int, 5, 1, math.inf),
        min_confidence=_number(http, "min_confidence", float, 0.0, 0.0, 1.0),
    )


def _response(classification: Classification, progress: Progress) -> Response:
    response = json_response({**_document(classification, progress), "request_id": g.request_id})
    return describe_route(response, classification.route, progress.stages)


def _document(classification: Classification, progress: Progress) -> dict[str, Any]:
    route = classification.route
    document = {
        "model": route.model,
        "version": route.version,
        "arm": route.arm.value,
        "results": [_result(index, answer) for index, answer in enumerate(classification.results)],
    }
    if progress.fallback is not None:
        document["fallback"] = {"version": progress.fallback.route.version, "code": progress.fallback.code}
    return document


def _result(index: int, answer: PictureAnswer) -> dict[str, Any]:
    if isinstance(answer, InvalidImage):
        return {"index": index, "problem": problem_part(answer)}
    return {"index": index, "predictions": [{"label": p.label, "score": p.score} for p in answer]}


def _number(http: Request, name: str, kind: type[N], default: N, low: float, high: float) -> N:
    text = http.args.get(name)
    if text is None:
        return default
    try:
        value = kind(text)
    except ValueError:
        value = None
    # Written so that NaN is refused too.
    if value is None or not low <= value <= high:
        bounds = f"{low:g} to {high:g}" if kind is float else f"{low:g} or more"
        raise InvalidRequest(f"{name} must be a number, {bounds}, not {text[:40]!r}")
    return value
