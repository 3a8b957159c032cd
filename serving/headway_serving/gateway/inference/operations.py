"""What the routes of the Open Inference Protocol say of themselves."""

from headway_serving.core.access import Scope
from headway_serving.gateway.inference.schemas import infer_bodies
from headway_serving.gateway.requests.operation_parts import (
    MODEL_PROBLEMS,
    PICTURE_PROBLEMS,
    ROUTE_HEADERS,
    ROUTING_KEY,
    VERSION,
    timeout_header,
)
from headway_serving.gateway.requests.operations import ERROR_OBJECT_FORM, Answer, Operation, Parameter
from headway_serving.gateway.requests.schemas import COUNT, TEXT, record, ref

JSON_LENGTH = "Inference-Header-Content-Length"

_TAG = "Open Inference Protocol"
_YES = {"type": "boolean", "const": True}
_NO_LABELS = tuple(code for code in MODEL_PROBLEMS if code != "label_not_found")
_JSON_LENGTH = Parameter(
    JSON_LENGTH,
    "header",
    "bytes of the JSON at the beginning of the body; needed where bytes follow it, the whole body by default",
    COUNT,
)


def inference(max_images: int, max_timeout_ms: int) -> Operation:
    """The operation of the ``infer`` routes."""
    binary = {"description": "the same JSON without data, and the output's bytes behind it"}
    return Operation(
        tag=_TAG,
        summary="Scores or classes of pictures or pixels",
        description=(
            "One input, images: BYTES of shape [N], each a picture's file, or UINT8 of shape "
            "[N, height, width, channels] in the model's geometry. The body is read in the same way whatever its "
            "Content-Type. One bad picture refuses the request."
        ),
        scope=Scope.CLASSIFY,
        answers={
            200: Answer(
                "The output, scores",
                {"application/json": ref("InferenceAnswer"), "application/octet-stream": binary},
                {**ROUTE_HEADERS, JSON_LENGTH: "bytes of the JSON, where the output's bytes follow it"},
            )
        },
        problems=(*PICTURE_PROBLEMS, *_NO_LABELS, "answer_too_large"),
        parameters=(ROUTING_KEY, timeout_header(max_timeout_ms), _JSON_LENGTH, VERSION),
        body=infer_bodies(max_images),
        errors=ERROR_OBJECT_FORM,
    )


SERVER_METADATA = Operation(
    tag=_TAG,
    summary="Name, version and extensions of the server",
    scope=None,
    answers={200: Answer("They are these", {"application/json": ref("InferenceServer")})},
    errors=ERROR_OBJECT_FORM,
)
SERVER_LIVE = Operation(
    tag=_TAG,
    summary="Whether the process lives",
    scope=None,
    answers={200: Answer("It does", {"application/json": record(live=_YES)})},
    errors=ERROR_OBJECT_FORM,
)
SERVER_READY = Operation(
    tag=_TAG,
    summary="Whether the stable version of every routed model can answer",
    scope=None,
    answers={200: Answer("All of them can", {"application/json": record(ready=_YES)})},
    problems=("not_ready",),
    errors=ERROR_OBJECT_FORM,
)
MODEL_READY = Operation(
    tag=_TAG,
    summary="Whether a model's version, its stable one by default, can answer",
    scope=Scope.CLASSIFY,
    answers={200: Answer("It can", {"application/json": record(name=TEXT, ready=_YES)})},
    problems=("invalid_request", "model_not_found", "not_ready"),
    parameters=(VERSION,),
    errors=ERROR_OBJECT_FORM,
)
MODEL_METADATA = Operation(
    tag=_TAG,
    summary="Input, output and versions of a model, by its stable version or the one named",
    scope=Scope.CLASSIFY,
    answers={200: Answer("They are these", {"application/json": ref("InferenceModel")})},
    problems=(
        "invalid_request", "model_not_found", "version_not_found", "incompatible_model", "prediction_failed",
        "model_unavailable", "deadline_exceeded",
    ),
    parameters=(VERSION,),
    errors=ERROR_OBJECT_FORM,
)  # fmt: skip


def _of_version(summary: str, schema: str) -> Operation:
    return Operation(
        tag=_TAG,
        summary=summary,
        description="One of Triton's extensions, as its clients read it.",
        scope=Scope.CLASSIFY,
        answers={200: Answer("They are these", {"application/json": ref(schema)})},
        problems=MODEL_METADATA.problems,
        parameters=(VERSION,),
        errors=ERROR_OBJECT_FORM,
    )


MODEL_CONFIG = _of_version("Geometry, classes and largest batch of a version", "TritonConfig")
MODEL_STATS = _of_version("What was asked of a version since this process began", "TritonStatistics")
