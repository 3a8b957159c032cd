"""Predict and the lookup of models answer with TensorFlow Serving's values, codes and texts."""

import re
from typing import Any

import numpy as np
import pytest
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2

from tests.integration.modelserver.model_server_process import ModelServerProcess, predict_request, refusal

X = {"x": np.array([[1.0], [2.0]], np.float32)}
AB = {"a": np.array([5], np.float32), "b": np.array([2], np.float32)}


def test_the_reply_carries_typed_fields_and_names_the_version_that_answered(server: ModelServerProcess) -> None:
    response = server.stubs.prediction.Predict(predict_request("half", X))
    assert list(response.outputs["y"].float_val) == [2.5, 3.0]
    assert [dim.size for dim in response.outputs["y"].tensor_shape.dim] == [2, 1]
    assert (response.model_spec.name, response.model_spec.version.value) == ("half", 2)
    assert response.model_spec.signature_name == "serving_default"


def test_a_version_number_chooses_the_version(server: ModelServerProcess) -> None:
    assert server.stubs.predict("half", X, version=1)["y"].ravel().tolist() == [1.5, 2.0]


def test_a_shape_that_only_the_signature_forbids_is_run(server: ModelServerProcess) -> None:
    assert server.stubs.predict("half", {"x": np.array([1, 2, 3], np.float32)})["y"].tolist() == [2.5, 3.0, 3.5]


def test_strings_travel_both_ways(server: ModelServerProcess) -> None:
    texts = np.array([b"", b"\x00\xff", "zwölf".encode()], object)
    assert server.stubs.predict("half", {"texts": texts}, signature="echo")["texts"].tolist() == texts.tolist()


def test_the_output_filter_chooses_outputs(server: ModelServerProcess) -> None:
    request = predict_request("half", AB, signature="add")
    request.output_filter.append("difference")
    assert list(server.stubs.prediction.Predict(request).outputs) == ["difference"]


def test_an_input_with_a_default_may_be_left_out(server: ModelServerProcess) -> None:
    assert server.stubs.predict("defaults", {"a": np.array([5], np.float32)}, signature="add")["sum"].tolist() == [15]


def test_requests_and_replies_larger_than_grpcs_own_limit_pass(server: ModelServerProcess) -> None:
    many = np.ones([3_000_000, 1], np.float32)
    assert server.stubs.predict("half", {"x": many})["y"].shape == many.shape


def test_a_call_without_deadline_and_one_with_both_are_answered(server: ModelServerProcess) -> None:
    request = predict_request("half", X)
    assert server.stubs.prediction.Predict(request, timeout=30).outputs
    assert server.stubs.prediction.Predict(request).outputs


@pytest.mark.parametrize(
    ("name", "inputs", "spec", "expected"),
    [
        ("", X, {}, "INVALID_ARGUMENT: ModelSpec has no name specified."),
        ("nope", X, {}, "NOT_FOUND: Servable not found for request: Latest(nope)"),
        ("nope", X, {"version": 1}, "NOT_FOUND: Servable not found for request: Specific(nope, 1)"),
        ("half", X, {"version": 7}, "NOT_FOUND: Servable not found for request: Specific(half, 7)"),
        ("half", X, {"label": "best"}, "INVALID_ARGUMENT: Unrecognized servable version label: best"),
        ("nope", X, {"label": "best"}, "INVALID_ARGUMENT: Unrecognized servable version label: best"),
        ("half", X, {"signature": "S"}, 'FAILED_PRECONDITION: Serving signature key "S" not found.'),
        (
            "half",
            {"y": [1.0], "x": [1.0]},
            {},
            "INVALID_ARGUMENT: input size does not match signature: 2!=1 len({x,y}) != len({x}). "
            "Sent extra: {y}. Missing but required: {}.",
        ),
        (
            "half",
            {"a": [1.0]},
            {"signature": "add"},
            "INVALID_ARGUMENT: input size does not match signature: 1!=2 len({a}) != len({a,b}). "
            "Sent extra: {}. Missing but required: {b}.",
        ),
        (
            "half",
            {},
            {},
            "INVALID_ARGUMENT: input size does not match signature: 0!=1 len({}) != len({x}). "
            "Sent extra: {}. Missing but required: {x}.",
        ),
        (
            "half",
            {"z": [1.0]},
            {},
            "INVALID_ARGUMENT: Signature input alias: x(feed name: serving_default_x:0) not found in request and "
            "no default value provided. Inputs expected to be in the request {z}, or default input alias set: ",
        ),
        (
            "defaults",
            {"a": np.array([1], np.float32), "z": np.array([1], np.float32)},
            {"signature": "add"},
            "INVALID_ARGUMENT: Inputs contains invalid name. Used request inputs: a, request input: a,z",
        ),
        (
            "half",
            {"x": np.array([b"one"], object)},
            {},
            "INVALID_ARGUMENT: Expects arg[0] to be float but string is provided",
        ),
        (
            "half",
            {"x": np.array([1], np.int32)},
            {},
            "INVALID_ARGUMENT: Expects arg[0] to be float but int32 is provided",
        ),
    ],
)
def test_errors_have_the_codes_and_texts_of_tensorflow_serving(
    server: ModelServerProcess, name: Any, inputs: Any, spec: Any, expected: Any
) -> None:
    assert refusal(server.stubs.predict, name, inputs, **spec) == expected


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8), (), (1, 8, 8, 1, 1)])
def test_a_picture_of_the_wrong_rank_is_refused_and_the_server_lives(server: ModelServerProcess, shape: Any) -> None:
    shown = ",".join(map(str, shape))
    assert refusal(server.stubs.predict, "picture", {"images": np.ones(shape, np.uint8)}) == (
        f"INVALID_ARGUMENT: convolution input must be 4-dimensional: [{shown}]"
    )
    pictures = np.full([3, 8, 8, 1], 2, np.uint8)
    assert server.stubs.predict("picture", {"images": pictures})["scores"].tolist() == [[18, 18]] * 3


@pytest.mark.parametrize("shape", [(1, 8, 8, 3), (1, 0, 0, 1)])
def test_a_picture_of_the_wrong_size_gets_the_kernels_answer_and_the_server_lives(
    server: ModelServerProcess, shape: Any
) -> None:
    refused = refusal(server.stubs.predict, "picture", {"images": np.ones(shape, np.uint8)})
    assert refused.startswith("INVALID_ARGUMENT: ")
    # Which kernel answers, and what it calls its node, depends on the processor.
    assert re.search(r"node [\w/]*Conv2D", refused)
    assert server.stubs.predict("picture", {"images": np.ones([1, 8, 8, 1], np.uint8)})["scores"].shape == (1, 2)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (
            ["best"],
            "INVALID_ARGUMENT: output tensor alias not found in signature: best Outputs expected to be in the set "
            "{difference,sum}.",
        ),
        (["sum", "sum"], "INVALID_ARGUMENT: duplicate output tensor alias: sum"),
    ],
)
def test_a_bad_output_filter_is_refused(server: ModelServerProcess, wanted: Any, expected: Any) -> None:
    request = predict_request("half", AB, signature="add")
    request.output_filter.extend(wanted)
    assert refusal(server.stubs.prediction.Predict, request) == expected


def test_a_tensor_that_cannot_be_read_is_refused_by_its_alias(server: ModelServerProcess) -> None:
    request = predict_request("half", X)
    request.inputs["x"].tensor_content = b"123"
    assert refusal(server.stubs.prediction.Predict, request) == "INVALID_ARGUMENT: tensor parsing error: x"


def test_a_long_text_is_cut(server: ModelServerProcess) -> None:
    code, _, text = refusal(server.stubs.predict, "n" * 2000, X).partition(": ")
    assert code == "NOT_FOUND"
    assert text == ("Servable not found for request: Latest(" + "n" * 2000)[:1024] + "...TRUNCATED"


def test_a_request_without_model_spec_is_refused_by_every_method(server: ModelServerProcess) -> None:
    prediction, model = server.stubs.prediction, server.stubs.model
    expected = "INVALID_ARGUMENT: Missing ModelSpec"
    assert refusal(prediction.Predict, predict_pb2.PredictRequest()) == expected
    assert refusal(prediction.GetModelMetadata, get_model_metadata_pb2.GetModelMetadataRequest()) == expected
    assert refusal(model.GetModelStatus, get_model_status_pb2.GetModelStatusRequest()) == expected


def test_metadata_describes_every_signature(server: ModelServerProcess) -> None:
    response = server.stubs.metadata("half", "signature_def")
    assert (response.model_spec.name, response.model_spec.version.value) == ("half", 2)
    assert response.model_spec.signature_name == ""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert {"serving_default", "add", "echo"} <= set(signatures.signature_def)
    x = signatures.signature_def["serving_default"].inputs["x"]
    assert (x.dtype, [dim.size for dim in x.tensor_shape.dim]) == (1, [-1, 1])


@pytest.mark.parametrize(
    ("name", "fields", "spec", "expected"),
    [
        (
            "half",
            [],
            {},
            "INVALID_ARGUMENT: GetModelMetadataRequest must specify at least one metadata_field",
        ),
        ("half", ["weights"], {}, "INVALID_ARGUMENT: Metadata field weights is not supported"),
        ("nope", ["signature_def"], {}, "NOT_FOUND: Servable not found for request: Latest(nope)"),
        ("half", ["signature_def"], {"version": 9}, "NOT_FOUND: Servable not found for request: Specific(half, 9)"),
    ],
)
def test_bad_questions_for_metadata_are_refused(
    server: ModelServerProcess, name: Any, fields: Any, spec: Any, expected: Any
) -> None:
    assert refusal(server.stubs.metadata, name, *fields, **spec) == expected


def test_states_are_listed_newest_first_or_for_one_version(server: ModelServerProcess) -> None:
    assert server.stubs.states("half") == [(2, "AVAILABLE"), (1, "AVAILABLE")]
    assert server.stubs.states("half", version=1) == [(1, "AVAILABLE")]
    assert len(server.stubs.states("half", label="whatever")) == 2


@pytest.mark.parametrize(
    ("name", "spec", "expected"),
    [
        ("nope", {}, "NOT_FOUND: Could not find any versions of model nope"),
        ("half", {"version": 9}, "NOT_FOUND: Could not find version 9 of model half"),
    ],
)
def test_states_of_what_is_not_there_are_not_found(
    server: ModelServerProcess, name: Any, spec: Any, expected: Any
) -> None:
    assert refusal(server.stubs.states, name, **spec) == expected
