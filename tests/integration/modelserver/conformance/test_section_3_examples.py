"""Section 3, table 3.4: Classify, Regress, MultiInference, metadata and status."""

from typing import Any

import pytest
from tensorflow_serving.apis import get_model_metadata_pb2

from tests.integration.modelserver.conformance.request_messages import (
    classification_request,
    multi_inference_request,
    regression_request,
    with_context,
)
from tests.integration.modelserver.conformance.server_under_test import ServerUnderTest
from tests.integration.modelserver.model_server_process import refusal


def classes(response: Any) -> Any:
    return [[(found.label, found.score) for found in row.classes] for row in response.result.classifications]


def test_3_4_classify_gives_labels_scores_or_both(server: ServerUnderTest) -> None:
    call = server.stubs.prediction.Classify
    response = call(classification_request("classify", 0.25, 1.0))
    assert classes(response) == [[("small", 0.75), ("large", 0.25)], [("small", 0), ("large", 1)]]
    assert classes(call(classification_request("scores", 0.25))) == [[("", 0.75), ("", 0.25)]]
    assert classes(call(classification_request("classes", 0.25))) == [[("small", 0), ("large", 0)]]


def test_3_4_regress_gives_a_value_for_each_example(server: ServerUnderTest) -> None:
    call = server.stubs.prediction.Regress
    for signature in ("regress", "regress_column"):
        response = call(regression_request(signature, 0.25, 1.0))
        assert [found.value for found in response.result.regressions] == [2.5, 10]


def test_3_4_a_context_is_part_of_every_example(server: ServerUnderTest) -> None:
    request = regression_request("regress")
    request.input.CopyFrom(with_context((1, 2), 0.5))
    assert [found.value for found in server.stubs.prediction.Regress(request).result.regressions] == [5, 5]


def test_3_4_replies_resolve_the_signature_name(server: ServerUnderTest) -> None:
    for call, request in (
        (server.stubs.prediction.Regress, regression_request("", 1, name="shared")),
        (server.stubs.prediction.Classify, classification_request("classify", 1, name="shared")),
    ):
        spec = call(request).model_spec
        assert (spec.name, spec.version.value) == ("shared", 1)
        assert spec.signature_name == (request.model_spec.signature_name or "serving_default")


@pytest.mark.parametrize("call", ["Classify", "Regress"])
def test_3_4_unknown_signature(server: ServerUnderTest, call: Any) -> None:
    make = classification_request if call == "Classify" else regression_request
    refused = refusal(getattr(server.stubs.prediction, call), make("S", 1))
    assert refused == "INVALID_ARGUMENT: No signature was found with the name: S"


@pytest.mark.parametrize("kind", ["none", "example_list", "example_list_with_context"])
def test_3_4_no_examples(server: ServerUnderTest, kind: Any) -> None:
    request = classification_request("classify")
    request.input.Clear()
    if kind != "none":
        getattr(request.input, kind).SetInParent()
    assert refusal(server.stubs.prediction.Classify, request) == "INVALID_ARGUMENT: Input is empty."


def test_3_4_signature_with_other_than_one_input(server: ServerUnderTest) -> None:
    expected = "INVALID_ARGUMENT: Expected one input Tensor."
    assert refusal(server.stubs.prediction.Classify, classification_request("two_inputs", 1)) == expected
    assert refusal(server.stubs.prediction.Regress, regression_request("two_inputs", 1)) == expected


def test_3_4_input_alias_is_not_inputs(server: ServerUnderTest) -> None:
    refused = refusal(server.stubs.prediction.Classify, classification_request("other_input", 1))
    assert refused.startswith("INVALID_ARGUMENT: No classification inputs found in SignatureDef: ")
    assert 'key: "examples"' in refused
    refused = refusal(server.stubs.prediction.Regress, regression_request("other_input", 1))
    assert refused.startswith("INVALID_ARGUMENT: No regression inputs found in SignatureDef: ")


def test_3_4_classify_outputs(server: ServerUnderTest) -> None:
    call = server.stubs.prediction.Classify
    refused = refusal(call, classification_request("three_outputs", 1))
    assert refused == "INVALID_ARGUMENT: Expected one or two output Tensors, found 3"
    refused = refusal(call, classification_request("strange_outputs", 1))
    assert refused.startswith(
        "INVALID_ARGUMENT: Expected classification signature outputs to contain at least one of "
        '"classes" or "scores". Signature was: '
    )


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        ("number_classes", "Expected classes Tensor of DT_STRING. Got: DT_INT64"),
        ("flat_scores", "Expected Tensor shape: [batch_size num_classes] but got [2]"),
        ("short_scores", "Expected scores output batch size of 2. Got: 1"),
    ],
)
def test_3_4_classify_outputs_of_the_run(server: ServerUnderTest, signature: Any, expected: Any) -> None:
    refused = refusal(server.stubs.prediction.Classify, classification_request(signature, 1, 2))
    assert refused == f"INVALID_ARGUMENT: {expected}"


def test_3_4_regress_outputs(server: ServerUnderTest) -> None:
    call = server.stubs.prediction.Regress
    assert refusal(call, regression_request("classify", 1)) == "INVALID_ARGUMENT: Expected one output Tensor."
    refused = refusal(call, regression_request("scores", 1))
    assert refused.startswith("INVALID_ARGUMENT: No regression outputs found in SignatureDef: ")


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        (
            "regress_pairs",
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2,2]",
        ),
        ("regress_double", "Expected output Tensor of DT_FLOAT.  Got: DT_DOUBLE"),
        ("regress_short", "Input batch size did not match output batch size: 2 vs. 1"),
    ],
)
def test_3_4_regress_outputs_of_the_run(server: ServerUnderTest, signature: Any, expected: Any) -> None:
    refused = refusal(server.stubs.prediction.Regress, regression_request(signature, 1, 2))
    assert refused == f"INVALID_ARGUMENT: {expected}"


def test_3_4_multi_inference_answers_each_task(server: ServerUnderTest) -> None:
    request = multi_inference_request(("shared", "classify", "classify"), ("shared", "", "regress"), values=(0.25, 1))
    first, second = server.stubs.prediction.MultiInference(request).results
    rows = first.classification_result.classifications
    assert [[found.score for found in row.classes] for row in rows] == [[0.75, 0.25], [0, 1]]
    assert [found.value for found in second.regression_result.regressions] == [2.5, 10]
    assert (first.model_spec.signature_name, second.model_spec.signature_name) == ("classify", "serving_default")
    assert {first.model_spec.version.value, second.model_spec.version.value} == {1}


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        (
            [("shared", "regress", "regress"), ("", "classify", "classify")],
            "INVALID_ARGUMENT: Found ModelSpec with an empty model name.",
        ),
        (
            [("shared", "regress", "regress"), ("half", "classify", "classify")],
            "INVALID_ARGUMENT: All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        ),
        (
            [("shared", "regress", "regress")] * 2,
            "INVALID_ARGUMENT: Duplicate evaluation of signature: regress",
        ),
        (
            [("shared", "S", "regress")],
            "INVALID_ARGUMENT: Requested signature not found in model graph: S",
        ),
        (
            [("shared", "regress", "predict")],
            "UNIMPLEMENTED: Unsupported signature method_name: tensorflow/serving/predict",
        ),
    ],
    ids=["empty name", "two models", "same signature twice", "unknown signature", "bad method"],
)
def test_3_4_multi_inference_refused(server: ServerUnderTest, tasks: Any, expected: Any) -> None:
    assert refusal(server.stubs.prediction.MultiInference, multi_inference_request(*tasks)) == expected


def test_3_4_multi_inference_of_signatures_with_inputs_of_their_own(server: ServerUnderTest) -> None:
    request = multi_inference_request(("examples", "regress", "regress"), ("examples", "classify", "classify"))
    first, second = server.stubs.prediction.MultiInference(request).results
    assert [found.value for found in first.regression_result.regressions] == [2.5]
    assert [found.score for found in second.classification_result.classifications[0].classes] == [0.75, 0.25]


def test_3_4_multi_inference_uses_the_version_of_the_first_task(server: ServerUnderTest) -> None:
    request = multi_inference_request(("shared", "classify", "classify"), ("shared", "regress", "regress"))
    request.tasks[1].model_spec.version.value = 77
    results = server.stubs.prediction.MultiInference(request).results
    assert [result.model_spec.version.value for result in results] == [1, 1]
    request.tasks[0].model_spec.version.value = 77
    refused = refusal(server.stubs.prediction.MultiInference, request)
    assert refused == "NOT_FOUND: Servable not found for request: Specific(shared, 77)"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], "GetModelMetadataRequest must specify at least one metadata_field"),
        (["weights"], "Metadata field weights is not supported"),
    ],
)
def test_3_4_metadata_without_a_field_or_of_another(server: ServerUnderTest, fields: Any, expected: Any) -> None:
    assert refusal(server.stubs.metadata, "half", *fields) == f"INVALID_ARGUMENT: {expected}"


def test_3_4_metadata_has_the_signatures_and_no_signature_name(server: ServerUnderTest) -> None:
    response = server.stubs.metadata("examples", "signature_def")
    assert (response.model_spec.name, response.model_spec.version.value) == ("examples", 1)
    assert response.model_spec.signature_name == ""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert signatures.signature_def["regress"].method_name == "tensorflow/serving/regress"


def test_3_4_status_of_unknown_model_and_version(server: ServerUnderTest) -> None:
    refused = refusal(server.stubs.states, "nope")
    assert refused == "NOT_FOUND: Could not find any versions of model nope"
    assert refusal(server.stubs.states, "half", version=9) == "NOT_FOUND: Could not find version 9 of model half"


def test_3_4_status_ignores_a_label_and_lists_the_newest_first(server: ServerUnderTest) -> None:
    both = [(2, "AVAILABLE"), (1, "AVAILABLE")]
    assert server.stubs.states("half") == both
    assert server.stubs.states("half", label="whatever") == both
    assert server.stubs.states("half", version=1) == [(1, "AVAILABLE")]
