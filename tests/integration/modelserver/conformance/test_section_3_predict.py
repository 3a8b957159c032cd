"""Section 3, tables 3.1 to 3.3: how models are looked up, what Predict checks, and errors of the run."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    predict_pb2,
    regression_pb2,
)

from headway_serving.modelserver.apis.tensor_codec import decode
from tests.integration.modelserver.conformance.conftest import StartServer
from tests.integration.modelserver.conformance.request_messages import (
    classification_request,
    multi_inference_request,
    regression_request,
    tensor_request,
)
from tests.integration.modelserver.conformance.server_under_test import ServerUnderTest
from tests.integration.modelserver.model_server_process import predict_request, refusal

X = {"x": np.array([[1.0], [2.0]], np.float32)}
AB = {"a": np.array([5], np.float32), "b": np.array([2], np.float32)}


def lookups(server: Any, name: Any, **spec: Any) -> Any:
    """The refusals of each method that looks for a version."""
    prediction = server.stubs.prediction
    return {
        refusal(prediction.Predict, predict_request(name, X, **spec)),
        refusal(prediction.Classify, classification_request("", 1, name=name, **spec)),
        refusal(prediction.Regress, regression_request("", 1, name=name, **spec)),
        refusal(prediction.MultiInference, multi_inference_request((name, "", "regress"), **spec)),
        refusal(server.stubs.metadata, name, "signature_def", **spec),
    }


def test_3_1_request_has_no_model_spec(server: ServerUnderTest) -> None:
    prediction = server.stubs.prediction
    requests = {
        prediction.Predict: predict_pb2.PredictRequest(),
        prediction.Classify: classification_pb2.ClassificationRequest(),
        prediction.Regress: regression_pb2.RegressionRequest(),
        prediction.GetModelMetadata: get_model_metadata_pb2.GetModelMetadataRequest(),
        server.stubs.model.GetModelStatus: get_model_status_pb2.GetModelStatusRequest(),
    }
    assert {refusal(call, request) for call, request in requests.items()} == {"INVALID_ARGUMENT: Missing ModelSpec"}


def test_3_1_multi_inference_without_tasks_has_no_name(server: ServerUnderTest) -> None:
    refused = refusal(server.stubs.prediction.MultiInference, inference_pb2.MultiInferenceRequest())
    assert refused == "INVALID_ARGUMENT: ModelSpec has no name specified."


def test_3_1_empty_name(server: ServerUnderTest) -> None:
    assert lookups(server, "") == {"INVALID_ARGUMENT: ModelSpec has no name specified."}


def test_3_1_unknown_model(server: ServerUnderTest) -> None:
    assert lookups(server, "nope") == {"NOT_FOUND: Servable not found for request: Latest(nope)"}


@pytest.mark.parametrize("name", ["nope", "examples"])
def test_3_1_unknown_version(server: ServerUnderTest, name: Any) -> None:
    assert lookups(server, name, version=7) == {f"NOT_FOUND: Servable not found for request: Specific({name}, 7)"}


@pytest.mark.parametrize("name", ["nope", "examples"])
def test_3_1_unknown_label(server: ServerUnderTest, name: Any) -> None:
    expected = "INVALID_ARGUMENT: Unrecognized servable version label: best"
    assert lookups(server, name, label="best") == {expected}


def test_3_a_text_of_more_than_1024_characters_is_cut(server: ServerUnderTest) -> None:
    text = "Servable not found for request: Latest(" + "n" * 2000
    assert lookups(server, "n" * 2000) == {f"NOT_FOUND: {text[:1024]}...TRUNCATED"}


def test_3_2_unknown_signature(server: ServerUnderTest) -> None:
    refused = refusal(server.stubs.predict, "half", X, signature="S")
    assert refused == 'FAILED_PRECONDITION: Serving signature key "S" not found.'


@pytest.mark.parametrize(
    ("signature", "inputs", "expected"),
    [
        ("", {"y": [1.0], "x": [1.0]}, "2!=1 len({x,y}) != len({x}). Sent extra: {y}. Missing but required: {}."),
        ("", {}, "0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}."),
        ("add", {"a": [1.0]}, "1!=2 len({a}) != len({a,b}). Sent extra: {}. Missing but required: {b}."),
    ],
    ids=["too many", "none", "too few"],
)
def test_3_2_too_many_or_too_few_inputs(server: ServerUnderTest, signature: Any, inputs: Any, expected: Any) -> None:
    refused = refusal(server.stubs.predict, "half", inputs, signature=signature)
    assert refused == f"INVALID_ARGUMENT: input size does not match signature: {expected}"


def test_3_2_right_count_wrong_name(server: ServerUnderTest) -> None:
    assert refusal(server.stubs.predict, "half", {"z": [1.0]}) == (
        "INVALID_ARGUMENT: Signature input alias: x(feed name: serving_default_x:0) not found in request and no "
        "default value provided. Inputs expected to be in the request {z}, or default input alias set: "
    )


def test_3_2_defaults_used_and_a_stray_name_sent(server: ServerUnderTest) -> None:
    sent = {"a": np.array([1], np.float32), "z": np.array([1], np.float32)}
    assert refusal(server.stubs.predict, "defaults", sent, signature="add") == (
        "INVALID_ARGUMENT: Inputs contains invalid name. Used request inputs: a, request input: a,z"
    )
    assert server.stubs.predict("defaults", {"a": np.array([5], np.float32)}, signature="add")["sum"].tolist() == [15]


UNPARSABLE = {
    "dtype 0": "tensor_shape { dim { size: 1 } } float_val: 1",
    "negative dimension": "dtype: DT_FLOAT tensor_shape { dim { size: -1 } } float_val: 1",
    "wrong length of tensor_content": "dtype: DT_FLOAT tensor_shape { dim { size: 2 } } tensor_content: '1234'",
}


@pytest.mark.parametrize("text", UNPARSABLE.values(), ids=UNPARSABLE.keys())
def test_3_2_unparsable_tensor(server: ServerUnderTest, text: Any) -> None:
    refused = refusal(server.stubs.prediction.Predict, tensor_request("half", "", "x", text))
    assert refused == "INVALID_ARGUMENT: tensor parsing error: x"


LENIENT = {
    "surplus values are dropped": ("dim { size: 1 } } float_val: 5 float_val: 6", [5]),
    "missing values repeat the last": ("dim { size: 4 } } float_val: 7 float_val: 8", [7, 8, 8, 8]),
    "no values are zeros": ("dim { size: 3 } }", [0, 0, 0]),
    "tensor_content wins": ("dim { size: 1 } } float_val: 9 tensor_content: '\\000\\000\\200?'", [1]),
    "values in the wrong field are ignored": ("dim { size: 2 } } int_val: 5 int_val: 6", [0, 0]),
}


@pytest.mark.parametrize(("text", "expected"), LENIENT.values(), ids=LENIENT.keys())
def test_3_2_tensors_are_read_leniently(server: ServerUnderTest, text: Any, expected: Any) -> None:
    request = tensor_request("values", "float32", "v", f"dtype: DT_FLOAT tensor_shape {{ {text}")
    assert decode(server.stubs.prediction.Predict(request).outputs["same"]).tolist() == expected


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (["Q"], "output tensor alias not found in signature: Q Outputs expected to be in the set {difference,sum}."),
        (["sum", "sum"], "duplicate output tensor alias: sum"),
    ],
    ids=["unknown", "duplicate"],
)
def test_3_2_unknown_or_duplicate_output_filter_entry(server: ServerUnderTest, wanted: Any, expected: Any) -> None:
    request = predict_request("half", AB, signature="add")
    request.output_filter.extend(wanted)
    assert refusal(server.stubs.prediction.Predict, request) == f"INVALID_ARGUMENT: {expected}"


def test_3_2_and_3_4_method_name_check_on(start: StartServer, conformance_config: Path) -> None:
    server = start(f"--model_config_file={conformance_config}", "--enable_signature_method_name_check=true")
    server.wait_until_ready()
    assert refusal(server.stubs.predict, "half", {}, signature="__saved_model_init_op") == (
        "INTERNAL: Expected prediction signature method_name to be one of {tensorflow/serving/predict, "
        "tensorflow/serving/classify, tensorflow/serving/regress}. Was: "
    )
    prediction = server.stubs.prediction
    assert refusal(prediction.Classify, classification_request("regress", 1)) == (
        "INVALID_ARGUMENT: Expected classification signature method_name to be tensorflow/serving/classify. "
        "Was: tensorflow/serving/regress"
    )
    assert refusal(prediction.Regress, regression_request("classify", 1)) == (
        "INVALID_ARGUMENT: Expected regression signature method_name to be tensorflow/serving/regress. "
        "Was: tensorflow/serving/classify"
    )
    assert prediction.Regress(regression_request("regress", 1)).result.regressions[0].value == 10


def test_3_2_reply_names_the_version_and_the_resolved_signature(server: ServerUnderTest) -> None:
    response = server.stubs.prediction.Predict(predict_request("half", X))
    assert (response.model_spec.name, response.model_spec.version.value) == ("half", 2)
    assert response.model_spec.signature_name == "serving_default"
    assert list(response.outputs["y"].float_val) == [2.5, 3.0]


def test_3_2_reply_holds_the_filtered_outputs_or_all(server: ServerUnderTest) -> None:
    request = predict_request("half", AB, signature="add")
    assert set(server.stubs.prediction.Predict(request).outputs) == {"sum", "difference"}
    request.output_filter.append("difference")
    assert set(server.stubs.prediction.Predict(request).outputs) == {"difference"}


@pytest.mark.parametrize(
    ("value", "provided"),
    [
        (np.array([b"one"], object), "string"),
        (np.array([1], np.int32), "int32"),
        (np.array([1], np.int64), "int64"),
        (np.array([1], np.float64), "double"),
        (np.array([True]), "bool"),
        (np.array([1], np.float16), "half"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_3_3_wrong_dtype(server: ServerUnderTest, value: Any, provided: Any) -> None:
    refused = refusal(server.stubs.predict, "half", {"x": value})
    assert refused == f"INVALID_ARGUMENT: Expects arg[0] to be float but {provided} is provided"


def test_3_3_wrong_shape_is_what_the_kernel_says(server: ServerUnderTest) -> None:
    unequal = {"a": np.array([1, 2], np.float32), "b": np.array([1, 2, 3], np.float32)}
    refused = refusal(server.stubs.predict, "half", unequal, signature="add")
    assert refused.startswith("INVALID_ARGUMENT: Incompatible shapes: [2] vs. [3]\n\t [[{{")


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8), (), (1, 8, 8, 1, 1)])
def test_3_3_wrong_rank_into_conv2d_never_ends_the_process(server: ServerUnderTest, shape: Any) -> None:
    if server.program.name == "real":
        pytest.skip("the real server of TensorFlow 2.21 and before may abort; ours must not")
    refused = refusal(server.stubs.predict, "picture", {"images": np.ones(shape, np.uint8)})
    shown = ",".join(map(str, shape))
    assert refused == f"INVALID_ARGUMENT: convolution input must be 4-dimensional: [{shown}]"
    pictures = np.full([3, 8, 8, 1], 2, np.uint8)
    assert server.stubs.predict("picture", {"images": pictures})["scores"].tolist() == [[18, 18]] * 3


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (1, 1, 1, 1, 1)])
def test_3_3_elementwise_model_takes_any_shape(server: ServerUnderTest, shape: Any) -> None:
    assert server.stubs.predict("half", {"x": np.ones(shape, np.float32)})["y"].shape == shape


def test_3_3_deadline_passed(server: ServerUnderTest) -> None:
    started = time.monotonic()
    request = predict_request("spin", {"n": np.int32(2_000_000_000)})
    refused = refusal(server.stubs.prediction.Predict, request, timeout=0.5)
    assert refused.startswith("DEADLINE_EXCEEDED: ")
    # A run that went on would keep a thread for minutes; a version whose run has ended can be used at once.
    assert server.stubs.predict("spin", {"n": np.int32(3)})["counted"] == 3
    assert time.monotonic() - started < 60
