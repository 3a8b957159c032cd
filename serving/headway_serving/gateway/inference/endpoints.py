"""``POST /v2/models/{model}[/versions/{n}]/infer``: the Open Inference Protocol's door to the core's line."""

from dataclasses import replace

import numpy as np
from flask import Blueprint, Request, Response, request

from headway_contract.errors import InvalidImage
from headway_serving.core.classification import Classification
from headway_serving.core.requests import ClassifyRequest, Progress
from headway_serving.core.routing import Pin
from headway_serving.gateway.inference.operations import JSON_LENGTH, inference
from headway_serving.gateway.inference.protocol import (
    InferenceRequest,
    read_inference_request,
    write_inference_answer,
)
from headway_serving.gateway.inference.tensors import images_of
from headway_serving.gateway.requests.identity import current
from headway_serving.gateway.requests.observation import ObservedClassifier, describe_route
from headway_serving.gateway.requests.operations import describes
from headway_serving.gateway.requests.problems import error_object_response, refuse_content_encoding
from headway_serving.gateway.requests.rules import RequestRules, deadline_of, routing_key, version_number


def blueprint(classifier: ObservedClassifier, rules: RequestRules) -> Blueprint:
    """The two ``infer`` routes. Errors are ``{"error": "..."}``."""
    routes = Blueprint("inference", __name__)

    @routes.post("/v2/models/<name:model>/infer")
    @routes.post("/v2/models/<name:model>/versions/<name:version>/infer")
    @describes(inference(rules.max_images, rules.max_timeout_ms))
    def infer(model: str, version: str | None = None) -> Response:
        sent: list[InferenceRequest] = []

        def read(progress: Progress) -> ClassifyRequest:
            deadline, pin = deadline_of(request, rules), Pin(version_number(version))
            with progress.stages.timed("read", current().received_at):
                sent.append(_read(request))
                images = images_of(sent[0].tensor, rules.max_images)
            wanted = ClassifyRequest(model=model, images=(), pin=pin, key=routing_key(request), deadline=deadline)
            return replace(wanted, pixels=images) if isinstance(images, np.ndarray) else replace(wanted, images=images)

        def respond(classification: Classification, progress: Progress) -> Response:
            _check_every_picture(classification, progress)
            return describe_route(_response(sent[0], classification), classification.route, progress.stages)

        return classifier.answer(model, read, respond, error_object_response)

    return routes


def _read(http: Request) -> InferenceRequest:
    refuse_content_encoding(http)
    return read_inference_request(http.get_data(cache=False), http.headers.get(JSON_LENGTH))


def _check_every_picture(classification: Classification, progress: Progress) -> None:
    """Raise the first picture's problem: the protocol's tensors have no place for one among the others' scores."""
    results = classification.results
    for index, answer in enumerate(results):
        if isinstance(answer, InvalidImage):
            progress.route = None  # the fault of no version
            raise type(answer)(f"image {index} of {len(results)} (counted from 0): {answer}")


def _response(sent: InferenceRequest, classification: Classification) -> Response:
    answer = write_inference_answer(sent, classification)
    if answer.json_length is None:
        return Response(answer.body, mimetype="application/json")
    response = Response(answer.body, mimetype="application/octet-stream")
    response.headers[JSON_LENGTH] = str(answer.json_length)
    return response
