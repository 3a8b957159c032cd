"""``POST /v1/models/{model}[/versions/{n}|/labels/{label}]:predict``: TensorFlow Serving's REST, with our routing.

The gateway chooses the version; body and answer pass unchanged between the client and the model server's REST port.
"""

from dataclasses import dataclass
from typing import Protocol

from flask import Blueprint, Response, request

from headway_contract.model_manifest import ModelManifest
from headway_serving.adapters.model_server.rest import RestAnswer
from headway_serving.core.admission import Priority
from headway_serving.core.classification import CANDIDATE_SHARE, Classifier
from headway_serving.core.errors import InvalidRequest, ServingError
from headway_serving.core.requests import Deadline, Fallback, Progress
from headway_serving.core.routing import Pin, Route
from headway_serving.gateway.requests.identity import current
from headway_serving.gateway.requests.observation import ObservedClassifier, Outcome, describe_route
from headway_serving.gateway.requests.operations import describes
from headway_serving.gateway.requests.problems import PassThroughOff, error_object_response, refuse_content_encoding
from headway_serving.gateway.requests.rules import RequestRules, deadline_of, routing_key, version_number
from headway_serving.gateway.tfserving_rest.operations import prediction

# What a status of the model server counts as; others are invalid_request below 500 and prediction_failed from there.
_CODES = {404: "version_not_found", 503: "model_unavailable", 504: "deadline_exceeded"}


class RestModelServer(Protocol):
    """A model server that answers TensorFlow Serving's REST requests."""

    def predict(self, route: Route, body: bytes, timeout: float) -> RestAnswer:
        """The answer to one ``:predict``, whatever it is. Raises ``DeadlineExceeded`` or ``ModelUnavailable``."""
        ...


def blueprint(server: RestModelServer | None, observed: ObservedClassifier, rules: RequestRules) -> Blueprint:
    """The three ``:predict`` routes; without a server each answers that there is none."""
    endpoints = Blueprint("tfserving_rest", __name__)

    @endpoints.post("/v1/models/<name:model>:predict")
    @endpoints.post("/v1/models/<name:model>/versions/<name:version>:predict")
    @endpoints.post("/v1/models/<name:model>/labels/<name:label>:predict")
    @describes(prediction(rules.max_timeout_ms))
    def predict(model: str, version: str | None = None, label: str | None = None) -> Response:
        def work(progress: Progress) -> Outcome[Response]:
            if server is None:
                raise PassThroughOff(
                    "this gateway knows no REST port of the model server: set HEADWAY_MODEL_SERVER_REST, "
                    f"or send pictures to POST /v1/models/{model}:classify"
                )
            deadline, pin = deadline_of(request, rules), Pin(version_number(version), label)
            with progress.stages.timed("read", current().received_at):
                refuse_content_encoding(request)
                body = request.get_data(cache=False)
            passing = PassThrough(server, observed.classifier, body, progress)
            answer, route = passing.answer(model, pin, routing_key(request), deadline)
            response = Response(answer.body, answer.status, content_type=answer.content_type)
            return Outcome(describe_route(response, route, progress.stages), 0, _code(answer.status), answer.status)

        return observed.observe(model, work, error_object_response)

    return endpoints


@dataclass(frozen=True)
class PassThrough:
    """One body on its way through the classifier's routes, admission and catalogue to the model server."""

    server: RestModelServer
    classifier: Classifier
    body: bytes
    progress: Progress

    def answer(self, model: str, pin: Pin, key: str, deadline: Deadline) -> tuple[RestAnswer, Route]:
        """What the model server answers, and by which version. Raises a ``ServingError``.

        A candidate that the split has chosen and that fails is replaced by the stable version, within the deadline.
        """
        table = self.classifier.routes()
        route = self.progress.route = table.choose(model, pin, key)
        priority = Priority.CANDIDATE if route.on_trial else Priority.STABLE
        # Its pictures are not counted: bodies of like size are of like cost.
        with self.classifier.admission.admitted(priority, f"{model}:predict", len(self.body)):
            if not route.on_trial:
                return self._ask(route, deadline), route
            try:
                answer = self._ask(route, deadline.part(CANDIDATE_SHARE))
                code = _code(answer.status)
                if answer.status < 500 and answer.status != 404:
                    return answer, route
            except ServingError as error:
                code = error.code
            self.progress.fallback = Fallback(route, code)
            route = self.progress.route = table.fallback(route)
            return self._ask(route, deadline), route

    def _ask(self, route: Route, deadline: Deadline) -> RestAnswer:
        timed = self.progress.stages.timed
        with timed("manifest"):
            _refuse_head_on_base(route, self.classifier.catalog.manifest(route, deadline.remaining()))
        with timed("predict"):
            return self.server.predict(route, self.body, deadline.remaining())


def _refuse_head_on_base(route: Route, manifest: ModelManifest) -> None:
    """Raise :class:`InvalidRequest` for a version that one Predict cannot answer: a head that stands on a base."""
    if manifest.form == "on_base" and manifest.base is not None:
        base = manifest.base
        raise InvalidRequest(
            f"{route.model} version {route.version} is a head on {base.model} version {base.version}, which takes two "
            f"predictions: use POST /v1/models/{route.model}:classify or POST /v2/models/{route.model}/infer"
        )


def _code(status: int) -> str:
    if status < 400:
        return "ok"
    return _CODES.get(status, "invalid_request" if status < 500 else "prediction_failed")
