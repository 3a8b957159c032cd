"""What we use of custom resources, as their operators define them: unknown fields are errors.

Kept by hand from the definitions of Prometheus Operator 0.80 (monitoring.coreos.com) and KServe 0.15
(serving.kserve.io); no package for this Python has them.
"""

from typing import Any

import jsonschema

Document = dict[str, Any]


def _object(required: tuple[str, ...], **properties: Any) -> Document:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _list(item: Document) -> Document:
    return {"type": "array", "items": item, "minItems": 1}


def _resource(kind: str, spec: Document) -> Document:
    return _object(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion={"type": "string"},
        kind={"const": kind},
        metadata={"type": "object"},
        spec=spec,
    )


_TEXT: Document = {"type": "string", "minLength": 1}
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_DURATION = {"type": "string", "pattern": r"^([0-9]+(ms|[smhdwy]))+$"}
_SECRET_KEY = _object(("name", "key"), name=_TEXT, key=_TEXT)
_ENDPOINT = _object(
    ("port",),
    port=_TEXT,
    path={"type": "string", "pattern": "^/"},
    interval=_DURATION,
    authorization=_object(("credentials",), type=_TEXT, credentials=_SECRET_KEY),
)
_SELECTOR = _object(("matchLabels",), matchLabels=_TEXTS)
_RULE = {
    **_object((), alert=_TEXT, record=_TEXT, expr=_TEXT, labels=_TEXTS, annotations=_TEXTS,
              keep_firing_for=_DURATION),
    "required": ["expr"],
    "oneOf": [{"required": ["alert"]}, {"required": ["record"]}],
}  # fmt: skip
_RULE["properties"]["for"] = _DURATION

_FORMAT = _object(
    ("name",), name=_TEXT, version=_TEXT, autoSelect={"type": "boolean"}, priority={"type": "integer", "minimum": 1}
)
_PROTOCOL = {"enum": ["v1", "v2", "grpc-v1", "grpc-v2"]}
# Containers and volumes are Kubernetes' own: they are validated as those of a pod.
_RUNTIME = _object(
    ("supportedModelFormats", "containers"),
    annotations=_TEXTS,
    supportedModelFormats=_list(_FORMAT),
    protocolVersions=_list(_PROTOCOL),
    containers=_list({"type": "object"}),
    volumes=_list({"type": "object"}),
)
_PREDICTOR_MODEL = _object(
    ("modelFormat",),
    modelFormat=_object(("name",), name=_TEXT, version=_TEXT),
    runtime=_TEXT,
    protocolVersion=_PROTOCOL,
    storageUri=_TEXT,
)

CUSTOM_SCHEMAS: dict[str, dict[str, Document]] = {
    "monitoring.coreos.com/v1": {
        "PodMonitor": _resource(
            "PodMonitor",
            _object(("selector", "podMetricsEndpoints"), selector=_SELECTOR, podMetricsEndpoints=_list(_ENDPOINT)),
        ),
        "ServiceMonitor": _resource(
            "ServiceMonitor", _object(("selector", "endpoints"), selector=_SELECTOR, endpoints=_list(_ENDPOINT))
        ),
        "PrometheusRule": _resource(
            "PrometheusRule",
            _object(
                ("groups",),
                groups=_list(_object(("name", "rules"), name=_TEXT, interval=_DURATION, rules=_list(_RULE))),
            ),
        ),
    },
}


CUSTOM_SCHEMAS["serving.kserve.io/v1alpha1"] = {"ClusterServingRuntime": _resource("ClusterServingRuntime", _RUNTIME)}
CUSTOM_SCHEMAS["serving.kserve.io/v1beta1"] = {
    "InferenceService": _resource(
        "InferenceService", _object(("predictor",), predictor=_object(("model",), model=_PREDICTOR_MODEL))
    )
}


def custom_errors(document: Document) -> list[str]:
    """Return why the resource's operator would refuse the document."""
    schema = CUSTOM_SCHEMAS[document["apiVersion"]].get(document["kind"])
    if schema is None:
        return [f"{document['kind']} is no kind of {document['apiVersion']} that is known here"]
    errors = jsonschema.Draft202012Validator(schema).iter_errors(document)
    return [f"{document['kind']} {'.'.join(map(str, error.path))}: {error.message}" for error in errors]
