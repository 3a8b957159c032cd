"""Section 4, the bodies: Predict in rows and columns, Classify and Regress, status and metadata, and their errors."""

import base64
import json
import math
import re
from typing import Any

import numpy as np
import pytest

from tests.integration.modelserver.conformance.server_under_test import ServerUnderTest


def post(server: Any, body: Any, path: Any = "values:predict") -> Any:
    return server.http("POST", f"/v1/models/{path}", body)


def predict(server: Any, signature: Any, **body: Any) -> Any:
    return post(server, {"signature_name": signature, **body})


def refused(reply: Any) -> Any:
    return f"{reply.status} {reply.error}"


def failed(index: Any, key: Any, text: Any) -> Any:
    shown = f" key: {key}" if key else ""
    return f"400 Failed to process element: {index}{shown} of 'instances' list. Error: INVALID_ARGUMENT: {text}"


def test_4_row_form_with_one_input_and_one_output_is_lists(server: ServerUnderTest) -> None:
    reply = predict(server, "float32", instances=[[1, 2.5], [0.1, 9000000]])
    assert reply.body == b'{\n    "predictions": [[1.0, 2.5], [0.1, 9e+06]\n    ]\n}'
    assert predict(server, "float32", instances=[1.0, 2.0]).json == {"predictions": [1, 2]}


def test_4_row_form_with_several_inputs_and_outputs_is_objects(server: ServerUnderTest) -> None:
    rows = [{"a": [1, 2.5], "b": "x"}, {"b": {"b64": "aGk="}, "a": [3, 4]}]
    expected = {"predictions": [{"b": "x", "sum": 3.5}, {"b": "hi", "sum": 7}]}
    assert predict(server, "pair", instances=rows).json == expected


def test_4_row_form_takes_objects_for_one_input_too(server: ServerUnderTest) -> None:
    assert predict(server, "float32", instances=[{"v": [1]}, {"v": [2]}]).json == {"predictions": [[1], [2]]}


def test_4_column_form_takes_a_value_a_list_or_an_object(server: ServerUnderTest) -> None:
    assert predict(server, "float32", inputs=1.5).json == {"outputs": 1.5}
    assert predict(server, "float32", inputs=[[1, 2]]).json == {"outputs": [[1, 2]]}
    assert predict(server, "float32", inputs={"v": [1], "surplus": "ignored"}).json == {"outputs": [1]}
    columns = {"a": [[1, 2.5]], "b": ["x"]}
    assert predict(server, "pair", inputs=columns).json == {"outputs": {"b": ["x"], "sum": [3.5]}}


def test_4_column_form_is_printed_a_value_a_line(server: ServerUnderTest) -> None:
    reply = predict(server, "float32", inputs=[[1], [2]])
    assert reply.body == (
        b'{\n    "outputs": [\n        [\n            1.0\n        ],\n        [\n            2.0\n        ]\n    ]\n}'
    )


def test_4_the_default_signature_needs_no_name(server: ServerUnderTest) -> None:
    assert post(server, {"instances": [[1.0]]}, "half:predict").json == {"predictions": [[2.5]]}


@pytest.mark.parametrize(
    ("dtype", "sent", "returned"),
    [
        ("float32", "[1, -2.5, NaN, Infinity, -Infinity]", "[1.0, -2.5, NaN, Infinity, -Infinity]"),
        ("float64", "[1, 0.1, 1e300, NaN]", "[1.0, 0.1, 1e+300, NaN]"),
        ("int8", "[-128, 127]", "[-128, 127]"),
        ("int16", "[-32768]", "[-32768]"),
        ("int32", "[-2147483648, 2147483647]", "[-2147483648, 2147483647]"),
        ("int64", "[-9223372036854775808, 9223372036854775807]", "[-9223372036854775808, 9223372036854775807]"),
        ("uint8", "[0, 255]", "[0, 255]"),
        ("uint32", "[4294967295]", "[4294967295]"),
        ("uint64", "[18446744073709551615]", "[18446744073709551615]"),
        ("bool", "[true, false]", "[true, false]"),
        ("string", '["", "zw\\u00f6lf", {"b64": "aGk="}]', '["", "zwölf", "hi"]'),
    ],
)
def test_4_types(server: ServerUnderTest, dtype: Any, sent: Any, returned: Any) -> None:
    reply = post(server, f'{{"signature_name": "{dtype}", "instances": {sent}}}')
    assert reply.body.decode() == f'{{\n    "predictions": {returned[:-1]}\n    ]\n}}'


@pytest.mark.parametrize("dtype", ["float16", "uint16"])
def test_4_other_types_are_unimplemented(server: ServerUnderTest, dtype: Any) -> None:
    name = {"float16": "half", "uint16": "uint16"}[dtype]
    assert refused(predict(server, dtype, inputs=[1])) == f"501 Conversion of JSON Value: 1 to type: {name}"


def test_4_other_types_cannot_be_written(server: ServerUnderTest) -> None:
    assert refused(predict(server, "to_half", inputs=[1])) == "400 Failed to write JSON value for tensor type: half"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("0.1", "0.1"),
        ("0.123456789", "0.123456791"),
        ("1e6", "1e+06"),
        ("123456", "123456.0"),
        ("1234567", "1234567.0"),
        ("0.00001", "1e-05"),
        ("3", "3.0"),
        ("-0.0", "-0.0"),
    ],
)
def test_4_floats_have_six_digits_if_they_are_enough(server: ServerUnderTest, value: Any, shown: Any) -> None:
    reply = post(server, f'{{"signature_name": "float32", "inputs": {value}}}')
    assert reply.body.decode() == f'{{\n    "outputs": {shown}\n}}'


def test_4_doubles_have_seventeen_digits_if_six_are_not_enough(server: ServerUnderTest) -> None:
    assert predict(server, "float64", inputs=math.pi).body == b'{\n    "outputs": 3.1415926535897931\n}'


def test_4_outputs_called_bytes_are_b64_objects(server: ServerUnderTest) -> None:
    secret = b"\xff\x80\xfe"
    row = {"b64": base64.b64encode(secret).decode()}
    reply = post(server, {"signature_name": "texts", "instances": [{"b64": "aGk="}]})
    assert reply.json == {"predictions": [{"text": "hi", "text_bytes": {"b64": "aGk="}}]}
    # A string that is no UTF-8 is written as it is where its name does not end in _bytes.
    assert secret in predict(server, "string", instances=[row]).body


def test_4_web_safe_base64_is_refused(server: ServerUnderTest) -> None:
    reply = predict(server, "string", inputs={"b64": "_-8="})
    assert refused(reply) == "400 Unable to base64 decode"


def test_4_b64_is_for_strings_only(server: ServerUnderTest) -> None:
    reply = predict(server, "float32", inputs=[{"b64": "aGk="}])
    assert reply.status == 400
    assert reply.error.endswith("Type: Object is not of expected type: float")


@pytest.mark.parametrize(("text", "reply"), [("aGk", "hi"), ("aGk=", "hi"), (" aG\nk = ", "hi"), ("", "")])
def test_4_base64_has_no_padding_or_all_of_it(server: ServerUnderTest, text: str, reply: str) -> None:
    assert predict(server, "string", inputs={"b64": text}).json == {"outputs": reply}


@pytest.mark.parametrize("text", ["aGk==", "aGlo=", "aGlo====", "=", "a", "aG=k", "a==="])
def test_4_surplus_padding_is_refused(server: ServerUnderTest, text: str) -> None:
    assert refused(predict(server, "string", inputs={"b64": text})) == "400 Unable to base64 decode"


@pytest.mark.parametrize("form", ["inputs", "instances"])
@pytest.mark.parametrize(
    ("sent", "returned"),
    [
        ("16777216", 16777216.0),
        ("16777217", 16777216.0),
        ("1435774380", 1435774336.0),
        ("1e39", math.inf),
        ("-1e39", -math.inf),
        ("123456789012345678901234567890", 1.2345679e29),
        ("Inf", math.inf),
        ("-Inf", -math.inf),
        ("Infinity", math.inf),
    ],
)
def test_4_a_float_takes_any_number(server: ServerUnderTest, form: str, sent: str, returned: float) -> None:
    reply = post(server, f'{{"signature_name": "float32", "{form}": [1, {sent}]}}')
    values = next(iter(reply.json.values()))
    assert values == [1.0, pytest.approx(returned, rel=1e-7)]


def test_4_a_feature_takes_any_number(server: ServerUnderTest) -> None:
    reply = post(server, '{"signature_name": "regress", "examples": [{"x": 1e39}, {"x": Inf}]}', "examples:regress")
    assert reply.json == {"results": [math.inf, math.inf]}


@pytest.mark.parametrize("levels", [900, 5_000, 500_000])
def test_4_deep_json_in_a_key_that_is_not_looked_at_is_skipped(server: ServerUnderTest, levels: int) -> None:
    deep = "[" * levels + "]" * levels
    body = f'{{"signature_name": "float32", "unused": {deep}, "inputs": [1, Inf]}}'
    assert post(server, body).json == {"outputs": [1.0, math.inf]}


def test_4_deep_json_in_a_key_that_is_looked_at_is_refused(server: ServerUnderTest) -> None:
    deep = "[" * 5_000 + "]" * 5_000
    for form in ("inputs", "instances"):
        reply = post(server, f'{{"signature_name": "float32", "{form}": {deep}}}')
        assert (reply.status, "cannot be read" in reply.error) == (400, True)


def test_4_a_scalar_text_is_answered(server: ServerUnderTest) -> None:
    assert predict(server, "scalar_text", inputs=["a", "b"]).json == {"outputs": "ab"}
    outputs = server.stubs.predict("values", {"v": np.array([b"a", b"b"], object)}, signature="scalar_text")
    assert outputs["joined"] == b"ab"
    assert outputs["joined"].shape == ()
    refused_rows = predict(server, "scalar_text", instances=["a"])
    assert refused(refused_rows) == "400 Tensor name: joined has no shape information "


def test_4_half_a_surrogate_pair_in_a_name_is_refused(server: ServerUnderTest) -> None:
    reply = post(server, '{"signature_name": "float32", "instances": [{"\\ud800": 1}]}')
    assert reply.status == 400


def test_4_bytes_after_the_object_are_ignored(server: ServerUnderTest) -> None:
    body = '{"signature_name": "float32", "inputs": 1} and more'
    assert post(server, body).json == {"outputs": 1}


def test_4_of_duplicate_keys_the_first_counts(server: ServerUnderTest) -> None:
    body = '{"inputs": 1, "signature_name": "float32", "inputs": 2}'
    assert post(server, body).json == {"outputs": 1}


def test_4_every_output_needs_the_same_first_dimension(server: ServerUnderTest) -> None:
    assert refused(predict(server, "sizes", instances=[1.0, 2.0])) == (
        "400 Tensor name: first has inconsistent batch size: 1 expecting: 2"
    )
    assert predict(server, "sizes", inputs=[1.0, 2.0]).json == {"outputs": {"all": [1, 2], "first": [1]}}


def test_4_a_scalar_output_has_no_rows(server: ServerUnderTest) -> None:
    assert refused(predict(server, "scalar", instances=[1.0])) == ("400 Tensor name: total has no shape information ")
    assert predict(server, "scalar", inputs=[1.0, 2.0]).json == {"outputs": 3}


PARSE_ERRORS = {
    "": "The document is empty",
    "  ": "The document is empty. at offset: 2",
    "{": "Missing a name for object member. at offset: 1",
    "nonsense": "Invalid value. at offset: 1",
    "tru": "Invalid value. at offset: 3",
    "-x": "Invalid value. at offset: 1",
    '{"instances": [1,]}': "Invalid value. at offset: 17",
    '{"a" 1}': "Missing a colon after a name of object member. at offset: 5",
    '{"a": 1 "b"}': "Missing a comma or } after an object member. at offset: 8",
    '{"a": ["}", 1 2]}': "Missing a comma or ] after an array element. at offset: 14",
    '{"ä": x}': "Invalid value. at offset: 7",
    '{"a": 1.}': "Miss fraction part in number. at offset: 8",
    '{"a": 1e}': "Miss exponent in number. at offset: 8",
    '{"a": 1e999}': "Number too big to be stored in double. at offset: 6",
    '{"a": "x': "Missing a closing quotation mark in string. at offset: 8",
}


@pytest.mark.parametrize(("body", "expected"), PARSE_ERRORS.items())
def test_4_parse_errors(server: ServerUnderTest, body: Any, expected: Any) -> None:
    assert refused(post(server, body)) == f"400 JSON Parse error: {expected}"


DOCUMENT = "JSON Value: {document} "


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("[1]", DOCUMENT + "Is not object"),
        ("3.5", DOCUMENT + "Is not object"),
        ('{"signature_name": "float32"}', "Missing 'inputs' or 'instances' key"),
        (
            '{"signature_name": "float32", "inputs": 1, "instances": [1]}',
            DOCUMENT + "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
        ),
        (
            '{"signature_name": "float32", "instances": 1}',
            DOCUMENT + "Expecting 'instances' to be an list/array",
        ),
        ('{"signature_name": "float32", "instances": []}', DOCUMENT + "No values in 'instances' array"),
        (
            '{"signature_name": 5, "instances": [1]}',
            DOCUMENT + "not formatted correctly. 'signature_name' key must be a string value.",
        ),
        (
            '{"signature_name": "S", "instances": [1]}',
            'Serving signature name: "S" not found in signature def',
        ),
    ],
)
def test_4_documents_of_another_form(server: ServerUnderTest, body: Any, expected: Any) -> None:
    # An array stands on one line, the members of an object on several.
    shown = re.sub(r"\[\s*(\d*)\s*\]", r"[\1]", json.dumps(json.loads(body), indent=4))
    assert refused(post(server, body)) == f"400 {expected.format(document=shown)}"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ([[1, 2.5], {"a": "x"}, []], '[[1, 2.5], {\n        "a": "x"\n    }, []]'),
        (["x" * 400, 1], f'["{"x" * 400}"'),
        (list(range(200)), json.dumps(list(range(67)))[:-1]),
        ([1 << 70], "[1.1805916207174113e+21]"),
    ],
    ids=["one_line", "long_text", "many", "beyond_64_bits"],
)
def test_4_a_shown_value_is_on_one_line_and_cut_after_the_token_that_reaches_256_bytes(
    server: ServerUnderTest, value: Any, shown: str
) -> None:
    assert refused(post(server, json.dumps(value))) == f"400 JSON Value: {shown} Is not object"


@pytest.mark.parametrize(
    ("signature", "inputs", "expected"),
    [
        ("pair", {"a": [[1, 2]]}, "Missing named input: b in 'inputs' object."),
        (
            "pair",
            [1],
            "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
            "tensorinfo_map",
        ),
        ("int32", [2.0], "JSON Value: 2.0 Type: Number is not of expected type: int32"),
        ("int32", [2147483648], "JSON Value: 2147483648 Type: Number is not of expected type: int32"),
        ("float32", [True], "JSON Value: true Type: True is not of expected type: float"),
        ("float32", None, "JSON Value: null Type: Null is not of expected type: float"),
        ("bool", [1], "JSON Value: 1 Type: Number is not of expected type: bool"),
        ("string", [1], "JSON Value: 1 Type: Number is not of expected type: string"),
        ("string", [{"b64": 1}], 'JSON Value: {\n    "b64": 1\n} not formatted correctly for base64 data'),
        ("float32", [1, [2]], "Encountered list at unexpected level: 1 expected < 1"),
        ("float32", [[1], 2], "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        ("float32", [[1, 2], [3]], "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
    ],
)
def test_4_columns_that_cannot_be_read(server: ServerUnderTest, signature: Any, inputs: Any, expected: Any) -> None:
    assert refused(predict(server, signature, inputs=inputs)) == f"400 {expected}"


@pytest.mark.parametrize(
    ("signature", "rows", "expected"),
    [
        (
            "pair",
            [1],
            "400 instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map",
        ),
        ("float32", [1, "x"], failed(1, "", 'JSON Value: "x" Type: String is not of expected type: float')),
        (
            "float32",
            [{"v": 1}, {"v": "x"}],
            failed(1, "v", 'JSON Value: "x" Type: String is not of expected type: float'),
        ),
        ("float32", [{"w": 1}], failed(0, "w", "JSON object: does not have named input: w")),
        ("float32", [[1, 2], [3]], failed(1, "", "Expecting tensor size: 2 but got: 1")),
        ("float32", [[[1, 2]], [[1], [2]]], failed(1, "", "Expecting shape [1,2] but got: [2,1]")),
        (
            "float32",
            [[[1, 2], [3]]],
            failed(0, "", "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        ),
        ("float32", [{"v": 1}, [1]], "400 Expecting object but got list at item 1 of input list"),
        ("float32", [1, {"v": 1}], "400 Expecting value/list but got object at item 1 of input list"),
        (
            "pair",
            [{"a": [1, 2]}],
            "400 Failed to process element: 0 of 'instances' list. JSON object: "
            + '{\n    "a": [1, 2]\n}'
            + " keys must be equal to: a,b",
        ),
    ],
)
def test_4_rows_that_cannot_be_read(server: ServerUnderTest, signature: Any, rows: Any, expected: Any) -> None:
    assert refused(predict(server, signature, instances=rows)) == expected


def test_4_the_runs_own_errors_come_through(server: ServerUnderTest) -> None:
    reply = post(server, {"signature_name": "add", "inputs": {"a": [1, 2], "b": [1, 2, 3]}}, "half:predict")
    assert refused(reply).startswith("400 Incompatible shapes: [2] vs. [3]")


def test_4_classify_replies_with_results(server: ServerUnderTest) -> None:
    body = {"signature_name": "classify", "examples": [{"x": 0.25}, {"x": [1.0]}]}
    reply = post(server, body, "examples:classify")
    assert reply.json == {"results": [[["small", 0.75], ["large", 0.25]], [["small", 0.0], ["large", 1.0]]]}
    assert reply.body.startswith(b'{\n    "results": [[["small", 0.75], ["large", 0.25]], [[')


def test_4_regress_replies_with_results(server: ServerUnderTest) -> None:
    body = {"signature_name": "regress", "examples": [{"x": 0.25}, {"x": 1.0}]}
    assert post(server, body, "examples:regress").body == b'{\n    "results": [2.5, 10.0]\n}'


def test_4_a_context_is_part_of_every_example(server: ServerUnderTest) -> None:
    body = {"signature_name": "regress", "context": {"x": 0.5}, "examples": [{"other": "text"}, {"other": {"b64": ""}}]}
    assert post(server, body, "examples:regress").json == {"results": [5, 5]}


def test_4_an_integer_makes_an_int64_feature(server: ServerUnderTest) -> None:
    reply = post(server, {"signature_name": "regress", "examples": [{"x": 2}]}, "examples:regress")
    assert reply.status == 400
    assert "Data type: int64 but expected type: float" in reply.error


@pytest.mark.parametrize(
    ("examples", "expected"),
    [
        ([1], "Example must be JSON object but got JSON Number"),
        ([{"x": None}], "Feature: x has element with unexpected JSON type: Null"),
        ([{"x": [[1.0]]}], "Feature: x has element with unexpected JSON type: Array"),
        ([{"x": {"y": 1}}], "Feature: x has element with unexpected JSON type: Object"),
        ([{"x": [1.0, 2]}], "Unexpected element type in feature: x expecting type: float"),
        ([{"x": [True, "a"]}], "Unexpected element type in feature: x expecting type: int64"),
        ([{"x": 1 << 63}], "Feature: x has uint64_t element. Only int64_t is supported."),
    ],
)
def test_4_examples_that_cannot_be_read(server: ServerUnderTest, examples: Any, expected: Any) -> None:
    reply = post(server, {"signature_name": "regress", "examples": examples}, "examples:regress")
    assert refused(reply) == f"400 {expected}"


@pytest.mark.parametrize("verb", ["classify", "regress"])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"examples2": []}, "When method is classify, key 'examples' is expected and was not found"),
        ({"examples": 1}, "Expecting 'examples' value to be an list/array"),
        ({"examples": []}, "'examples' value is an empty array"),
    ],
    ids=["missing", "no list", "empty"],
)
def test_4_missing_examples(server: ServerUnderTest, verb: Any, body: Any, expected: Any) -> None:
    reply = post(server, body, f"examples:{verb}")
    assert refused(reply) == f"400 JSON Value: {json.dumps(body, indent=4)} {expected}"


def test_4_unknown_signature_of_classify_has_the_text_of_grpc(server: ServerUnderTest) -> None:
    reply = post(server, {"signature_name": "S", "examples": [{"x": 1.0}]}, "examples:classify")
    assert refused(reply) == "400 No signature was found with the name: S"


def test_4_status_json(server: ServerUnderTest) -> None:
    reply = server.http("GET", "/v1/models/examples")
    assert reply.body.decode() == (
        '{\n "model_version_status": [\n  {\n   "version": "1",\n   "state": "AVAILABLE",\n   "status": {\n'
        '    "error_code": "OK",\n    "error_message": ""\n   }\n  }\n ]\n}\n'
    )


def test_4_status_of_a_version_or_a_label(server: ServerUnderTest) -> None:
    def versions(path: Any) -> Any:
        return [status["version"] for status in server.http("GET", path).json["model_version_status"]]

    assert versions("/v1/models/half") == ["2", "1"]
    assert versions("/v1/models/half/versions/1") == ["1"]
    assert versions("/v1/models/half/labels/anything") == ["2", "1"]
    reply = server.http("GET", "/v1/models/half/versions/9")
    assert refused(reply) == "404 Could not find version 9 of model half"


def test_4_metadata_json_prints_every_default(server: ServerUnderTest) -> None:
    reply = server.http("GET", "/v1/models/half/versions/1/metadata").json
    assert reply["model_spec"] == {"name": "half", "signature_name": "", "version": "1"}
    signature = reply["metadata"]["signature_def"]["signature_def"]["serving_default"]
    shape = {"dim": [{"size": "-1", "name": ""}, {"size": "1", "name": ""}], "unknown_rank": False}
    assert signature["inputs"] == {"x": {"dtype": "DT_FLOAT", "name": "serving_default_x:0", "tensor_shape": shape}}
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["defaults"] == {}


def test_4_metadata_of_what_is_not_there(server: ServerUnderTest) -> None:
    reply = server.http("GET", "/v1/models/nope/metadata")
    assert refused(reply) == "404 Servable not found for request: Latest(nope)"
