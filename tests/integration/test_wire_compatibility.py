"""Our lean messages are TensorFlow Serving's: the same fields, the same bytes, the same methods, in one process."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import wrappers_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_pb2,
    model_service_pb2,
    predict_pb2,
    prediction_service_pb2,
    status_pb2,
)

import headway_serving
from headway_serving.wire import codec, rpc
from headway_serving.wire import messages_pb2 as ours

SOURCES = Path(headway_serving.__file__).parent.parent
PAIRS: list[tuple[Any, Any]] = [
    (ours.TensorShape, tensor_shape_pb2.TensorShapeProto),
    (ours.TensorShape.Dim, tensor_shape_pb2.TensorShapeProto.Dim),
    (ours.Tensor, tensor_pb2.TensorProto),
    (ours.ModelSpec, model_pb2.ModelSpec),
    (ours.ModelSpec.Version, wrappers_pb2.Int64Value),
    (ours.PredictRequest, predict_pb2.PredictRequest),
    (ours.PredictRequest.InputsEntry, predict_pb2.PredictRequest.InputsEntry),
    (ours.PredictResponse, predict_pb2.PredictResponse),
    (ours.PredictResponse.OutputsEntry, predict_pb2.PredictResponse.OutputsEntry),
    (ours.GetModelStatusRequest, get_model_status_pb2.GetModelStatusRequest),
    (ours.GetModelStatusResponse, get_model_status_pb2.GetModelStatusResponse),
    (ours.GetModelStatusResponse.Status, status_pb2.StatusProto),
    (ours.GetModelStatusResponse.VersionStatus, get_model_status_pb2.ModelVersionStatus),
]
OFFICIAL = {lean.DESCRIPTOR.full_name: official.DESCRIPTOR for lean, official in PAIRS}
# Our codec never sends map entries alone.
MESSAGES = [pair for pair in PAIRS if not pair[0].DESCRIPTOR.GetOptions().map_entry]


PACKED = ours.Tensor.DESCRIPTOR.fields_by_name["float_val"]
"""Packed floats, which ours takes as the bytes they are."""


def name(value: Any) -> str:
    return str(value.DESCRIPTOR.full_name)


def nested(descriptor: Descriptor) -> list[Descriptor]:
    return [descriptor, *(each for child in descriptor.nested_types for each in nested(child))]


def test_every_message_of_ours_is_compared() -> None:
    files = ours.DESCRIPTOR.message_types_by_name.values()
    assert {each.full_name for message in files for each in nested(message)} == set(OFFICIAL)


@pytest.mark.parametrize(("lean", "official"), PAIRS, ids=name)
def test_every_field_has_the_official_number_name_and_type(lean: Any, official: Any) -> None:
    for field in lean.DESCRIPTOR.fields:
        theirs = official.DESCRIPTOR.fields_by_number[field.number]
        assert field.name == theirs.name
        if field is PACKED:
            assert (theirs.type, theirs.is_packed) == (FieldDescriptor.TYPE_FLOAT, True)
            continue
        assert field.is_repeated == theirs.is_repeated
        assert field.is_packed == theirs.is_packed
        assert wire_type(field) == wire_type(theirs)
        if field.message_type is not None:
            assert OFFICIAL[field.message_type.full_name] is theirs.message_type


def wire_type(field: FieldDescriptor) -> int:
    """The field's type; an enum is an int32 of known values, the same bytes."""
    return FieldDescriptor.TYPE_INT32 if field.type == FieldDescriptor.TYPE_ENUM else int(field.type)


@pytest.mark.parametrize(("lean", "official"), MESSAGES, ids=name)
def test_bytes_of_ours_are_read_with_equal_content_and_back(lean: Any, official: Any) -> None:
    @settings(deadline=None, max_examples=40)
    @given(contents(lean.DESCRIPTOR))
    def check(content: dict[str, Any]) -> None:
        sent = fill(lean(), content)
        received = official.FromString(sent.SerializeToString())
        assert content_of(received) == content_of(sent)
        answered = lean.FromString(fill(official(), content).SerializeToString())
        assert content_of(answered) == content_of(sent)

    check()


def contents(descriptor: Descriptor) -> st.SearchStrategy[dict[str, Any]]:
    """Any values for any of the fields of a message, as nested dictionaries and lists."""
    return st.fixed_dictionaries({}, optional={field.name: field_values(field) for field in descriptor.fields})


def field_values(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field is PACKED:
        return st.lists(SCALARS[FieldDescriptor.TYPE_FLOAT], max_size=3)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        values = field_values(field.message_type.fields_by_name["value"])
        return st.dictionaries(st.text(max_size=8), values, max_size=2)
    one = SCALARS[field.type] if field.message_type is None else contents(field.message_type)
    return st.lists(one, max_size=3) if field.is_repeated else one


SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_FLOAT: st.floats(width=32, allow_nan=False),
    FieldDescriptor.TYPE_STRING: st.text(max_size=8),
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=64),
}


def fill(message: Any, content: dict[str, Any]) -> Any:
    """Set the fields named by ``content`` in a message of either family; return the message."""
    for key, value in content.items():
        target = getattr(message, key)
        if isinstance(value, dict) and isinstance(target, Message):
            target.SetInParent()
            fill(target, value)
        elif isinstance(value, dict):
            for entry, inner in value.items():
                fill(target[entry], inner)
        elif message.DESCRIPTOR.fields_by_name[key] is PACKED:
            setattr(message, key, np.array(value, "<f4").tobytes())
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for inner in value:
                fill(target.add(), inner)
        elif isinstance(value, list):
            target.extend(value)
        else:
            setattr(message, key, value)
    return message


def content_of(message: Message) -> dict[str, Any]:
    """The fields that are set, as nested dictionaries and lists; enums as their numbers."""
    content: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field is PACKED:
            content[field.name] = np.frombuffer(value, "<f4").tolist()
        elif field.message_type is None:
            content[field.name] = list(value) if field.is_repeated else value
        elif field.message_type.GetOptions().map_entry:
            content[field.name] = {key: content_of(value[key]) for key in value}
        else:
            content[field.name] = [content_of(each) for each in value] if field.is_repeated else content_of(value)
    return content


def test_fields_that_ours_leaves_out_do_no_harm() -> None:
    official = predict_pb2.PredictResponse()
    official.model_spec.name = "digits"
    official.model_spec.version_label = "canary"
    tensor = official.outputs["scores"]
    tensor.CopyFrom(tf.make_tensor_proto([[0.25, 0.75]], dtype=tf.float32))
    tensor.int_val.extend([1, 2, 3])
    lean = ours.PredictResponse.FromString(official.SerializeToString())
    assert lean.model_spec.name == "digits"
    np.testing.assert_array_equal(codec.rows_of(lean, "serving_default", 1), [[0.25, 0.75]])


def test_the_pixels_we_send_are_the_tensor_that_tensorflow_reads() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 5, 4, 1), np.uint8)
    sent = codec.rows_request("digits", 7, "serving_default", pixels).SerializeToString()
    request = predict_pb2.PredictRequest.FromString(sent)
    spec = request.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("digits", 7, "serving_default")
    assert list(request.inputs) == ["images"]
    np.testing.assert_array_equal(tf.make_ndarray(request.inputs["images"]), pixels, strict=True)


def test_version_0_is_sent_as_a_version() -> None:
    """A missing version would mean the newest one."""
    request = predict_pb2.PredictRequest.FromString(codec.manifest_request("digits", 0).SerializeToString())
    assert request.model_spec.HasField("version")
    assert tf.make_ndarray(request.inputs["request"]).tolist() == [b""]


@pytest.mark.parametrize(("value", "official"), [
    (codec.DT_FLOAT, types_pb2.DT_FLOAT), (codec.DT_UINT8, types_pb2.DT_UINT8), (codec.DT_STRING, types_pb2.DT_STRING),
])  # fmt: skip
def test_data_types_have_the_official_numbers(value: int, official: int) -> None:
    assert value == official


@pytest.mark.parametrize(("path", "service", "requests", "answers"), [
    (rpc.PREDICT, prediction_service_pb2, predict_pb2.PredictRequest, predict_pb2.PredictResponse),
    (rpc.GET_MODEL_STATUS, model_service_pb2, get_model_status_pb2.GetModelStatusRequest,
     get_model_status_pb2.GetModelStatusResponse),
])  # fmt: skip
def test_methods_are_called_by_their_official_paths(path: str, service: Any, requests: Any, answers: Any) -> None:
    methods = {
        f"/{each.full_name}/{method.name}": method
        for each in service.DESCRIPTOR.services_by_name.values()
        for method in each.methods
    }
    assert methods[path].input_type is requests.DESCRIPTOR
    assert methods[path].output_type is answers.DESCRIPTOR


def test_generated_messages_are_what_the_proto_generates_now(tmp_path: Path) -> None:
    proto = "headway_serving/wire/messages.proto"
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(SOURCES),
               f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", str(SOURCES / proto)]  # fmt: skip
    subprocess.run(command, check=True)
    for generated in ("messages_pb2.py", "messages_pb2.pyi"):
        path = Path("headway_serving/wire") / generated
        assert (SOURCES / path).read_text() == (tmp_path / path).read_text(), "run `make proto`"
