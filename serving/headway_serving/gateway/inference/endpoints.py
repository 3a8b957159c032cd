"""``POST /v2/models/{model}[/versions/{n}]/infer``: classification by the Open Inference Protocol."""

import numpy as np
from flask import Blueprint, Request, Response, request

from headway_contract.errors import InvalidImage
from headway_serving.core.classification import Classification, Classifier
from headway_serving.core.errors import AnswerTooLarge
from headway_serving.core.requests import ClassifyRequest, Progress
from headway_serving.core.routing import Pin
from headway_serving.gateway.inference.operations import JSON_LENGTH, inference
from headway_serving.gateway.inference.protocol import (
    InferenceRequest,
    read_inference_request,
    write_inference_answer,
)
from headway_serving.gateway.inference.tensors import images_of
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


def blueprint(classifier: Classifier, observer: Observer, limits: RequestLimits) -> Blueprint:
    """The two ``infer`` routes. Errors are ``{"error": "..."}``."""
    routes = Blueprint("inference", __name__)

    @routes.post("/v2/models/<name:model>/infer")
    @routes.post("/v2/models/<name:model>/versions/<name:version>/infer")
    @describes(inference(limits.max_images, limits.max_timeout_ms))
    def infer(model: str, version: str | None = None) -> Response:
        with observer.request(model) as seen:
            deadline, pin = deadline_of(request, limits), Pin(version_number(version))
            with seen.progress.stages.timed("read", current().received_at):
                sent = _read(request)
                images = images_of(sent.tensor, limits.max_images)
            key = routing_key(request)
            if isinstance(images, np.ndarray):
                wanted = ClassifyRequest(model, (), pin, key, deadline, pixels=images)
            else:
                wanted = ClassifyRequest(model, images, pin, key, deadline)
            seen.pictures = wanted.images
            found = classifier.classify(wanted, seen.progress)
            _check_every_picture(found, seen.progress)
            seen.images, seen.results = len(found.scores), found.results
            answer = _answer(sent, found, seen.progress)
            if len(answer.body) > limits.max_answer_bytes:
                raise AnswerTooLarge(
                    f"the answer has more than {limits.max_answer_bytes:,} bytes; send fewer pictures, or ask for "
                    "fewer classes"
                )
        return to_flask(answer)

    return routes


def _read(http: Request) -> InferenceRequest:
    refuse_content_encoding(http)
    return read_inference_request(http.get_data(cache=False), http.headers.get(JSON_LENGTH))


def _check_every_picture(found: Classification, progress: Progress) -> None:
    """Raise the first picture's problem: the protocol's tensors have no place for one among the others' scores."""
    results = found.results
    for index, answer in enumerate(results):
        if isinstance(answer, InvalidImage):
            progress.route = None  # the fault of no version
            raise type(answer)(f"image {index} of {len(results)} (counted from 0): {answer}")


def _answer(sent: InferenceRequest, found: Classification, progress: Progress) -> Answer:
    written, headers = write_inference_answer(sent, found), route_headers(found.route, progress.stages)
    if written.json_length is None:
        return Answer(200, [("Content-Type", "application/json"), *headers], written.body)
    length = (JSON_LENGTH, str(written.json_length))
    return Answer(200, [("Content-Type", "application/octet-stream"), length, *headers], written.body)
