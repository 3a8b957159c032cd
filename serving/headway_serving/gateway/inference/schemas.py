"""The Open Inference Protocol's documents as JSON Schema, as this gateway reads and writes them."""

from collections.abc import Mapping

from headway_serving.gateway.inference.protocol import EXTENSIONS, INPUT_NAME, OUTPUT_NAME
from headway_serving.gateway.requests.operation_parts import BASE64
from headway_serving.gateway.requests.operations import JsonSchema
from headway_serving.gateway.requests.schemas import COUNT, SHARE, TEXT, listing, record

_FLAG: JsonSchema = {"type": "boolean"}
_ANY_TEXT: JsonSchema = {"type": ["string", "null"]}
_SIDE: JsonSchema = {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}
_VERSION: JsonSchema = {"type": "string", "pattern": "^[0-9]+$"}
_SHAPE = listing({"type": "integer", "minimum": -1}, description="-1: as many as there are")


def infer_bodies(max_images: int) -> Mapping[str, JsonSchema]:
    """The two forms of an ``infer``: all of it in JSON, and JSON with the input's bytes behind it."""
    tensors = [_pictures(max_images), _pixels(max_images)]
    return {
        "application/json": {
            "description": 'pictures, {"inputs": [{"name": "images", "datatype": "BYTES", "shape": [1], "data": '
            '["the picture\'s file in base64"]}]}, or pixels, of datatype UINT8; shape is that of data',
            **_request({"oneOf": tensors}),
        },
        "application/octet-stream": {
            "description": "the same JSON with the parameter binary_data_size in place of data, and then the bytes; "
            "Inference-Header-Content-Length tells the bytes of the JSON",
        },
    }


def _request(tensor: JsonSchema) -> JsonSchema:
    wanted = _optional(
        "all of them are optional",
        binary_data=_FLAG,
        classification={"type": ["integer", "null"], "minimum": 1, "maximum": 2**63 - 1},
    )
    output = record(name={"const": OUTPUT_NAME})
    output = {**output, "properties": {**output["properties"], "parameters": wanted}}
    optional = {
        "id": {**_ANY_TEXT, "description": "comes back in the answer"},
        "parameters": _optional("binary_data_output: as binary_data of the output", binary_data_output=_FLAG),
        "outputs": {"type": ["array", "null"], "items": output, "maxItems": 1},
    }
    required = record(inputs=listing(tensor, minItems=1, maxItems=1))
    return {**required, "properties": {**required["properties"], **optional}}


def _pictures(max_images: int) -> JsonSchema:
    encoded = {"type": "string", "contentEncoding": "base64", "pattern": BASE64, "minLength": 4}
    alone = listing(encoded, minItems=1, maxItems=1)
    number = {**_SIDE, "maximum": max_images}
    shape = {"type": "array", "prefixItems": [number, {"const": 1}], "items": False, "minItems": 1}
    data = listing({"anyOf": [encoded, alone]}, minItems=1, maxItems=max_images)
    return _tensor("BYTES", shape, data, {"enum": ["base64", None]})


def _pixels(max_images: int) -> JsonSchema:
    number = {**_SIDE, "maximum": max_images}
    shape = {"type": "array", "prefixItems": [number, _SIDE, _SIDE, _SIDE], "items": False, "minItems": 4}
    octet = {"type": "integer", "minimum": 0, "maximum": 255}
    data = {
        "description": "flat, or in lists nested as the shape says",
        "anyOf": [listing(octet, minItems=1), listing({"type": "array"}, minItems=1, maxItems=max_images)],
    }
    return _tensor("UINT8", shape, data, _ANY_TEXT)


def _tensor(datatype: str, shape: JsonSchema, data: JsonSchema, content_type: JsonSchema) -> JsonSchema:
    required = record(name={"const": INPUT_NAME}, datatype={"const": datatype}, shape=shape, data=data)
    # The size is that of bytes behind the JSON, and here there are none.
    parameters = _optional("content_type is optional", content_type=content_type, binary_data_size={"type": "null"})
    return {**required, "properties": {**required["properties"], "parameters": parameters}}


def _optional(description: str, **properties: JsonSchema) -> JsonSchema:
    # Shared memory is not read, and refused so that nobody takes it for read.
    return {
        "description": description,
        "type": ["object", "null"],
        "properties": {**properties, "shared_memory_region": False},
    }


def _output(datatype: str, data: JsonSchema, **more: JsonSchema) -> JsonSchema:
    return record(name={"const": OUTPUT_NAME}, datatype={"const": datatype}, shape=listing(COUNT), data=data, **more)


def _answer() -> JsonSchema:
    arm = record(arm={"type": "string", "enum": ["stable", "candidate", "pinned"]})
    arm = {**arm, "properties": {**arm["properties"], "key_position": SHARE}}
    scores, classes = _output("FP32", listing(SHARE)), _output("BYTES", listing(TEXT, description="SCORE:INDEX:LABEL"))
    outputs = listing({"oneOf": [scores, classes]}, minItems=1, maxItems=1)
    schema = record(
        "The scores of each picture, or its best classes; with id if the request had one",
        model_name=TEXT, model_version=_VERSION, parameters=arm, outputs=outputs,
    )  # fmt: skip
    return {**schema, "properties": {**schema["properties"], "id": TEXT}}


def _metadata(name: str, datatype: str) -> JsonSchema:
    tensor = record(name={"const": name}, datatype={"const": datatype}, shape=_SHAPE)
    return listing(tensor, minItems=1, maxItems=1)


INFERENCE_DOCUMENTS: dict[str, JsonSchema] = {
    "InferenceAnswer": _answer(),
    "InferenceModel": record(
        name=TEXT,
        versions=listing(_VERSION, description="those that are loaded"),
        platform=TEXT,
        inputs=_metadata(INPUT_NAME, "UINT8"),
        outputs=_metadata(OUTPUT_NAME, "FP32"),
    ),
    "TritonConfig": record(
        name=TEXT,
        platform=TEXT,
        backend=TEXT,
        max_batch_size=COUNT,
        input=listing(
            record(
                name={"const": INPUT_NAME},
                data_type={"const": "TYPE_UINT8"},
                format={"const": "FORMAT_NHWC"},
                dims=listing(COUNT, description="height, width and channels"),
            )
        ),
        output=listing(
            record(
                name={"const": OUTPUT_NAME},
                data_type={"const": "TYPE_FP32"},
                dims=listing(COUNT, description="the number of classes"),
            )
        ),
    ),
    "TritonStatistics": record(
        model_stats=listing(
            record(
                name=TEXT,
                version=_VERSION,
                inference_count={**COUNT, "description": "pictures"},
                execution_count={**COUNT, "description": "requests that were answered"},
                inference_stats=record(success=record(count=COUNT, ns=COUNT), fail=record(count=COUNT, ns=COUNT)),
                batch_stats=listing({}),
            )
        )
    ),
    "InferenceServer": record(
        name={"const": "headway"}, version=TEXT, extensions=listing({"type": "string", "enum": list(EXTENSIONS)})
    ),
}
