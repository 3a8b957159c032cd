"""The documents that the gateway answers, as JSON Schema: ``components.schemas`` of ``/openapi.json``."""

from typing import Any

from headway_serving.gateway.requests.operations import JsonSchema


def ref(name: str) -> JsonSchema:
    """The schema of a document by its name here."""
    return {"$ref": f"#/components/schemas/{name}"}


def listing(items: JsonSchema, **more: Any) -> JsonSchema:
    """A list of one kind of thing."""
    return {"type": "array", "items": items, **more}


def record(description: str = "", /, **properties: JsonSchema) -> JsonSchema:
    """An object with these fields, all of them always there; more may come with later releases."""
    schema = {"type": "object", "required": list(properties), "properties": properties}
    return {"description": description, **schema} if description else schema


TEXT: JsonSchema = {"type": "string"}
COUNT: JsonSchema = {"type": "integer", "minimum": 0}
SHARE: JsonSchema = {"type": "number", "minimum": 0, "maximum": 1}
SCORE: JsonSchema = {"type": "number", "minimum": 0, "maximum": 1, "description": "calibrated probability"}


def _or_null(schema: JsonSchema) -> JsonSchema:
    return {"anyOf": [schema, {"type": "null"}]}


def problem_documents(codes: list[str]) -> dict[str, JsonSchema]:
    """A problem (RFC 9457) with one of ``codes``: of a whole request, and of a part of an answer."""
    fields = {
        "type": {"type": "string", "format": "uri", "description": "urn:headway:problem: and the code"},
        "title": {**TEXT, "description": "the same for every problem of this code"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {**TEXT, "description": "what was wrong, where, and what to do"},
        "code": {"type": "string", "enum": codes},
    }
    request_id = {**TEXT, "description": "under this id it stands in the log"}
    return {
        "Problem": record("An error, as RFC 9457 has it", **fields, request_id=request_id),
        "ProblemPart": record("The error of one picture or of one of several models", **fields),
    }


_ROUTED = {
    "candidate": _or_null(record(version=COUNT, weight=SHARE)),
    "shadow": _or_null(record(version=COUNT, share=SHARE)),
    "labels": {"type": "object", "additionalProperties": COUNT},
    "rollout": _or_null({"type": "string", "description": "how the rollout stands, if there is one"}),
}

_PREDICTED = record(index=COUNT, predictions=listing(record(label=TEXT, score=SCORE), description="best first"))
_FAMILIARITY = {**SHARE, "description": "how much the picture is like those that the version learned from"}
_ABSTAINED = {"type": "boolean", "description": "with min_confidence=model: whether no score reached the threshold"}

_RESULT = {
    "oneOf": [
        {
            **_PREDICTED,
            "properties": {**_PREDICTED["properties"], "familiarity": _FAMILIARITY, "abstained": _ABSTAINED},
        },
        record(index=COUNT, problem=ref("ProblemPart")),
    ]
}


def _classification(**more: JsonSchema) -> JsonSchema:
    schema = record(
        model=TEXT,
        version=COUNT,
        arm={"type": "string", "enum": ["stable", "candidate", "pinned"]},
        results=listing(_RESULT, description="one for each picture, in the order sent"),
        **more,
    )
    fallback = record(
        "there if a candidate failed and the stable version answered: the candidate's version and its problem's code",
        version=COUNT,
        code=TEXT,
    )
    place = {**SHARE, "description": "there while traffic is split: where the routing key stands between the arms"}
    best = {
        "label": {
            **_or_null(TEXT),
            "description": "of one picture alone: the best; null if none reached min_confidence",
        },
        "score": _or_null(SCORE),
    }
    return {**schema, "properties": {**schema["properties"], "key_position": place, "fallback": fallback, **best}}


DOCUMENTS: dict[str, JsonSchema] = {
    "Classification": _classification(request_id=TEXT),
    "Classifications": record(
        answers=listing({"oneOf": [_classification(), record(model=TEXT, problem=ref("ProblemPart"))]}),
        request_id=TEXT,
    ),
    "Model": {
        **record(
            "A model that gets traffic. kind and what stands with it are there when the stable version tells "
            "them, unavailable (the reason) when it cannot be asked",
            name=TEXT,
            stable=COUNT,
            **_ROUTED,
            pending=_or_null(
                record(
                    "new routes that wait for versions which cannot answer yet",
                    stable=COUNT,
                    candidate=_ROUTED["candidate"],
                    shadow=_ROUTED["shadow"],
                    waits_for=listing(COUNT),
                    reason=TEXT,
                )
            ),
            ready={"type": "boolean", "description": "whether the stable version can answer now"},
            versions=listing(COUNT),
            states={"type": "object", "additionalProperties": TEXT},
            classes=listing(TEXT),
        ),
        "anyOf": [
            record(
                kind={"type": "string", "enum": ["base", "head"]},
                base=_or_null(record(model=TEXT, version=COUNT)),
                image={"type": "object", "description": "the geometry that pictures are brought into"},
                test_accuracy=record(value=SHARE, low=SHARE, high=SHARE),
                abstention=_or_null(
                    record(
                        "below this score the version would rather not answer; bound: the share of wrong answers that "
                        "is not exceeded then, with 95 % confidence, null where too few pictures say so",
                        threshold=SHARE,
                        coverage=SHARE,
                        risk=SHARE,
                        bound=_or_null(SHARE),
                    )
                ),
                familiarity=_or_null(
                    record("pictures below this familiarity are unlike those learned from", threshold=SHARE)
                ),
            ),
            record(unavailable=TEXT),
        ],
    },
    "Models": record(models=listing(ref("Model"))),
    "ErrorObject": record("An error, as the Open Inference Protocol and TensorFlow Serving write it", error=TEXT),
    "Ready": record(status={"type": "string", "const": "ready"}),
    "FeedbackTally": record(
        model=TEXT,
        counted=COUNT,
        right=COUNT,
        wrong=COUNT,
        duplicates={**COUNT, "description": "told before"},
        ignored=listing(
            record(position={**COUNT, "description": "among those sent, from 0"}, code=TEXT, detail=TEXT),
        ),
        request_id=TEXT,
    ),
    "RouteChoice": record(
        "What a routing key gets: its position, from 0 to 1, is compared with the candidate's weight",
        key=TEXT,
        version=COUNT,
        arm={"type": "string", "enum": ["stable", "candidate"]},
        reason={"type": "string", "enum": ["weight", "stable"]},
        position=SHARE,
        why=TEXT,
        name=TEXT,
        stable=COUNT,
        **_ROUTED,
    ),
}
