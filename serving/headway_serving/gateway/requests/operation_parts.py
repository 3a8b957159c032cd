"""What the operations of several protocols have in common: problems, parameters and headers."""

from collections.abc import Mapping

from headway_serving.gateway.requests.operations import Parameter
from headway_serving.gateway.requests.schemas import TEXT

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


def timeout_header(max_timeout_ms: int) -> Parameter:
    """``X-Request-Timeout-Ms``: within how much time an answer is of use."""
    schema = {"type": "integer", "minimum": 1, "maximum": max_timeout_ms}
    return Parameter("X-Request-Timeout-Ms", "header", "time that the answer may take, milliseconds", schema)
