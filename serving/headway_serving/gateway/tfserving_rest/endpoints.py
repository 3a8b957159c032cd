"""``POST /v1/models/{model}[/versions/{n}|/labels/{label}]:predict``: TensorFlow Serving's REST, with our routing.

The gateway chooses the version; body and answer pass unchanged between the client and the model server's REST port.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from flask import Blueprint, Response, request

from headway_contract.model_manifest import ModelManifest
from headway_serving.adapters.model_server.rest import RestAnswer
from headway_serving.core.admission import priority_of
from headway_serving.core.classification import Classifier
from headway_serving.core.errors import (
    AnswerTooLarge,
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
from headway_serving.gateway.requests.errors import PassThroughOff, PayloadTooLarge
from headway_serving.gateway.requests.exchange import Answer, to_flask
from headway_serving.gateway.requests.grammar import (
    RequestLimits,
    deadline_of,
    described_version,
    refuse_content_encoding,
    routing_key,
    version_number,
)
from headway_serving.gateway.requests.identity import current
from headway_serving.gateway.requests.observation import Observer, route_headers
from headway_serving.gateway.requests.operations import describes
from headway_serving.gateway.tfserving_rest.operations import VERSION_METADATA, VERSION_STATUS, prediction
from headway_serving.gateway.tfserving_rest.rows import joined, rows_of

_TIMEOUT_SECONDS = 2.0

# What a status of the model server counts as; others are invalid_request below 500 and prediction_failed from there.
_CODES = {404: "version_not_found", 503: "model_unavailable", 504: "deadline_exceeded"}
# What a candidate on trial is blamed for, so that the stable version answers; other statuses from 500: it failed.
_FAILURES: Mapping[int, type[ServingError]] = {404: VersionNotFound, 503: ModelUnavailable, 504: DeadlineExceeded}


class RestModelServer(Protocol):
    """A model server that answers TensorFlow Serving's REST requests."""

    def predict(self, route: Route, body: bytes, timeout: float) -> RestAnswer:
        """The answer to one ``:predict``, whatever it is.

        Raises ``DeadlineExceeded``, ``ModelUnavailable`` or ``AnswerTooLarge``.
        """
        ...

    def metadata(self, route: Route, timeout: float) -> RestAnswer:
        """What a version says of its signatures. Raises as :meth:`predict`."""
        ...

    def status(self, route: Route, timeout: float) -> RestAnswer:
        """What state a version is in. Raises as :meth:`predict`."""
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
            there = _there(server, f", or send pictures to POST /v1/models/{model}:classify")
            deadline, pin = deadline_of(request, limits), Pin(version_number(version), label)
            with seen.progress.stages.timed("read", current().received_at):
                refuse_content_encoding(request)
                body = request.get_data(cache=False)
            bodies = bodies_of(body, limits)
            found, route = pass_on(
                there, classifier, bodies, model, pin, routing_key(request), deadline, seen.progress, limits
            )
            seen.code, seen.status = _code(found.status), found.status
            headers = [("Content-Type", found.content_type), *route_headers(route, seen.progress.stages)]
            answer = Answer(found.status, headers, found.body)
        return to_flask(answer)

    @endpoints.get("/v1/models/<name:model>/metadata")
    @endpoints.get("/v1/models/<name:model>/versions/<name:version>/metadata")
    @endpoints.get("/v1/models/<name:model>/labels/<name:label>/metadata")
    @describes(VERSION_METADATA)
    def metadata(model: str, version: str | None = None, label: str | None = None) -> Response:
        route = described_version(classifier.routes(), model, version, label)
        return _passed_back(_there(server).metadata(route, _TIMEOUT_SECONDS))

    @endpoints.get("/v1/models/<name:model>/versions/<name:version>")
    @endpoints.get("/v1/models/<name:model>/labels/<name:label>")
    @describes(VERSION_STATUS)
    def status(model: str, version: str | None = None, label: str | None = None) -> Response:
        route = described_version(classifier.routes(), model, version, label)
        return _passed_back(_there(server).status(route, _TIMEOUT_SECONDS))

    return endpoints


def _there(server: RestModelServer | None, otherwise: str = "") -> RestModelServer:
    """The server. Raises :class:`PassThroughOff` without one; ``otherwise``: what else may be done."""
    if server is None:
        raise PassThroughOff(
            f"this gateway knows no REST port of the model server: set HEADWAY_MODEL_SERVER_REST{otherwise}"
        )
    return server


def _passed_back(found: RestAnswer) -> Response:
    return to_flask(Answer(found.status, [("Content-Type", found.content_type)], found.body))


def bodies_of(body: bytes, limits: RequestLimits) -> Sequence[bytes]:
    """A body as it is or, of many rows, in pieces that the model server takes in one batch each.

    Raises :class:`PayloadTooLarge` for more rows than are taken.
    """
    if body.count(b",") < limits.max_batch_rows:
        return [body]  # there cannot be more rows than that
    rows = rows_of(body)
    if rows.count > limits.max_rows:
        raise PayloadTooLarge(
            f"the request has {rows.count:,} rows; at most {limits.max_rows:,} are taken in one (HEADWAY_MAX_ROWS)"
        )
    if rows.count <= limits.max_batch_rows or not rows.can_be_divided:
        return [body]
    return list(rows.pieces(limits.max_batch_rows))


def pass_on(
    server: RestModelServer,
    classifier: Classifier,
    bodies: Sequence[bytes],
    model: str,
    pin: Pin,
    key: str,
    deadline: Deadline,
    progress: Progress,
    limits: RequestLimits,
) -> tuple[RestAnswer, Route]:
    """What the model server answers to a body in pieces, and by which version.

    The routes and the admission are the classifier's. Raises a ``ServingError``.
    """
    table = classifier.routes()
    route = progress.route = table.choose(model, pin, key)
    timed = progress.stages.timed

    def ask(version: Route, within: Deadline) -> tuple[RestAnswer, Route]:
        with timed("manifest"):
            _refuse_head_on_base(version, classifier.catalog.manifest(version, within.remaining()))
        with timed("predict"):
            answer = _predict(server, version, bodies, within, limits.max_answer_bytes)
        if version.on_trial and (answer.status >= 500 or answer.status == 404):
            raise _FAILURES.get(answer.status, PredictionFailed)(f"the model server answered {answer.status}")
        return answer, version

    # Its pictures are not counted: it is one request whatever it carries, in a queue of its own.
    priority = priority_of(route, len(bodies))
    came = time.monotonic()
    with classifier.admission.admitted(priority, f"{model}:predict", 1, deadline.remaining):
        progress.stages.spent("queue", came, time.monotonic())
        return answer_within(deadline, route, table, progress, ask)


def _predict(
    server: RestModelServer, version: Route, bodies: Sequence[bytes], within: Deadline, most_bytes: int
) -> RestAnswer:
    """The answer to all pieces of a body, or the first one that is an error. Raises :class:`AnswerTooLarge`."""
    answers: list[RestAnswer] = []
    for body in bodies:
        answer = server.predict(version, body, within.remaining())
        if len(bodies) == 1 or answer.status != 200:
            return answer
        answers.append(answer)
        if sum(len(each.body) for each in answers) > most_bytes:
            raise AnswerTooLarge(f"the answer has more than {most_bytes:,} bytes; send fewer rows")
    whole = joined([each.body for each in answers])
    if whole is None:
        raise PredictionFailed(
            "the model server's answers to a part of the rows each cannot be joined; send fewer rows"
        )
    return RestAnswer(200, answers[0].content_type, whole)


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
