"""Every error -> one ``application/problem+json`` answer (RFC 9457), by one table.

Under the paths of a foreign protocol (:func:`speaks_error_objects`) the same table gives the status, and the body is
that protocol's own: ``{"error": "..."}``.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from headway_contract.errors import ImageTooLarge, InvalidImage, UnsupportedImage
from headway_serving.core import errors
from headway_serving.core.errors import without_frames
from headway_serving.gateway.requests import errors as request_errors
from headway_serving.gateway.requests.exchange import Answer, Headers, to_flask
from headway_serving.gateway.requests.identity import current
from headway_serving.gateway.requests.json_responses import json_bytes

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Problem:
    """What an error looks like from outside. ``retry_after``: seconds, for a state that passes."""

    status: int
    code: str
    title: str
    retry_after: int | None = None


PROBLEMS: Mapping[type[Exception], Problem] = {
    UnsupportedImage: Problem(415, "unsupported_image", "Not a picture in an accepted format"),
    ImageTooLarge: Problem(413, "image_too_large", "Picture too large"),
    InvalidImage: Problem(422, "invalid_image", "Picture cannot be read"),
    request_errors.UnsupportedMediaType: Problem(415, "unsupported_media_type", "Body in a form that is not read"),
    request_errors.EmptyBody: Problem(400, "empty_body", "No picture in the request"),
    request_errors.TooManyImages: Problem(413, "too_many_images", "Too many pictures in one request"),
    request_errors.PayloadTooLarge: Problem(413, "payload_too_large", "Request body too large"),
    request_errors.PassThroughOff: Problem(501, "pass_through_off", "Requests are not passed on here"),
    request_errors.RequestTimeout: Problem(408, "request_timeout", "Request did not arrive in time"),
    request_errors.Unauthorized: Problem(401, "unauthorized", "A known token is needed"),
    request_errors.Forbidden: Problem(403, "forbidden", "The token does not allow this"),
    errors.AnswerTooLarge: Problem(413, "answer_too_large", "Answer too large"),
    errors.InvalidRequest: Problem(400, "invalid_request", "Request cannot be answered as it stands"),
    errors.ModelNotFound: Problem(404, "model_not_found", "No such model"),
    errors.VersionNotFound: Problem(404, "version_not_found", "No such version"),
    errors.LabelNotFound: Problem(404, "label_not_found", "No such label"),
    errors.IncompatibleModel: Problem(502, "incompatible_model", "Model does not describe itself"),
    errors.PredictionFailed: Problem(502, "prediction_failed", "Model could not be run"),
    errors.ModelUnavailable: Problem(503, "model_unavailable", "Model not available now", retry_after=1),
    errors.Overloaded: Problem(503, "overloaded", "Too many requests at the moment", retry_after=1),
    errors.DeadlineExceeded: Problem(504, "deadline_exceeded", "No answer in time"),
}
"""Each error that an endpoint may raise. A class that is not here is answered as its nearest listed parent."""

_HTTP_PROBLEMS: Mapping[int, tuple[str, str]] = {
    400: ("invalid_request", "Request cannot be answered as it stands"),
    404: ("not_found", "No such page"),
    405: ("method_not_allowed", "Method not allowed here"),
    408: ("request_timeout", "Request did not arrive in time"),
    413: ("payload_too_large", "Request body too large"),
    414: ("uri_too_long", "URL too long"),
    415: ("unsupported_media_type", "Body in a form that is not read"),
    431: ("headers_too_large", "Headers too large"),
}
_INTERNAL = Problem(500, "internal_error", "Something went wrong on our side")
NOT_READY = Problem(503, "not_ready", "This gateway cannot answer yet", retry_after=1)


def problems_by_code() -> dict[str, Problem]:
    """Every problem that this gateway can answer, by its code, in the order of their statuses."""
    http = (Problem(status, code, title) for status, (code, title) in _HTTP_PROBLEMS.items())
    rows = sorted((*http, *PROBLEMS.values(), _INTERNAL, NOT_READY), key=lambda row: (row.status, row.code))
    return {row.code: row for row in rows}


def install(app: Flask) -> None:
    """Answer every exception of ``app`` with a problem, or as the protocol of the path says it."""

    @app.errorhandler(Exception)
    def _any(error: Exception) -> Response:
        return to_flask(answer_to_error(error, request.path))


def speaks_error_objects(path: str) -> bool:
    """Whether errors under a path are ``{"error": "..."}``: Open Inference Protocol's, and TensorFlow Serving's."""
    return path == "/v2" or path.startswith("/v2/") or (path.startswith("/v1/models/") and path.endswith(":predict"))


def problem_of(error: Exception) -> Problem:
    """The row of an error: its own class's, or its nearest parent's; an unknown error is internal."""
    if isinstance(error, HTTPException):
        status = error.code or 500
        code, title = _HTTP_PROBLEMS.get(status, (f"http_{status}", error.name))
        return Problem(status, code, title)
    for kind in type(error).__mro__:
        if kind in PROBLEMS:
            return PROBLEMS[kind]
    return _INTERNAL


def problem_detail(error: Exception) -> str:
    """What an error says to a client; an internal one is logged with its traceback and told without."""
    if problem_of(error) is _INTERNAL:
        _log.exception("request %s failed", current().request_id, exc_info=error)
        return "the error was logged under this request_id"
    return _http_detail(error) if isinstance(error, HTTPException) else str(error)


def problem_part(error: Exception) -> dict[str, Any]:
    """The problem of a part of an answer: of one picture, or of one of several models."""
    return _members(problem_of(error), problem_detail(error))


def problem_answer(error: Exception) -> Answer:
    """The answer to an error that ends the whole request; the error keeps no frames."""
    problem = _timed_problem(error)
    answer = problem_document(problem, problem_detail(error), headers=_headers_of(error))
    without_frames(error)
    return answer


def error_object_answer(error: Exception) -> Answer:
    """The answer to an error as ``{"error": DETAIL}``, with the status and the headers of its problem."""
    problem = _timed_problem(error)
    headers = [("Content-Type", "application/json"), *_retry_after(problem), *_headers_of(error)]
    answer = Answer(problem.status, headers, json_bytes({"error": problem_detail(error)}))
    without_frames(error)
    return answer


def answer_to_error(error: Exception, path: str) -> Answer:
    """The answer to an error under a path, as the protocol of the path writes it."""
    return error_object_answer(error) if speaks_error_objects(path) else problem_answer(error)


def server_problem(status: int, detail: str) -> Answer:
    """The problem of a request that reaches no endpoint: one that is no HTTP, or whose head is too large."""
    code, title = _HTTP_PROBLEMS[status]
    return problem_document(Problem(status, code, title), detail)


def problem_document(
    problem: Problem, detail: str, more: Mapping[str, Any] | None = None, headers: Headers = ()
) -> Answer:
    """A problem as an answer, with ``Retry-After`` where the problem passes; ``more``: members of this problem."""
    body = {**_members(problem, detail), "request_id": current().request_id, **(more or {})}
    said = [("Content-Type", "application/problem+json"), *_retry_after(problem), *headers]
    return Answer(problem.status, said, json_bytes(body))


def retry_after_seconds(error: errors.Overloaded) -> int:
    """What ``Retry-After`` says: whole seconds, at least one."""
    return max(1, math.ceil(error.retry_after))


def _timed_problem(error: Exception) -> Problem:
    """The row of an error, with the wait that this very error knows."""
    problem = problem_of(error)
    return replace(problem, retry_after=retry_after_seconds(error)) if isinstance(error, errors.Overloaded) else problem


def _headers_of(error: Exception) -> Headers:
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        return [("Allow", ", ".join(sorted(error.valid_methods)))]
    if isinstance(error, request_errors.Unauthorized | request_errors.Forbidden):
        return [("WWW-Authenticate", error.challenge)]
    return ()


def _retry_after(problem: Problem) -> Headers:
    return () if problem.retry_after is None else [("Retry-After", str(problem.retry_after))]


def _members(problem: Problem, detail: str) -> dict[str, Any]:
    """What every problem says, in the order of RFC 9457."""
    return {
        "type": f"urn:headway:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": detail,
        "code": problem.code,
    }


def _http_detail(error: HTTPException) -> str:
    if error.code == 404:
        return f"nothing is at {request.path}; pictures go to POST /v1/models/MODEL:classify"
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        return f"{request.path} takes {', '.join(sorted(error.valid_methods))}"
    if error.code == 413:
        size, parts = current_app.config["MAX_CONTENT_LENGTH"], current_app.config["MAX_FORM_PARTS"]
        return f"the request has more than {size:,} bytes, or a form of more than {parts} parts; send fewer pictures"
    return error.description or error.name
