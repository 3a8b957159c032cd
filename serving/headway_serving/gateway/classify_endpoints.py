"""``POST /v1/models/{model}[/versions/{n}|/labels/{label}]:classify``: HTTP -> the core's line -> HTTP."""

import json
import logging
import math
import time
from dataclasses import dataclass
from typing import TypeVar

from flask import Blueprint, Request, Response, g, request

from headway_serving.adapters.prometheus_metrics import Observation, PrometheusMetrics
from headway_serving.core.catalog import Catalog
from headway_serving.core.classification import Classification, Classifier, ClassifyRequest, Deadline, Progress
from headway_serving.core.errors import InvalidRequest
from headway_serving.core.routing import Pin, Route
from headway_serving.gateway.error_responses import problem_of, problem_response
from headway_serving.gateway.image_bodies import read_images
from headway_serving.gateway.json_responses import json_response

N = TypeVar("N", int, float)

_access_log = logging.getLogger("headway.access")


@dataclass(frozen=True)
class RequestRules:
    """What one request may ask for: pictures, and milliseconds when it names none and at most."""

    max_images: int
    timeout_ms: int
    max_timeout_ms: int


def blueprint(
    classifier: Classifier, catalog: Catalog, metrics: PrometheusMetrics, rules: RequestRules, *, access_log: bool
) -> Blueprint:
    """The three classify routes; with ``access_log`` each request leaves one JSON line."""
    routes = Blueprint("classify", __name__)

    @routes.post("/v1/models/<name:model>:classify")
    @routes.post("/v1/models/<name:model>/versions/<name:version>:classify")
    @routes.post("/v1/models/<name:model>/labels/<name:label>:classify")
    def classify(model: str, version: str | None = None, label: str | None = None) -> Response:
        started = time.perf_counter()
        progress, code, images = Progress(), "ok", 0
        with metrics.in_flight.track_inprogress():
            try:
                wanted = _read(request, model, Pin(_version(version), label), rules, progress)
                images = len(wanted.images)
                response = _response(classifier.classify(wanted, progress), progress)
            # Every outcome is counted and answered here, so that each request is one observation.
            except Exception as error:
                code, response = problem_of(error).code, problem_response(error)
        seconds = time.perf_counter() - started
        observation = Observation(
            model=model if model in classifier.routes().models else None,
            route=_known(progress.route),
            code=code,
            images=images,
            seconds=seconds,
            stage_seconds=progress.stages.seconds,
        )
        metrics.observe(observation)
        if access_log:
            _write_access_line(observation, response.status_code)
        return response

    def _known(route: Route | None) -> Route | None:
        # A version that a client typed becomes a metric label only once the model server has shown that it exists.
        return route if route is not None and catalog.knows(route.model, route.version) else None

    return routes


def _read(http: Request, model: str, pin: Pin, rules: RequestRules, progress: Progress) -> ClassifyRequest:
    deadline = Deadline(_timeout_seconds(http, rules))
    with progress.stages.timed("read"):
        images = read_images(http, rules.max_images)
    return ClassifyRequest(
        model=model,
        images=images,
        pin=pin,
        key=http.headers.get("X-Routing-Key") or g.request_id,
        deadline=deadline,
        top_k=_number(http, "top_k", int, 5, 1, math.inf),
        min_confidence=_number(http, "min_confidence", float, 0.0, 0.0, 1.0),
    )


def _timeout_seconds(http: Request, rules: RequestRules) -> float:
    text = http.headers.get("X-Request-Timeout-Ms")
    if text is None:
        return rules.timeout_ms / 1000
    whole = text.isascii() and text.isdecimal() and len(text) <= 12
    if not (whole and 1 <= int(text) <= rules.max_timeout_ms):
        raise InvalidRequest(f"X-Request-Timeout-Ms must be whole milliseconds from 1 to {rules.max_timeout_ms}")
    return int(text) / 1000


def _response(classification: Classification, progress: Progress) -> Response:
    route = classification.route
    body = {
        "model": route.model,
        "version": route.version,
        "arm": route.arm.value,
        "results": [
            {"index": index, "predictions": [{"label": p.label, "score": p.score} for p in predictions]}
            for index, predictions in enumerate(classification.results)
        ],
        "request_id": g.request_id,
    }
    response = json_response(body)
    response.headers["X-Route-Reason"] = route.reason
    response.headers["Server-Timing"] = ", ".join(
        f"{stage};dur={seconds * 1000:.3f}" for stage, seconds in progress.stages.seconds.items()
    )
    return response


def _version(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise InvalidRequest(f"version {text[:40]!r} is not a version number; write /versions/3:classify")
    return int(text)


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


def _write_access_line(observation: Observation, status: int) -> None:
    route = observation.route
    line = {
        "request_id": g.request_id,
        "trace_id": g.trace_id,
        "model": observation.model,
        "version": route.version if route else None,
        "arm": route.arm.value if route else None,
        "code": observation.code,
        "status": status,
        "ms": round(observation.seconds * 1000, 3),
    }
    _access_log.info(json.dumps(line))
