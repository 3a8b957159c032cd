"""What the routes of the Open Inference Protocol and of TensorFlow Serving's REST say of themselves."""

from headway_serving.adapters.token_file import Scope
from headway_serving.gateway.classify_operations import MODEL_PROBLEMS, PICTURE_PROBLEMS, ROUTING_KEY, timeout_header
from headway_serving.gateway.operations import ERROR_OBJECT_FORM, Answer, JsonSchema, Operation, Parameter
from headway_serving.gateway.schemas import COUNT, TEXT, listing, record, ref

_TAG = "Open Inference Protocol"
_VERSION = Parameter(
    "version", "path", "a version's number", {"type": "integer", "minimum": 0, "maximum": 10**18 - 1}, required=True
)


def _json(description: str, schema: JsonSchema) -> dict[int, Answer]:
    return {200: Answer(description, {"application/json": schema})}


_TENSOR = record(
    "the one input: pictures as BYTES, or their pixels as UINT8",
    name={"type": "string", "const": "images"},
    shape=listing(COUNT, minItems=1, maxItems=4),
    datatype={"type": "string", "enum": ["BYTES", "UINT8"]},
)
_READINESS_PROBLEMS = ("invalid_request", "model_not_found", "not_ready")

SERVER_METADATA = Operation(
    tag=_TAG,
    summary="Name, version and extensions of the server",
    scope=None,
    answers=_json("What it is", record(name=TEXT, version=TEXT, extensions=listing(TEXT))),
    errors=ERROR_OBJECT_FORM,
)
SERVER_LIVE = Operation(
    tag=_TAG,
    summary="Whether the process lives",
    scope=None,
    answers=_json("It does", record(live={"type": "boolean", "const": True})),
    errors=ERROR_OBJECT_FORM,
)
SERVER_READY = Operation(
    tag=_TAG,
    summary="Whether the stable version of every routed model can answer",
    scope=None,
    answers=_json("All of them can", record(ready={"type": "boolean", "const": True})),
    problems=("not_ready",),
    errors=ERROR_OBJECT_FORM,
)
MODEL_READY = Operation(
    tag=_TAG,
    summary="Whether a version can answer, the stable one if none is named",
    scope=Scope.CLASSIFY,
    answers=_json("It can", record(name=TEXT, ready={"type": "boolean", "const": True})),
    problems=_READINESS_PROBLEMS,
    parameters=(_VERSION,),
    errors=ERROR_OBJECT_FORM,
)
MODEL_METADATA = Operation(
    tag=_TAG,
    summary="Input, output and versions of a model",
    scope=Scope.CLASSIFY,
    answers=_json("The model, by its stable version if none is named", ref("InferenceModel")),
    problems=("invalid_request", *MODEL_PROBLEMS),
    parameters=(_VERSION,),
    errors=ERROR_OBJECT_FORM,
)


def inference(max_timeout_ms: int) -> Operation:
    """The operation of the two ``infer`` routes."""
    binary = "the JSON, and the bytes of its tensors after it; Inference-Header-Content-Length says where the JSON ends"
    answers = {"application/json": ref("InferenceAnswer"), "application/octet-stream": {"description": binary}}
    return Operation(
        tag=_TAG,
        summary="Scores or classes of pictures or pixels",
        scope=Scope.CLASSIFY,
        answers={200: Answer("The scores, or the best classes", answers)},
        problems=(*PICTURE_PROBLEMS, *MODEL_PROBLEMS),
        parameters=(
            _VERSION,
            ROUTING_KEY,
            timeout_header(max_timeout_ms),
            Parameter("Inference-Header-Content-Length", "header", "bytes of the JSON, if more follows it", COUNT),
        ),
        body={
            "application/json": record(inputs=listing(_TENSOR, minItems=1, maxItems=1)),
            "application/octet-stream": {"description": binary},
        },
        errors=ERROR_OBJECT_FORM,
    )


def passing_on(max_timeout_ms: int) -> Operation:
    """The operation of the three ``:predict`` routes."""
    document = {"type": "object", "description": "as TensorFlow Serving's REST API has it"}
    return Operation(
        tag="TensorFlow Serving REST",
        summary="Predict, passed on to the model server",
        scope=Scope.CLASSIFY,
        answers=_json("The model server's answer", document),
        problems=(
            "invalid_request", "request_timeout", "payload_too_large", "unsupported_media_type", "pass_through_off",
            *MODEL_PROBLEMS,
        ),
        parameters=(_VERSION, ROUTING_KEY, timeout_header(max_timeout_ms)),
        body={"application/json": document},
        errors=ERROR_OBJECT_FORM,
    )  # fmt: skip
