"""The HTTP contract as pure functions: arguments to a Request, an answer to typed results or an error.

No I/O here, so that a client of any colour (blocking, asynchronous) is only the sending in between.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import responses
from typing import Any, Literal, TypeVar
from urllib.parse import quote

from headway_client.errors import InvalidResponse, ProblemError, UnsupportedInput, problem_class
from headway_client.results import (
    Classification,
    Feedback,
    FeedbackTally,
    IgnoredFeedback,
    ModelInfo,
    Prediction,
    Result,
)

T = TypeVar("T")

MOST_FEEDBACK = 1000
"""As many answers may be told the truth about in one request."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request: `parts`, if any, go as multipart/form-data, each named `image`; else `content`."""

    method: str
    path: str
    params: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    content: bytes = b""
    parts: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Options:
    """What a classification may leave out: which version answers, how much of the answer, and who asks.

    At most one of `version` and `label` may be given; neither leaves the choice to the gateway's routes.
    """

    version: int | None = None
    label: str | None = None
    top_k: int | None = None
    min_confidence: float | Literal["model"] | None = None
    routing_key: str | None = None
    request_id: str | None = None


def checked_timeout(seconds: float) -> float:
    """The timeout itself. Raises UnsupportedInput unless it is a finite number of seconds above 0."""
    if not (seconds > 0 and math.isfinite(seconds)):
        raise UnsupportedInput(f"a timeout of {seconds} is impossible; give seconds above 0, such as 10.0")
    return seconds


def build_classify(
    images: Sequence[bytes], model: str, options: Options, *, timeout: float, multipart: bool
) -> Request:
    """The request that classifies encoded images: one as the plain body, or any number as multipart.

    timeout is in seconds. Raises UnsupportedInput for both a version and a label, no image, or text that no
    header can hold.
    """
    if not images:
        raise UnsupportedInput("there is no image to classify; pass at least one")
    params = {"top_k": options.top_k, "min_confidence": options.min_confidence}
    headers = {
        "X-Request-Id": options.request_id,
        "X-Routing-Key": options.routing_key,
        "X-Request-Timeout-Ms": str(math.ceil(timeout * 1000)),
    }
    if not multipart:
        headers["Content-Type"] = "application/octet-stream"
    return Request(
        method="POST",
        path=f"{_target(model, options)}:classify",
        params=tuple((name, str(value)) for name, value in params.items() if value is not None),
        headers=tuple((name, _header(name, value)) for name, value in headers.items() if value is not None),
        content=b"" if multipart else images[0],
        parts=tuple(images) if multipart else (),
    )


def build_models() -> Request:
    """The request that lists the served models."""
    return Request("GET", "/v1/models")


def build_model(name: str) -> Request:
    """The request that describes one served model."""
    return Request("GET", f"/v1/models/{quote(name, safe='')}")


def build_feedback(items: Sequence[Feedback]) -> Request:
    """The request that tells the truth about answers of one model.

    Raises UnsupportedInput for none, more than MOST_FEEDBACK, or those of several models.
    """
    models = {item.model for item in items}
    if not 1 <= len(items) <= MOST_FEEDBACK:
        raise UnsupportedInput(f"there are {len(items)} to send; send 1 to {MOST_FEEDBACK} at once")
    if len(models) > 1:
        raise UnsupportedInput(f"these are about several models, {', '.join(sorted(models))}; send each model's alone")
    fields = ("request_id", "index", "version", "arm", "label", "truth", "key_position")
    told = [{name: value for name in fields if (value := getattr(item, name)) is not None} for item in items]
    return Request(
        method="POST",
        path=f"/v1/models/{quote(items[0].model, safe='')}:feedback",
        headers=(("Content-Type", "application/json"),),
        content=json.dumps(told).encode(),
    )


def _target(model: str, options: Options) -> str:
    base = f"/v1/models/{quote(model, safe='')}"
    if options.version is not None and options.label is not None:
        raise UnsupportedInput(
            f"version {options.version} and label {options.label!r} were both given; pin with one of them"
        )
    if options.version is not None:
        return f"{base}/versions/{options.version}"
    if options.label is not None:
        return f"{base}/labels/{quote(options.label, safe='')}"
    return base


def _header(name: str, value: str) -> str:
    if not (value.isascii() and value.isprintable()):
        raise UnsupportedInput(f"{value!r} cannot be sent as {name}; use printable ASCII characters")
    return value


def parse_json(status: int, headers: Mapping[str, str], body: bytes) -> Any:
    """The JSON of a good answer.

    Raises the ProblemError that fits a status of 400 or more, and InvalidResponse for a redirect or a body
    that is not JSON.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    if status >= 400:
        raise _problem(status, lower, body)
    if status >= 300:
        place = lower.get("location", "nowhere")
        raise InvalidResponse(f"the answer is a redirect to {place} (HTTP {status}); use the gateway's own URL")
    try:
        return json.loads(body)
    except ValueError as error:
        raise InvalidResponse(f"the answer is not JSON ({error}); is this the URL of a Headway gateway?") from error


def _problem(status: int, headers: Mapping[str, str], body: bytes) -> ProblemError:
    """Never fails: a proxy between us and the gateway answers with whatever it likes."""
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    problem = found if isinstance(found, dict) and "code" in found else None
    if problem is None:
        phrase = responses.get(status, "HTTP error")
        problem = {
            "title": phrase,
            "detail": f"{phrase}, without a problem document; is this a Headway gateway?",
        }
    request_id = str(problem.get("request_id") or headers.get("x-request-id", ""))
    return _problem_error(status, problem, request_id, _seconds(headers.get("retry-after")))


def _problem_error(status: int, problem: Mapping[str, Any], request_id: str, retry_after: float | None) -> ProblemError:
    code, title = str(problem.get("code", "unknown")), str(problem.get("title", ""))
    return problem_class(status, code)(status, code, title, str(problem.get("detail", "")), request_id, retry_after)


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After as seconds; its other form, a date, is of no use to a caller whose clock may differ."""
    return float(retry_after) if retry_after and retry_after.isdecimal() else None


def parse_classification(payload: Any, images: int) -> Classification:
    """The answer to a classify request with that many images; fields it does not know are ignored.

    Raises InvalidResponse if a field is missing or of the wrong type, or the results are not one per image.
    """
    answer = _typed(payload, dict, "the answer")
    request_id = _field(answer, "request_id", str)
    items = (_result(item, request_id) for item in _field(answer, "results", list))
    results = sorted(items, key=lambda result: result.index)
    if [result.index for result in results] != list(range(images)):
        raise InvalidResponse(f"the answer holds {len(results)} results whose indexes do not fit {images} images")
    arm = answer.get("arm")
    return Classification(
        model=_field(answer, "model", str),
        version=_field(answer, "version", int),
        arm=None if arm is None else _typed(arm, str, "arm"),
        results=tuple(results),
        request_id=request_id,
        fallback_from=_field(_typed(answer["fallback"], dict, "fallback"), "version", int)
        if answer.get("fallback") is not None
        else None,
        key_position=None if answer.get("key_position") is None else _number(answer, "key_position"),
    )


def _result(item: Any, request_id: str) -> Result:
    result = _typed(item, dict, "results[]")
    if result.get("problem") is not None:
        problem = _typed(result["problem"], dict, "results[].problem")
        error = _problem_error(_field(problem, "status", int), problem, request_id, None)
        return Result(index=_field(result, "index", int), predictions=(), problem=error)
    predictions = (_typed(each, dict, "predictions[]") for each in _field(result, "predictions", list))
    return Result(
        index=_field(result, "index", int),
        predictions=tuple(Prediction(_field(each, "label", str), _number(each, "score")) for each in predictions),
        familiarity=None if result.get("familiarity") is None else _number(result, "familiarity"),
        abstained=None if result.get("abstained") is None else _field(result, "abstained", bool),
    )


def parse_feedback(payload: Any) -> FeedbackTally:
    """The answer to a feedback request. Raises InvalidResponse if it is malformed."""
    answer = _typed(payload, dict, "the answer")
    ignored = (_typed(each, dict, "ignored[]") for each in _field(answer, "ignored", list))
    return FeedbackTally(
        right=_field(answer, "right", int),
        wrong=_field(answer, "wrong", int),
        duplicates=_field(answer, "duplicates", int),
        ignored=tuple(
            IgnoredFeedback(_field(each, "position", int), _field(each, "code", str), _field(each, "detail", str))
            for each in ignored
        ),
    )


def parse_models(payload: Any) -> tuple[ModelInfo, ...]:
    """The answer to `GET /v1/models`. Raises InvalidResponse if it is malformed."""
    answer = _typed(payload, dict, "the answer")
    return tuple(parse_model(item) for item in _field(answer, "models", list))


def parse_model(payload: Any) -> ModelInfo:
    """The answer to `GET /v1/models/{model}`. Raises InvalidResponse if it is malformed."""
    model = _typed(payload, dict, "the model")
    stable = model.get("stable")
    labels = _field(model, "labels", dict)
    return ModelInfo(
        name=_field(model, "name", str),
        stable=None if stable is None else _typed(stable, int, "stable"),
        versions=tuple(_typed(each, int, "versions[]") for each in _field(model, "versions", list)),
        labels={label: _typed(version, int, f"labels.{label}") for label, version in labels.items()},
        classes=tuple(_typed(each, str, "classes[]") for each in _field(model, "classes", list)),
        threshold=_threshold(model, "abstention"),
        least_familiar=_threshold(model, "familiarity"),
    )


def _threshold(model: dict[str, Any], name: str) -> float | None:
    return None if model.get(name) is None else _number(_typed(model[name], dict, name), "threshold")


def _field(container: dict[str, Any], name: str, kind: type[T]) -> T:
    if name not in container:
        raise InvalidResponse(f"{name} is missing from the answer; is this the URL of a Headway gateway?")
    return _typed(container[name], kind, name)


def _number(container: dict[str, Any], name: str) -> float:
    # JSON does not tell 1 from 1.0.
    value = container.get(name)
    return float(value) if type(value) is int else _field(container, name, float)


def _typed(value: Any, kind: type[T], where: str) -> T:
    # bool is an int to Python, but true is no version.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InvalidResponse(f"{where} should be a JSON {kind.__name__}, not {str(value)[:60]!r}")
    return value
