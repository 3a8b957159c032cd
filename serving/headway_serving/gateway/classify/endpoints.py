"""Classification over HTTP: requests -> the core's line -> answers.

``POST /v1/models/{model}[/versions/{n}|/labels/{label}]:classify`` asks one model,
``POST /v1/classify?model=a&model=b`` several about the same pictures.
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from flask import Blueprint, Response, request

from headway_serving.core.classification import Classification
from headway_serving.core.errors import InvalidRequest
from headway_serving.core.requests import ClassifyRequest, Progress, SharedWork
from headway_serving.core.routing import Pin
from headway_serving.gateway.classify.document import classification_json
from headway_serving.gateway.classify.operations import classification_by_one, classification_by_several
from headway_serving.gateway.requests.identity import current
from headway_serving.gateway.requests.observation import ObservedClassifier, route_headers
from headway_serving.gateway.requests.operations import describes
from headway_serving.gateway.requests.pictures import read_images
from headway_serving.gateway.requests.problems import problem_part, problem_response
from headway_serving.gateway.requests.rules import Asked, RequestRules, deadline_of, routing_key, version_number

N = TypeVar("N", int, float)

_MOST_MODELS = 100
_NUMERIC = re.compile(r"[0-9.eE+-]+")


@dataclass(frozen=True)
class Answered:
    """A good answer: its JSON text in UTF-8, and what its headers say beside the usual."""

    body: bytes
    headers: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class OneModel:
    """Classification by one model, for whichever layer took the request."""

    classifier: ObservedClassifier
    rules: RequestRules

    def answer(
        self, http: Asked, model: str, version: str | None, label: str | None, read: Callable[[], list[bytes]]
    ) -> Answered | Response:
        """The answer, or the problem of any error. ``read`` gives the encoded pictures and may raise."""

        def request_of(progress: Progress) -> ClassifyRequest:
            return _read(http, model, Pin(version_number(version), label), self.rules, progress, read)

        def refuse(error: Exception) -> Answered | Response:
            return problem_response(error)

        return self.classifier.answer(model, request_of, _answered, refuse)


def blueprint(one: OneModel) -> Blueprint:
    """The classify routes."""
    routes = Blueprint("classify", __name__)
    classifier, rules = one.classifier, one.rules

    def pictures() -> list[bytes]:
        return read_images(request, rules.max_images)

    @routes.post("/v1/models/<name:model>:classify")
    @routes.post("/v1/models/<name:model>/versions/<name:version>:classify")
    @routes.post("/v1/models/<name:model>/labels/<name:label>:classify")
    @describes(classification_by_one(rules.max_images, rules.max_timeout_ms))
    def classify(model: str, version: str | None = None, label: str | None = None) -> Response:
        answer = one.answer(request, model, version, label, pictures)
        if isinstance(answer, Response):
            return answer
        return Response(answer.body, mimetype="application/json", headers=list(answer.headers))

    @routes.post("/v1/classify")
    @describes(classification_by_several(rules.max_images, rules.max_timeout_ms, _MOST_MODELS))
    def classify_by_several() -> Response:
        models = request.args.getlist("model")
        if not (1 <= len(models) <= _MOST_MODELS and all(models)):
            raise InvalidRequest(f"name 1 to {_MOST_MODELS} models, as in /v1/classify?model=a&model=b")
        # Read once and before any model is asked: what is wrong with the request is wrong for all of them.
        first = _read(request, models[0], Pin(), rules, Progress(), pictures)
        shared = SharedWork()

        def ask(model: str) -> str:
            return classifier.answer(
                model,
                read=lambda _: replace(first, model=model),
                respond=classification_json,
                refuse=lambda error: json.dumps({"model": model, "problem": problem_part(error)}, ensure_ascii=False),
                shared=shared,
            )

        answers, request_id = ", ".join([ask(model) for model in models]), json.dumps(current().request_id)
        return Response(f'{{"answers": [{answers}], "request_id": {request_id}}}\n', mimetype="application/json")

    return routes


def _read(
    http: Asked, model: str, pin: Pin, rules: RequestRules, progress: Progress, read: Callable[[], list[bytes]]
) -> ClassifyRequest:
    deadline = deadline_of(http, rules)
    with progress.stages.timed("read", current().received_at):
        images = read()
    return ClassifyRequest(
        model=model,
        images=images,
        pin=pin,
        key=routing_key(http),
        deadline=deadline,
        top_k=_number(http, "top_k", int, 5, 1, math.inf),
        min_confidence=_number(http, "min_confidence", float, 0.0, 0.0, 1.0),
    )


def _answered(classification: Classification, progress: Progress) -> Answered | Response:
    text = classification_json(classification, progress, current().request_id)
    return Answered(f"{text}\n".encode(), route_headers(classification.route, progress.stages))


def _number(http: Asked, name: str, kind: type[N], default: N, low: float, high: float) -> N:
    text = http.args.get(name) if http.query_string else None
    if text is None:
        return default
    try:
        # Python reads more than numbers are written with: 1_0, the digits of other alphabets, spaces around.
        value = kind(text) if _NUMERIC.fullmatch(text) else None
    except ValueError:
        value = None
    # Written so that NaN is refused too.
    if value is None or not low <= value <= high:
        bounds = f"{low:g} to {high:g}" if kind is float else f"{low:g} or more"
        raise InvalidRequest(f"{name} must be a number, {bounds}, not {text[:40]!r}")
    return value
