"""What the routes that classify pictures say of themselves; its limits are those that they are checked against."""

from collections.abc import Mapping

from headway_serving.adapters.token_file import Scope
from headway_serving.gateway.operations import Answer, JsonSchema, Operation, Parameter
from headway_serving.gateway.schemas import TEXT, listing, record, ref

PICTURE_PROBLEMS = (
    "invalid_request", "empty_body", "request_timeout", "image_too_large", "too_many_images", "payload_too_large",
    "unsupported_image", "unsupported_media_type", "invalid_image",
)  # fmt: skip
"""What can be wrong with a body of pictures."""

MODEL_PROBLEMS = (
    "model_not_found", "version_not_found", "label_not_found", "incompatible_model", "prediction_failed",
    "model_unavailable", "overloaded", "deadline_exceeded",
)  # fmt: skip
"""What can be wrong with the model that is to answer."""

ROUTING_KEY = Parameter(
    "X-Routing-Key",
    "header",
    "the same key always meets the same arm; default: the token's name or the request id",
    TEXT,
)

VERSION = Parameter(
    "version", "path", "a version's number", {"type": "integer", "minimum": 0, "maximum": 10**18 - 1}, required=True
)
ROUTE_HEADERS: Mapping[str, str] = {
    "X-Route-Reason": "why this version answered: version, label, weight, stable or fallback",
    "Server-Timing": "milliseconds of each stage",
}
BASE64 = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)$"

_BODY = (
    "Send one picture as the body, several as multipart parts named image, or several in JSON. The content says what "
    "each is, whatever the header says; nothing is ever fetched from an address."
)


def timeout_header(max_timeout_ms: int) -> Parameter:
    """``X-Request-Timeout-Ms``: within how much time an answer is of use."""
    schema = {"type": "integer", "minimum": 1, "maximum": max_timeout_ms}
    return Parameter("X-Request-Timeout-Ms", "header", "time that the answer may take, milliseconds", schema)


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


def _ranking() -> tuple[Parameter, ...]:
    top_k = {"type": "integer", "minimum": 1, "default": 5}
    min_confidence = {"type": "number", "minimum": 0, "maximum": 1, "default": 0}
    return (
        Parameter("top_k", "query", "most predictions for each picture", top_k),
        Parameter("min_confidence", "query", "leave out predictions of a lower score", min_confidence),
    )
