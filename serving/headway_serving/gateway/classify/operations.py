"""What the routes that classify pictures say of themselves; its limits are those that they are checked against."""

from collections.abc import Mapping

from headway_serving.core.access import Scope
from headway_serving.core.requests import DEFAULT_TOP_K
from headway_serving.core.routing import Arm
from headway_serving.gateway.requests.identity import LONGEST_ID
from headway_serving.gateway.requests.operation_parts import (
    BASE64,
    MODEL_PROBLEMS,
    PICTURE_PROBLEMS,
    ROUTE_HEADERS,
    ROUTING_KEY,
    VERSION,
    timeout_header,
)
from headway_serving.gateway.requests.operations import Answer, JsonSchema, Operation, Parameter
from headway_serving.gateway.requests.schemas import SHARE, TEXT, listing, record, ref

MOST_FEEDBACK = 1000
"""Answers whose truth one request may tell."""

MOST_FEEDBACK_BYTES = 1_048_576
LONGEST_LABEL = 1000

_BODY = (
    "Send one picture as the body, several as multipart parts named image, or several in JSON. The content says what "
    "each is, whatever the header says; nothing is ever fetched from an address."
)


OWN_THRESHOLD = "model"
"""The ``min_confidence`` that stands for the threshold of the version that answers."""


def picture_bodies(max_images: int) -> Mapping[str, JsonSchema]:
    """The three forms in which pictures are sent."""
    encoded = {"type": "string", "contentEncoding": "base64", "pattern": BASE64, "minLength": 4}
    file = {"type": "string", "contentMediaType": "application/octet-stream", "minLength": 1}
    many = {"minItems": 1, "maxItems": max_images}
    return {
        "image/*": {"description": "the picture's file"},
        "application/octet-stream": {"description": "the picture's file"},
        "multipart/form-data": {
            "description": "one or more parts named image",
            "type": "object", "required": ["image"], "properties": {"image": listing(file, **many)},
        },
        "application/json": record(
            '{"images": [{"b64": "the picture\'s file in base64"}]}', images=listing(record(b64=encoded), **many)),
    }  # fmt: skip


def classification_by_one(max_images: int, max_timeout_ms: int) -> Operation:
    """The operation of the routes that ask one model."""
    return Operation(
        tag="Classification",
        summary="Classify pictures",
        description=(
            f"{_BODY} In a request of several pictures, one that cannot be read gets a problem in its place and the "
            "others are answered."
        ),
        scope=Scope.CLASSIFY,
        answers={
            200: Answer(
                "The predictions of each picture",
                {"application/json": ref("Classification")},
                ROUTE_HEADERS,
            )
        },
        problems=(*PICTURE_PROBLEMS, *MODEL_PROBLEMS),
        parameters=(*_ranking(), ROUTING_KEY, timeout_header(max_timeout_ms), VERSION),
        body=picture_bodies(max_images),
    )


def classification_by_several(max_images: int, max_timeout_ms: int, max_models: int) -> Operation:
    """The operation of the route that asks several models about the same pictures."""
    models = listing({**TEXT, "minLength": 1}, minItems=1, maxItems=max_models)
    return Operation(
        tag="Classification",
        summary="Classify pictures by several models",
        description=f"{_BODY} A model that cannot answer gets a problem in its place and the others answer.",
        scope=Scope.CLASSIFY,
        answers={
            200: Answer("The answer of each model, in the order asked", {"application/json": ref("Classifications")})
        },
        problems=PICTURE_PROBLEMS,
        parameters=(
            Parameter("model", "query", "the models, as in ?model=a&model=b", models, required=True),
            *_ranking(),
            ROUTING_KEY,
            timeout_header(max_timeout_ms),
        ),
        body=picture_bodies(max_images),
    )


def feedback() -> Operation:
    """The operation of the route that is told the truth about answers."""
    label = {**TEXT, "minLength": 1, "maxLength": LONGEST_LABEL}
    number = {"type": "integer", "minimum": 0, "maximum": 10**18 - 1}
    one = record(
        "what the answer carried, and the truth",
        request_id={**TEXT, "pattern": f"^[A-Za-z0-9._:-]{{1,{LONGEST_ID}}}$"},
        version=number,
        arm={"type": "string", "enum": [each.value for each in Arm]},
        label={**label, "description": "the label that was answered"},
        truth={**label, "description": "the right one; one that the version does not have makes the answer wrong"},
    )
    index = {**number, "default": 0, "description": "of the picture in its request"}
    place = {**SHARE, "description": "as the answer has it while traffic is split; without it a rollout proves nothing"}
    item = {**one, "properties": {**one["properties"], "index": index, "key_position": place}}
    return Operation(
        tag="Classification",
        summary="Tell the truth about answers",
        description=(
            "One object or a list. Counted by version and arm, whichever gateway answered. Of one picture of one "
            "request the first feedback counts, as far as this process remembers."
        ),
        scope=Scope.FEEDBACK,
        answers={200: Answer("What was counted, and what was not and why", {"application/json": ref("FeedbackTally")})},
        problems=(
            "invalid_request", "request_timeout", "payload_too_large", "unsupported_media_type", "model_not_found",
            "overloaded",
        ),
        body={"application/json": {"oneOf": [item, listing(item, minItems=1, maxItems=MOST_FEEDBACK)]}},
    )  # fmt: skip


def _ranking() -> tuple[Parameter, ...]:
    top_k = {"type": "integer", "minimum": 1, "default": DEFAULT_TOP_K}
    share = {"type": "number", "minimum": 0, "maximum": 1}
    min_confidence = {"oneOf": [share, {"type": "string", "const": OWN_THRESHOLD}], "default": 0}
    return (
        Parameter("top_k", "query", "most predictions for each picture", top_k),
        Parameter(
            "min_confidence",
            "query",
            f"leave out predictions of a lower score; {OWN_THRESHOLD}: than the threshold of the version that answers",
            min_confidence,
        ),
    )
