"""The Open Inference Protocol over the gateway: its documents word for word, and the native API's rules behind them."""

import base64
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from headway_serving.core.routing import Candidate, ModelRoutes
from headway_serving.settings import GatewaySettings
from tests.fakes.scripted_models import Fault, ScriptedVersion, scripted_manifest, scripted_version
from tests.golden.golden_set import CASES
from tests.integration.gateway.gateway_under_test import (
    GatewayUnderTest,
    as_body,
    check_error_object,
    picture,
)
from tests.integration.gateway.test_gateway_fuzz import mutated

INFER = "/v2/models/digits/infer"
NINE_TENTHS = float(np.float32(0.9))
ONE_FORTIETH = float(np.float32(0.025))
Start = Callable[..., GatewayUnderTest]
Gateway = GatewayUnderTest


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def pictures_input(*pictures: bytes) -> dict[str, Any]:
    return {"name": "images", "datatype": "BYTES", "shape": [len(pictures)], "data": [b64(each) for each in pictures]}


def pixels_input(*digits: int) -> dict[str, Any]:
    values = [[[[digit]] * 28] * 28 for digit in digits]
    return {"name": "images", "datatype": "UINT8", "shape": [len(digits), 28, 28, 1], "data": values}


def infer(
    gateway: Gateway, tensor: dict[str, Any], path: str = INFER, headers: Any = None, **more: Any
) -> TestResponse:
    return gateway.post(path, json={"inputs": [tensor], **more}, headers=headers)


def digits_input(*digits: int) -> dict[str, Any]:
    return pictures_input(*map(picture, digits))


def scores_of(*digits: int) -> list[float]:
    return [NINE_TENTHS if index == digit else ONE_FORTIETH for digit in digits for index in range(5)]


@pytest.mark.parametrize("tensor", [digits_input(3), pixels_input(3)], ids=["picture", "pixels"])
def test_the_answer_is_exactly_the_documented_one(gateway: Gateway, tensor: dict[str, Any]) -> None:
    response = infer(gateway, tensor, id="42")
    assert (response.status_code, response.mimetype) == (200, "application/json"), response.text
    assert json.loads(response.data) == {
        "model_name": "digits",
        "model_version": "1",
        "id": "42",
        "parameters": {"arm": "stable"},
        "outputs": [{"name": "scores", "datatype": "FP32", "shape": [1, 5], "data": scores_of(3)}],
    }


@pytest.mark.parametrize("make", [digits_input, pixels_input], ids=["pictures", "pixels"])
def test_several_are_answered_in_order_by_one_predict(gateway: Gateway, make: Callable[..., dict[str, Any]]) -> None:
    (output,) = infer(gateway, make(4, 0, 1)).get_json()["outputs"]
    assert (output["shape"], output["data"]) == ([3, 5], scores_of(4, 0, 1))
    assert len(gateway.server.predicted) == 1


def test_classes_are_told_when_asked_for(gateway: Gateway) -> None:
    outputs = [{"name": "scores", "parameters": {"classification": 2}}]
    (output,) = infer(gateway, digits_input(3, 1), outputs=outputs).get_json()["outputs"]
    assert output == {
        "name": "scores", "datatype": "BYTES", "shape": [2, 2],
        "data": ["0.9:3:3", "0.025:0:0", "0.9:1:1", "0.025:0:0"],
    }  # fmt: skip


def test_binary_data_comes_and_goes_behind_the_json(gateway: Gateway) -> None:
    pixels = np.full((2, 28, 28, 1), 4, np.uint8)
    tensor = {"name": "images", "datatype": "UINT8", "shape": [2, 28, 28, 1],
              "parameters": {"binary_data_size": pixels.nbytes}}  # fmt: skip
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    length = {"Inference-Header-Content-Length": str(len(head))}
    response = gateway.post(INFER, data=head + pixels.tobytes(), headers=length)
    assert (response.status_code, response.mimetype) == (200, "application/octet-stream"), response.text
    split = int(response.headers["Inference-Header-Content-Length"])
    (output,) = json.loads(response.data[:split])["outputs"]
    assert output == {"name": "scores", "datatype": "FP32", "shape": [2, 5], "parameters": {"binary_data_size": 40}}
    np.testing.assert_array_equal(np.frombuffer(response.data[split:], "<f4"), np.array(scores_of(4, 4), np.float32))


def test_an_id_of_any_letters_comes_back(gateway: Gateway) -> None:
    half_of_a_pair = '\ud800 \U0001f994 "'
    assert infer(gateway, pixels_input(1), id=half_of_a_pair).get_json()["id"] == half_of_a_pair


@pytest.mark.parametrize("name", sorted({case.path.name for case in CASES}))
def test_a_picture_gives_the_pixels_that_the_native_api_makes_of_it(start: Start, name: str) -> None:
    gateway = start(settings=GatewaySettings())
    data = next(case.path for case in CASES if case.path.name == name).read_bytes()
    native = gateway.post(**as_body(data))
    answer = infer(gateway, pictures_input(data))
    assert answer.status_code == native.status_code == 200
    (_, first), (_, second) = gateway.server.predicted
    np.testing.assert_array_equal(first, second)


HALF_AND_HALF = ModelRoutes(stable=1, candidate=Candidate(2, 0.5), labels={"old": 3})


def test_a_routing_key_meets_the_arm_that_it_meets_natively(start: Start) -> None:
    gateway = start(digits=HALF_AND_HALF)
    met = set()
    for key in (f"user-{number}" for number in range(12)):
        native = gateway.classify(headers={"X-Routing-Key": key})
        answer = infer(gateway, digits_input(1), headers={"X-Routing-Key": key, "X-Request-Id": "abc-1"})
        body = answer.get_json()
        assert body["model_version"] == str(native.get_json()["version"])
        assert body["parameters"] == {name: native.get_json()[name] for name in ("arm", "key_position")}
        assert answer.headers["X-Route-Reason"] == native.headers["X-Route-Reason"] == "weight"
        assert answer.headers["X-Request-Id"] == "abc-1"
        met.add(body["parameters"]["arm"])
    assert met == {"stable", "candidate"}


def test_a_version_in_the_path_answers(start: Start) -> None:
    gateway = start(digits=HALF_AND_HALF)
    answer = infer(gateway, pixels_input(1), "/v2/models/digits/versions/3/infer")
    assert (answer.get_json()["model_version"], answer.get_json()["parameters"]) == ("3", {"arm": "pinned"})
    assert answer.headers["X-Route-Reason"] == "version"


def test_server_timing_tells_every_stage(gateway: Gateway) -> None:
    timing = infer(gateway, digits_input(1)).headers["Server-Timing"]
    stages = [entry.partition(";")[0] for entry in timing.split(", ")]
    assert stages == ["read", "queue", "manifest", "decode", "preprocess", "predict", "batch", "rank"]


def test_requests_are_counted_with_the_native_ones(gateway: Gateway) -> None:
    gateway.classify()
    infer(gateway, digits_input(1, 2))
    infer(gateway, pixels_input(1, 2, 3))
    infer(gateway, pictures_input(b"text"))
    stable = {"model": "digits", "version": "1", "arm": "stable"}
    assert gateway.sample("headway_requests_total", **stable, code="ok") == 3
    assert gateway.sample("headway_images_total", **stable) == 6
    unknown = {"model": "digits", "version": "unknown", "arm": "unknown"}
    assert gateway.sample("headway_requests_total", **unknown, code="unsupported_image") == 1


def test_each_request_leaves_one_line(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    gateway = start(settings=GatewaySettings(access_log=True))
    with caplog.at_level("INFO", "headway.access"):
        infer(gateway, pixels_input(1), headers={"X-Request-Id": "abc"})
    (record,) = caplog.records
    line = json.loads(record.getMessage())
    assert (line["request_id"], line["version"], line["code"], line["status"]) == ("abc", 1, "ok", 200)


def test_the_model_server_gets_no_more_time_than_the_request(gateway: Gateway) -> None:
    infer(gateway, pixels_input(1), headers={"X-Request-Timeout-Ms": "1500"})
    assert gateway.server.timeouts
    assert all(0 < timeout <= 1.5 for timeout in gateway.server.timeouts)


GOOD = digits_input(3)
BAD: dict[str, tuple[Any, int, str]] = {
    "no JSON": (b"images", 400, "the body is not JSON"),
    "nothing": (b"", 400, "the body is not JSON"),
    "deep JSON": (b"[" * 100_000, 400, "the body is not JSON"),
    "list": ([], 400, 'must be an object with "inputs"'),
    "no inputs": ({}, 400, "inputs must be a list of one tensor"),
    "two inputs": ({"inputs": [GOOD, GOOD]}, 400, "inputs must be a list of one tensor"),
    "other name": ({"inputs": [{**GOOD, "name": "x"}]}, 400, "the input's name must be 'images'"),
    "no datatype": ({"inputs": [{**GOOD, "datatype": None}]}, 400, "datatype must be a text"),
    "shape of texts": ({"inputs": [{**GOOD, "shape": ["1"]}]}, 400, "shape must be a list of at most 8"),
    "negative shape": ({"inputs": [{**GOOD, "shape": [-1]}]}, 400, "shape must be a list of at most 8"),
    "endless shape": ({"inputs": [{**GOOD, "shape": [0] * 1000}]}, 400, "shape must be a list of at most 8"),
    "no data": ({"inputs": [{"name": "images", "datatype": "BYTES", "shape": [1]}]}, 400, "the input needs data or"),
    "id of numbers": ({"id": 7, "inputs": [GOOD]}, 400, "id must be a text"),
    "binary size without bytes": (
        {"inputs": [{**GOOD, "parameters": {"binary_data_size": 10}}]}, 400, "the bytes that follow the JSON, 0",
    ),
    "shared memory": ({"inputs": [{**GOOD, "parameters": {"shared_memory_region": "x"}}]}, 400, "shared memory is not"),
    "other output": ({"inputs": [GOOD], "outputs": [{"name": "x"}]}, 400, "the output's name must be 'scores'"),
    "no class": (
        {"inputs": [GOOD], "outputs": [{"name": "scores", "parameters": {"classification": 0}}]}, 400, "1 or more",
    ),
    "binary that is no flag": (
        {"inputs": [GOOD], "parameters": {"binary_data_output": 1}}, 400, "binary_data_output must be true or false",
    ),
    "other geometry": (
        {"inputs": [{"name": "images", "datatype": "UINT8", "shape": [1, 2, 1, 1], "data": [1, 2]}]}, 400,
        "shape [1, 2, 1, 1]; digits takes [N, 28, 28, 1]",
    ),
    "text as a picture": ({"inputs": [pictures_input(b"text")]}, 415, "not a picture in an accepted format"),
    "damaged picture": ({"inputs": [pictures_input(picture(1)[:20])]}, 422, "picture"),
    "large picture": ({"inputs": [pictures_input(b"x" * 50_001)]}, 413, "50,001 bytes; at most 50,000"),
    "many pixels": ({"inputs": [pictures_input(picture(1, side=101))]}, 413, "101 x 101"),
    "many pictures": ({"inputs": [pictures_input(*[picture(1)] * 4)]}, 413, "4 pictures were sent; at most 3"),
    "empty picture": ({"inputs": [pictures_input(b"")]}, 400, "image 0 (counted from 0) is empty"),
    "large body": (b"x" * 200_001, 413, "more than 200,000 bytes"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "status", "error"), BAD.values(), ids=BAD)
def test_a_bad_body_is_refused_with_the_reason(gateway: Gateway, body: Any, status: int, error: str) -> None:
    response = gateway.post(INFER, data=body if isinstance(body, bytes) else json.dumps(body))
    assert error in check_error_object(response, status)
    assert gateway.server.predicted == []


def test_one_bad_picture_refuses_the_request_and_is_named(gateway: Gateway) -> None:
    response = infer(gateway, pictures_input(picture(1), b"text", picture(2)))
    assert "image 1 of 3 (counted from 0): the bytes are not a picture" in check_error_object(response, 415)
    stable = {"model": "digits", "version": "1", "arm": "stable"}
    assert gateway.sample("headway_images_total", **stable) is None
    assert gateway.sample("headway_bad_pictures_total", code="unsupported_image") == 1


def test_a_head_on_a_base_answers_through_its_base(gateway: Gateway) -> None:
    manifest = json.loads(scripted_manifest().to_json()) | {"form": "on_base"}
    gateway.versions["digits"][1] = ScriptedVersion(json.dumps(manifest).encode())
    gateway.server.models = {**gateway.versions, "digits-5to9": {1: scripted_version()}}
    for tensor in (digits_input(3, 1), pixels_input(3, 1)):
        (output,) = infer(gateway, tensor).get_json()["outputs"]
        assert output["data"] == scores_of(3, 1)
    assert [route.model for route, _ in gateway.server.predicted] == ["digits-5to9", "digits"] * 2


def test_a_candidate_that_fails_is_replaced_by_stable(start: Start) -> None:
    gateway = start(digits=ModelRoutes(stable=1, candidate=Candidate(2, 1.0)))
    gateway.versions["digits"][2] = scripted_version(fault=Fault.REFUSES)
    answer = infer(gateway, digits_input(3))
    assert (answer.get_json()["model_version"], answer.get_json()["parameters"]) == ("1", {"arm": "stable"})
    assert answer.headers["X-Route-Reason"] == "fallback"


def test_beyond_what_can_be_answered_one_is_told_when_to_come_back(start: Start) -> None:
    gateway = start(settings=GatewaySettings(max_in_flight=1))
    asked: list[TestResponse] = []
    answer = gateway.server.predict

    def ask_meanwhile(*call: Any) -> Any:
        asked.append(infer(gateway, digits_input(1), headers={"X-Request-Timeout-Ms": "50"}))
        return answer(*call)

    gateway.server.predict = ask_meanwhile  # type: ignore[method-assign, assignment]
    assert infer(gateway, digits_input(1)).status_code == 200
    assert "as many as can be in good time" in check_error_object(asked[0], 503)
    assert int(asked[0].headers["Retry-After"]) >= 1


@pytest.mark.parametrize("length", ["", "-1", "x", "1.5", "9" * 30, "100000", "\u0663"])
def test_a_bad_length_of_the_json_is_refused(gateway: Gateway, length: str) -> None:
    header = {"HTTP_INFERENCE_HEADER_CONTENT_LENGTH": length.encode().decode("latin-1")}
    response = gateway.post(INFER, json={"inputs": [GOOD]}, environ_overrides=header)
    assert "Inference-Header-Content-Length must be" in check_error_object(response, 400)


def test_bytes_that_belong_to_no_tensor_are_refused(gateway: Gateway) -> None:
    head = json.dumps({"inputs": [GOOD]}).encode()
    response = gateway.post(INFER, data=head + b"12345", headers={"Inference-Header-Content-Length": str(len(head))})
    assert "5 bytes follow the JSON" in check_error_object(response, 400)


def test_a_compressed_body_is_refused(gateway: Gateway) -> None:
    response = infer(gateway, GOOD, headers={"Content-Encoding": "gzip"})
    assert "Content-Encoding 'gzip' is not read" in check_error_object(response, 415)


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/v2/models/letters/infer", 404, "models served: digits"),
        ("/v2/models/digits/versions/9/infer", 404, "no version 9"),
        ("/v2/models/digits/versions/two/infer", 400, "'two' is not a version number"),
        ("/v2/models/digits/predict", 404, "nothing is at /v2/models/digits/predict"),
        ("/v2/models/digits", 405, "takes GET, HEAD, OPTIONS"),
    ],
)
def test_a_bad_path_is_refused(gateway: Gateway, path: str, status: int, error: str) -> None:
    assert error in check_error_object(infer(gateway, GOOD, path), status)


def test_while_the_model_server_is_away_one_is_told_when_to_come_back(gateway: Gateway) -> None:
    gateway.server.away = True
    response = infer(gateway, GOOD)
    assert "cannot answer now" in check_error_object(response, 503)
    assert response.headers["Retry-After"] == "1"


def test_an_error_of_our_own_tells_nothing(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: object) -> None:
        raise RuntimeError("the secret of /etc/passwd")

    monkeypatch.setattr(gateway.server, "predict", explode)
    monkeypatch.setattr(gateway.server, "version_states", explode)
    assert check_error_object(infer(gateway, GOOD), 500) == "the error was logged under this request_id"
    assert check_error_object(gateway.get("/v2/models/digits"), 500) == "the error was logged under this request_id"


def test_the_server_and_its_models_describe_themselves(gateway: Gateway) -> None:
    server = gateway.get("/v2").get_json()
    assert (server["name"], server["extensions"]) == ("headway", ["binary_tensor_data", "classification"])
    described = {
        "name": "digits",
        "versions": ["1", "2", "3"],
        "platform": "tensorflow_savedmodel",
        "inputs": [{"name": "images", "datatype": "UINT8", "shape": [-1, 28, 28, 1]}],
        "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 5]}],
    }
    assert gateway.get("/v2/models/digits").get_json() == described
    gateway.versions["digits"][2] = scripted_version(labels=("a", "b"))
    second = gateway.get("/v2/models/digits/versions/2").get_json()
    assert second["outputs"] == [{"name": "scores", "datatype": "FP32", "shape": [-1, 2]}]
    check_error_object(gateway.get("/v2/models/letters"), 404)
    check_error_object(gateway.get("/v2/models/digits/versions/9"), 404)
    gateway.server.away = True
    check_error_object(gateway.get("/v2/models/digits"), 503)


def test_health_and_readiness_are_told(gateway: Gateway) -> None:
    assert gateway.get("/v2/health/live").get_json() == {"live": True}
    assert gateway.get("/v2/health/ready").get_json() == {"ready": True}
    assert gateway.get("/v2/models/digits/ready").get_json() == {"name": "digits", "ready": True}
    assert gateway.get("/v2/models/digits/versions/2/ready").get_json() == {"name": "digits", "ready": True}
    check_error_object(gateway.get("/v2/models/letters/ready"), 404)


def test_what_is_not_ready_says_why(gateway: Gateway) -> None:
    gateway.versions["digits"][1] = scripted_version(state="LOADING")
    for path, reason in {
        "/v2/health/ready": {"ready": False, "error": "digits: version 1 is LOADING"},
        "/v2/models/digits/ready": {"name": "digits", "ready": False, "error": "version 1 is LOADING"},
        "/v2/models/digits/versions/9/ready": {"name": "digits", "ready": False, "error": "version 9 is not loaded"},
    }.items():
        response = gateway.get(path)
        assert (response.status_code, response.get_json()) == (503, reason)
        assert response.headers["Retry-After"] == "1"
    assert gateway.get("/v2/models/digits/versions/2/ready").status_code == 200
    assert gateway.get("/v2/health/live").status_code == 200


def bodies() -> list[tuple[dict[str, str], bytes]]:
    """Good requests of every form: headers and body."""
    pixels = np.full((2, 28, 28, 1), 4, np.uint8).tobytes()
    tensor = {"name": "images", "datatype": "UINT8", "shape": [2, 28, 28, 1], "parameters": {"binary_data_size": 1568}}
    outputs = [{"name": "scores", "parameters": {"classification": 2, "binary_data": True}}]
    head = json.dumps({"id": "1", "inputs": [tensor], "outputs": outputs}).encode()
    plain = [{"inputs": [digits_input(1, 2)]}, {"inputs": [pixels_input(1)], "outputs": outputs}]
    binary = ({"Inference-Header-Content-Length": str(len(head))}, head + pixels)
    return [binary, *(({}, json.dumps(document).encode()) for document in plain)]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_mutated_bodies_are_answered_or_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    gateway = GatewayUnderTest(tmp_path_factory.mktemp("fuzz") / "routes.json", None, {})

    @settings(deadline=None, max_examples=400)
    @given(st.data(), st.sampled_from(bodies()))
    def check(data: st.DataObject, good: tuple[dict[str, str], bytes]) -> None:
        headers, body = good
        response = gateway.post(INFER, data=data.draw(mutated(body)), headers=headers)
        assert response.status_code == 200 or 400 <= response.status_code < 500, response.text
        if response.status_code >= 400:
            check_error_object(response, response.status_code)

    check()


def test_an_answer_larger_than_is_passed_on_is_refused(start: Start) -> None:
    gateway = start(GatewaySettings(max_answer_bytes=1024))
    assert infer(gateway, digits_input(3)).status_code == 200
    response = infer(gateway, digits_input(*[3] * 20))
    check_error_object(response, 413)
    assert "more than 1,024 bytes; send fewer pictures" in response.text


def test_pictures_may_be_data_urls_and_wrapped_in_lines(gateway: Gateway) -> None:
    tensor = pictures_input(picture(3), picture(3))
    tensor["data"][0] = f"data:image/png;base64,{tensor['data'][0]}"
    tensor["data"][1] = base64.encodebytes(picture(3)).decode()
    response = infer(gateway, tensor)
    assert response.status_code == 200, response.text
    assert json.loads(response.data)["outputs"][0]["data"] == scores_of(3, 3)
