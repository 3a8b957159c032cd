"""``POST /v1/models/{model}[/versions/{n}|/labels/{label}]:predict``: TensorFlow Serving's REST, with our routing.

The gateway chooses the version; body and answer pass unchanged between the client and the model server's REST port.
"""

from collections.abc import Mapping
from typing import Protocol

from flask import Blueprint, Response, request

from headway_contract.model_manifest import ModelManifest
from headway_serving.adapters.model_server.rest import RestAnswer
from headway_serving.core.admission import priority_of
from headway_serving.core.classification import Classifier
from headway_serving.core.errors import (
    DeadlineExceeded,
    IncompatibleModel,
    InvalidRequest,
    ModelUnavailable,
    PredictionFailed,
    ServingError,
    VersionNotFound,
)
from headway_serving.core.requests import Deadline, Progress, answer_within
from headway_serving.core.routing import Pin, Route
from headway_serving.gateway.requests.errors import PassThroughOff
from headway_serving.gateway.requests.exchange import Answer, to_flask
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
from headway_serving.gateway.tfserving_rest.operations import prediction

# What a status of the model server counts as; others are invalid_request below 500 and prediction_failed from there.
_CODES = {404: "version_not_found", 503: "model_unavailable", 504: "deadline_exceeded"}
# What a candidate on trial is blamed for, so that the stable version answers; other statuses from 500: it failed.
_FAILURES: Mapping[int, type[ServingError]] = {404: VersionNotFound, 503: ModelUnavailable, 504: DeadlineExceeded}


class RestModelServer(Protocol):
    """A model server that answers TensorFlow Serving's REST requests."""

    def predict(self, route: Route, body: bytes, timeout: float) -> RestAnswer:
        """The answer to one ``:predict``, whatever it is. Raises ``DeadlineExceeded`` or ``ModelUnavailable``."""
        ...


def blueprint(
    server: RestModelServer | None, classifier: Classifier, observer: Observer, limits: RequestLimits
) -> Blueprint:
    """The three ``:predict`` routes; without a server each answers that there is none."""
    endpoints = Blueprint("tfserving_rest", __name__)

    @endpoints.post("/v1/models/<name:model>:predict")
    @endpoints.post("/v1/models/<name:model>/versions/<name:version>:predict")
    @endpoints.post("/v1/models/<name:model>/labels/<name:label>:predict")
    @describes(prediction(limits.max_timeout_ms))
    def predict(model: str, version: str | None = None, label: str | None = None) -> Response:
        with observer.request(model) as seen:
            if server is None:
                raise PassThroughOff(
                    "this gateway knows no REST port of the model server: set HEADWAY_MODEL_SERVER_REST, "
                    f"or send pictures to POST /v1/models/{model}:classify"
                )
            deadline, pin = deadline_of(request, limits), Pin(version_number(version), label)
            with seen.progress.stages.timed("read", current().received_at):
                refuse_content_encoding(request)
                body = request.get_data(cache=False)
            found, route = pass_on(server, classifier, body, model, pin, routing_key(request), deadline, seen.progress)
            seen.code, seen.status = _code(found.status), found.status
            headers = [("Content-Type", found.content_type), *route_headers(route, seen.progress.stages)]
            answer = Answer(found.status, headers, found.body)
        return to_flask(answer)

    return endpoints


def pass_on(
    server: RestModelServer,
    classifier: Classifier,
    body: bytes,
    model: str,
    pin: Pin,
    key: str,
    deadline: Deadline,
    progress: Progress,
) -> tuple[RestAnswer, Route]:
    """What the model server answers to a body, and by which version, with the classifier's routes and admission.

    Raises a ``ServingError``.
    """
    table = classifier.routes()
    route = progress.route = table.choose(model, pin, key)
    timed = progress.stages.timed

    def ask(version: Route, within: Deadline) -> tuple[RestAnswer, Route]:
        with timed("manifest"):
            _refuse_head_on_base(version, classifier.catalog.manifest(version, within.remaining()))
        with timed("predict"):
            answer = server.predict(version, body, within.remaining())
        if version.on_trial and (answer.status >= 500 or answer.status == 404):
            raise _FAILURES.get(answer.status, PredictionFailed)(f"the model server answered {answer.status}")
        return answer, version

    # Its pictures are not counted: it is one request whatever it carries, in a queue of its own.
    with classifier.admission.admitted(priority_of(route, 1), f"{model}:predict", 1, deadline.remaining):
        return answer_within(deadline, route, table, progress, ask)


def _refuse_head_on_base(route: Route, manifest: ModelManifest) -> None:
    """Raise for a version that one Predict cannot answer, a head that stands on a base.

    That is :class:`InvalidRequest`, or for a candidate on trial, which no client asked for, :class:`IncompatibleModel`.
    """
    if manifest.form == "on_base" and manifest.base is not None:
        base = manifest.base
        kind = IncompatibleModel if route.on_trial else InvalidRequest
        raise kind(
            f"{route.model} version {route.version} is a head on {base.model} version {base.version}, which takes two "
            f"predictions: use POST /v1/models/{route.model}:classify or POST /v2/models/{route.model}/infer"
        )


def _code(status: int) -> str:
    if status < 400:
        return "ok"
    return _CODES.get(status, "invalid_request" if status < 500 else "prediction_failed")
