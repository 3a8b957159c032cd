"""Classification over HTTP: requests -> the core's line -> answers.

``POST /v1/models/{model}[/versions/{n}|/labels/{label}]:classify`` asks one model,
``POST /v1/classify?model=a&model=b`` several about the same pictures.
"""

import json
import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from flask import Blueprint, Response, request

from headway_serving.core.classification import Classifier
from headway_serving.core.errors import InvalidRequest, without_frames
from headway_serving.core.requests import DEFAULT_TOP_K, ClassifyRequest, Progress, SharedWork
from headway_serving.core.routing import Pin
from headway_serving.gateway.classify.document import classification_json
from headway_serving.gateway.classify.operations import OWN_THRESHOLD, classification_by_one, classification_by_several
from headway_serving.gateway.requests.exchange import Answer, RequestView, to_flask
from headway_serving.gateway.requests.grammar import (
    RequestLimits,
    deadline_of,
    refuse_content_encoding,
    routing_key,
    version_number,
)
from headway_serving.gateway.requests.identity import current
from headway_serving.gateway.requests.observation import Observer, route_headers
from headway_serving.gateway.requests.operations import describes
from headway_serving.gateway.requests.pictures import read_images
from headway_serving.gateway.requests.problems import problem_part

N = TypeVar("N", int, float)
ReadImages = Callable[[], Sequence[bytes]]

MOST_MODELS = 100
_NUMERIC = re.compile(r"[0-9.eE+-]+")
_JSON = ("Content-Type", "application/json")


@dataclass(frozen=True)
class Classify:
    """Classification by one model or by several, whichever server the request came through."""

    classifier: Classifier
    observer: Observer
    limits: RequestLimits

    def by_one(self, http: RequestView, model: str, version: str | None, label: str | None, read: ReadImages) -> Answer:
        """Answer a request to one model. ``read`` gives the encoded pictures. Raises what is wrong with any of it."""
        with self.observer.request(model) as seen:
            wanted = self._read(http, model, Pin(version_number(version), label), read, seen.progress)
            seen.pictures = wanted.images
            found = self.classifier.classify(wanted, seen.progress)
            seen.images, seen.results = len(found.scores), found.results
            text = classification_json(found, seen.progress, current().request_id)
            return Answer(200, [_JSON, *route_headers(found.route, seen.progress.stages)], f"{text}\n".encode())

    def by_several(self, http: RequestView, models: Sequence[str], read: ReadImages) -> Answer:
        """Answer a request to several models, each with its classification or its problem.

        Raises what is wrong with the request itself: it is read before any model is asked.
        """
        if not (1 <= len(models) <= MOST_MODELS and all(models)):
            raise InvalidRequest(f"name 1 to {MOST_MODELS} models, as in /v1/classify?model=a&model=b")
        wanted, shared = self._read(http, models[0], Pin(), read, Progress()), SharedWork()
        answers = ", ".join([self._part(replace(wanted, model=model), shared) for model in models])
        request_id = json.dumps(current().request_id)
        return Answer(200, [_JSON], f'{{"answers": [{answers}], "request_id": {request_id}}}\n'.encode())

    def _part(self, wanted: ClassifyRequest, shared: SharedWork) -> str:
        """One model's part of the answer of several, as JSON; its time is its own."""
        try:
            with self.observer.request(wanted.model, since=time.monotonic()) as seen:
                seen.pictures = wanted.images
                found = self.classifier.classify(wanted, seen.progress, shared)
                seen.images, seen.results = len(found.scores), found.results
                return classification_json(found, seen.progress)
        except Exception as error:
            part = json.dumps({"model": wanted.model, "problem": problem_part(error)}, ensure_ascii=False)
            without_frames(error)
            return part

    def _read(self, http: RequestView, model: str, pin: Pin, read: ReadImages, progress: Progress) -> ClassifyRequest:
        deadline = deadline_of(http, self.limits)
        with progress.stages.timed("read", current().received_at):
            refuse_content_encoding(http)
            images = read()
        return ClassifyRequest(
            model=model,
            images=images,
            pin=pin,
            key=routing_key(http),
            deadline=deadline,
            top_k=_number(http, "top_k", int, DEFAULT_TOP_K, 1, math.inf),
            min_confidence=_min_confidence(http),
        )


def blueprint(endpoint: Classify) -> Blueprint:
    """The classify routes."""
    routes = Blueprint("classify", __name__)
    limits = endpoint.limits

    def pictures() -> Sequence[bytes]:
        return read_images(request, limits)

    @routes.post("/v1/models/<name:model>:classify")
    @routes.post("/v1/models/<name:model>/versions/<name:version>:classify")
    @routes.post("/v1/models/<name:model>/labels/<name:label>:classify")
    @describes(classification_by_one(limits.max_images, limits.max_timeout_ms))
    def classify(model: str, version: str | None = None, label: str | None = None) -> Response:
        return to_flask(endpoint.by_one(request, model, version, label, pictures))

    @routes.post("/v1/classify")
    @describes(classification_by_several(limits.max_images, limits.max_timeout_ms, MOST_MODELS))
    def classify_by_several() -> Response:
        return to_flask(endpoint.by_several(request, request.args.getlist("model"), pictures))

    return routes


def _min_confidence(http: RequestView) -> float | None:
    """The least score to show; None for the version's own threshold."""
    if http.query_string and http.args.get("min_confidence") == OWN_THRESHOLD:
        return None
    return _number(http, "min_confidence", float, 0.0, 0.0, 1.0)


def _number(http: RequestView, name: str, kind: type[N], default: N, low: float, high: float) -> N:
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
        bounds = f"{low:g} to {high:g} (or {OWN_THRESHOLD})" if kind is float else f"{low:g} or more"
        raise InvalidRequest(f"{name} must be a number, {bounds}, not {text[:40]!r}")
    return value
