"""What the routes of TensorFlow Serving's REST ``:predict`` say of themselves."""

from headway_serving.core.access import Scope
from headway_serving.gateway.requests.operation_parts import (
    MODEL_PROBLEMS,
    ROUTE_HEADERS,
    ROUTING_KEY,
    VERSION,
    timeout_header,
)
from headway_serving.gateway.requests.operations import ERROR_OBJECT_FORM, Answer, JsonSchema, Operation
from headway_serving.gateway.requests.schemas import TEXT, listing, record


def prediction(max_timeout_ms: int) -> Operation:
    """The operation of the ``:predict`` routes."""
    return Operation(
        tag="TensorFlow Serving REST",
        summary="Run a signature of a version at the model server",
        description=(
            "The version is chosen here; body and answer pass unchanged between the client and the model server, "
            "whose own errors keep their status too. Many rows are sent on in batches, and their answers joined."
        ),
        scope=Scope.CLASSIFY,
        answers={
            200: Answer("The signature's outputs, in the form of the inputs", {"application/json": _ANSWER},
                        ROUTE_HEADERS)
        },
        problems=(
            "invalid_request", "request_timeout", "payload_too_large", "unsupported_media_type", "pass_through_off",
            "answer_too_large",
            *MODEL_PROBLEMS,
        ),
        parameters=(ROUTING_KEY, timeout_header(max_timeout_ms), VERSION),
        body={"application/json": _BODY},
        errors=ERROR_OBJECT_FORM,
    )  # fmt: skip


def _description(summary: str) -> Operation:
    return Operation(
        tag="TensorFlow Serving REST",
        summary=summary,
        description="As the model server says it; the stable version where none is named.",
        scope=Scope.CLASSIFY,
        answers={200: Answer("TensorFlow Serving's own document", {"application/json": {"type": "object"}})},
        problems=("invalid_request", "pass_through_off", "answer_too_large", *MODEL_PROBLEMS),
        parameters=(VERSION,),
    )


VERSION_METADATA = _description("The signatures of a version")
VERSION_STATUS = _description("The state of a version")

_BODY: JsonSchema = {
    "description": '{"signature_name": "serving_bytes", "instances": [{"b64": "the picture\'s file in base64"}]}; '
    "instances are rows, inputs in their place are columns",
    "type": "object",
    "properties": {"signature_name": TEXT},
    "oneOf": [record(instances=listing({}, minItems=1)), record(inputs={})],
}
_ANSWER: JsonSchema = {"oneOf": [record(predictions=listing({})), record(outputs={})]}
