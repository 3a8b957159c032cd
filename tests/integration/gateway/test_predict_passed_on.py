"""TensorFlow Serving's REST ``:predict``: the gateway chooses the version, and the rest is the model server's."""

import json
from collections.abc import Callable, Iterator

import pytest
from werkzeug.test import TestResponse

from headway_serving.adapters.model_server.rest import TfServingRest
from headway_serving.core.routing import Arm, Candidate, ModelRoutes, Route
from headway_serving.settings import GatewaySettings
from tests.fakes.scripted_models import ScriptedVersion, scripted_manifest
from tests.integration.gateway.gateway_under_test import GatewayUnderTest, check_error_object, check_problem
from tests.integration.gateway.scripted_rest_server import ScriptedRest, rest_server

PREDICT = "/v1/models/digits:predict"
BODY = b' {"instances": [ [[[1]]] ],\t"signature_name": "x"}\xff'
ROUTES = ModelRoutes(stable=1, candidate=Candidate(2, 0.0), labels={"old": 3})
FALLBACK_CODES = {404: "version_not_found", 500: "prediction_failed", 503: "model_unavailable"}
Start = Callable[..., GatewayUnderTest]


@pytest.fixture
def script() -> Iterator[ScriptedRest]:
    with rest_server() as running:
        yield running


@pytest.fixture
def rest(script: ScriptedRest) -> Iterator[TfServingRest]:
    adapter = TfServingRest(script.url, connections=4)
    yield adapter
    adapter.close()


@pytest.fixture
def passing(start: Start, rest: TfServingRest) -> GatewayUnderTest:
    return start(rest=rest, digits=ROUTES)


def predict(gateway: GatewayUnderTest, path: str = PREDICT, **headers: str) -> TestResponse:
    return gateway.post(path, data=BODY, headers={name.replace("_", "-"): text for name, text in headers.items()})


@pytest.mark.parametrize(
    ("path", "version", "arm", "reason"),
    [
        (PREDICT, 1, "stable", "weight"),
        ("/v1/models/digits/versions/2:predict", 2, "candidate", "version"),
        ("/v1/models/digits/versions/3:predict", 3, "pinned", "version"),
        ("/v1/models/digits/labels/old:predict", 3, "pinned", "label"),
        ("/v1/models/digits/labels/stable:predict", 1, "stable", "label"),
    ],
)
def test_the_body_reaches_the_version_that_the_routes_choose_untouched(
    passing: GatewayUnderTest, script: ScriptedRest, path: str, version: int, arm: str, reason: str
) -> None:
    response = predict(passing, path)
    assert (response.status_code, response.data, response.content_type) == (200, script.body, "application/json")
    assert script.asked == [(f"/v1/models/digits/versions/{version}:predict", BODY)]
    assert response.headers["X-Route-Reason"] == reason
    labels = {"model": "digits", "version": str(version), "arm": arm}
    assert passing.sample("headway_requests_total", **labels, code="ok") == 1
    assert passing.sample("headway_stage_seconds_count", **labels, stage="predict") == 1


def test_a_routing_key_always_meets_the_same_arm(start: Start, rest: TfServingRest, script: ScriptedRest) -> None:
    gateway = start(rest=rest, digits=ModelRoutes(stable=1, candidate=Candidate(2, 0.5)))
    native = {}
    for key in (f"user-{number}" for number in range(12)):
        native[key] = gateway.classify(headers={"X-Routing-Key": key}).get_json()["version"]
        predict(gateway, X_Routing_Key=key)
    met = [int(path.split("/")[5].partition(":")[0]) for path, _ in script.asked]
    assert met == list(native.values())
    assert set(met) == {1, 2}


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "invalid_request"), (404, "version_not_found"), (429, "invalid_request"), (500, "prediction_failed"),
     (503, "model_unavailable"), (504, "deadline_exceeded")],
)  # fmt: skip
def test_an_error_of_the_model_server_is_told_in_its_own_words(
    passing: GatewayUnderTest, script: ScriptedRest, status: int, code: str
) -> None:
    script.status, script.content_type = status, "application/json; charset=utf-8"
    script.body = b'{ "error": "JSON Parse error: Invalid value" }'
    response = predict(passing)
    assert (response.status_code, response.data, response.content_type) == (status, script.body, script.content_type)
    stable = {"model": "digits", "version": "1", "arm": "stable"}
    assert passing.sample("headway_requests_total", **stable, code=code) == 1
    assert passing.sample("headway_requests_total", **stable, code="ok") is None


def test_connections_are_used_again(passing: GatewayUnderTest, script: ScriptedRest) -> None:
    for _ in range(5):
        assert predict(passing).status_code == 200
    assert script.connections == 1


def test_a_model_server_that_is_away_is_tried_again_later(start: Start) -> None:
    with rest_server() as script:
        rest = TfServingRest(script.url, connections=4)
        gateway = start(rest=rest)
        assert predict(gateway).status_code == 200
    response = predict(gateway)
    assert "cannot answer now" in check_error_object(response, 503)
    assert response.headers["Retry-After"] == "1"
    labels = {"model": "digits", "version": "1", "arm": "stable"}
    assert gateway.sample("headway_requests_total", **labels, code="model_unavailable") == 1
    rest.close()


def test_a_model_server_that_hangs_costs_no_more_than_the_requests_time(
    passing: GatewayUnderTest, script: ScriptedRest
) -> None:
    script.hangs = True
    assert "within the request's time" in check_error_object(predict(passing, X_Request_Timeout_Ms="150"), 504)


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch, script: ScriptedRest) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    rest = TfServingRest(script.url, connections=1)
    assert rest.predict(Route("digits", 1, Arm.STABLE, "stable"), b"{}", 5).status == 200
    rest.close()


@pytest.mark.parametrize(
    ("path", "headers", "status", "error"),
    [
        ("/v1/models/letters:predict", {}, 404, "models served: digits"),
        ("/v1/models/digits/versions/9:predict", {}, 404, "no version 9"),
        ("/v1/models/digits/versions/two:predict", {}, 400, "'two' is not a version number"),
        ("/v1/models/digits/labels/new:predict", {}, 404, "no label 'new'"),
        (PREDICT, {"X_Request_Timeout_Ms": "soon"}, 400, "X-Request-Timeout-Ms must be"),
        (PREDICT, {"Content_Encoding": "gzip"}, 415, "Content-Encoding 'gzip' is not read"),
    ],
)
def test_what_cannot_be_routed_is_refused_here(
    passing: GatewayUnderTest, script: ScriptedRest, path: str, headers: dict[str, str], status: int, error: str
) -> None:
    assert error in check_error_object(predict(passing, path, **headers), status)
    assert script.asked == []


def test_a_large_body_is_refused_here(passing: GatewayUnderTest, script: ScriptedRest) -> None:
    assert "more than 200,000 bytes" in check_error_object(passing.post(PREDICT, data=b"x" * 200_001), 413)
    assert script.asked == []


def test_only_post_predicts(passing: GatewayUnderTest) -> None:
    response = passing.get(PREDICT)
    assert "takes OPTIONS, POST" in check_error_object(response, 405)
    assert response.headers["Allow"] == "OPTIONS, POST"


def test_a_gateway_without_a_rest_port_says_what_to_set(gateway: GatewayUnderTest) -> None:
    error = check_error_object(predict(gateway), 501)
    assert "HEADWAY_MODEL_SERVER_REST" in error
    unknown = {"model": "digits", "version": "unknown", "arm": "unknown"}
    assert gateway.sample("headway_requests_total", **unknown, code="pass_through_off") == 1


def on_base() -> ScriptedVersion:
    return ScriptedVersion(json.dumps(json.loads(scripted_manifest().to_json()) | {"form": "on_base"}).encode())


def test_a_head_on_a_base_is_told_the_doors_that_answer_it(passing: GatewayUnderTest, script: ScriptedRest) -> None:
    passing.versions["digits"][1] = on_base()
    error = check_error_object(predict(passing), 400)
    assert "digits version 1 is a head on digits-5to9 version 1, which takes two predictions" in error
    assert "POST /v1/models/digits:classify" in error
    assert script.asked == []


@pytest.mark.parametrize("status", [404, 500, 503])
def test_a_candidate_that_fails_is_replaced_by_stable(
    start: Start, rest: TfServingRest, script: ScriptedRest, status: int
) -> None:
    gateway = start(rest=rest, digits=ModelRoutes(stable=1, candidate=Candidate(2, 1.0)))
    script.status_of["/v1/models/digits/versions/2:predict"] = status
    response = predict(gateway)
    assert (response.status_code, response.data) == (200, script.body)
    assert response.headers["X-Route-Reason"] == "fallback"
    assert [path.split("/")[5] for path, _ in script.asked] == ["2:predict", "1:predict"]
    assert gateway.sample("headway_requests_total", model="digits", version="1", arm="stable", code="ok") == 1
    assert gateway.sample("headway_fallbacks_total", model="digits", version="2", code=FALLBACK_CODES[status]) == 1


def test_a_candidate_that_cannot_be_asked_is_replaced_by_stable(
    start: Start, rest: TfServingRest, script: ScriptedRest
) -> None:
    gateway = start(rest=rest, digits=ModelRoutes(stable=1, candidate=Candidate(2, 1.0)))
    gateway.versions["digits"][2] = on_base()
    assert predict(gateway).headers["X-Route-Reason"] == "fallback"


def test_a_candidates_refusal_of_a_bad_body_is_the_answer(
    start: Start, rest: TfServingRest, script: ScriptedRest
) -> None:
    gateway = start(rest=rest, digits=ModelRoutes(stable=1, candidate=Candidate(2, 1.0)))
    script.status = 400
    response = predict(gateway)
    assert (response.status_code, response.headers["X-Route-Reason"]) == (400, "weight")
    assert len(script.asked) == 1


def test_each_request_leaves_one_line(start: Start, rest: TfServingRest, caplog: pytest.LogCaptureFixture) -> None:
    gateway = start(settings=GatewaySettings(access_log=True), rest=rest)
    with caplog.at_level("INFO", "headway.access"):
        predict(gateway, X_Request_Id="abc-1")
    (record,) = caplog.records
    line = json.loads(record.getMessage())
    assert (line["request_id"], line["model"], line["version"], line["code"], line["status"]) == (
        "abc-1", "digits", 1, "ok", 200,
    )  # fmt: skip


def _each_row(body: bytes) -> bytes:
    """As a model would that answers each row with itself."""
    document = json.loads(body)
    if "instances" in document:
        return json.dumps({"predictions": document["instances"]}).encode()
    return json.dumps({"outputs": document["inputs"]}).encode()


MANY: dict[str, tuple[dict[str, object], str]] = {
    "numbers": ({"instances": list(range(100))}, "predictions"),
    "pictures": ({"instances": [[[number, 1], [2, 3]] for number in range(100)]}, "predictions"),
    "by name": ({"instances": [{"a": [number], "b": "]},"} for number in range(100)]}, "predictions"),
    "columns": ({"inputs": {"a": list(range(100)), "b": [[number] for number in range(100)]}}, "outputs"),
    "one column": ({"inputs": [[number] for number in range(100)]}, "outputs"),
}


@pytest.mark.parametrize(("sent", "key"), MANY.values(), ids=MANY)
def test_many_rows_are_sent_on_in_batches_and_their_answers_joined(
    passing: GatewayUnderTest, script: ScriptedRest, sent: dict[str, object], key: str
) -> None:
    script.answer = _each_row
    response = passing.post(PREDICT, json={"signature_name": "x", **sent})
    assert response.status_code == 200, response.text
    assert response.json == {key: next(iter(sent.values()))}
    bodies = [json.loads(body) for _, body in script.asked]
    assert len(bodies) == 4
    assert {body["signature_name"] for body in bodies} == {"x"}


def test_rows_are_bounded(start: Start, rest: TfServingRest, script: ScriptedRest) -> None:
    gateway = start(GatewaySettings(max_rows=99), rest=rest)
    response = gateway.post(PREDICT, json={"instances": [""] * 100})
    check_error_object(response, 413)
    assert "100 rows; at most 99" in response.text
    assert script.asked == []


def test_answers_that_multiply_are_bounded(start: Start, script: ScriptedRest) -> None:
    """40,000 empty texts to a signature that answers each with kilobytes: 350 MB."""
    script.answer = lambda body: json.dumps({"predictions": ["x" * 9000] * len(json.loads(body)["instances"])}).encode()
    adapter = TfServingRest(script.url, connections=4, max_answer_bytes=1_000_000)
    gateway = start(GatewaySettings(max_answer_bytes=1_000_000), rest=adapter)
    response = gateway.post(PREDICT, json={"instances": [""] * 4000})
    check_error_object(response, 413)
    assert "more than 1,000,000 bytes; send fewer rows" in response.text
    # Not even the model server makes all of it.
    assert len(script.asked) == 4
    response = gateway.post(PREDICT, data=b'{"instances": [' + b'""' + b"]}")
    assert response.status_code == 200
    script.answer = lambda _: b"x" * 1_000_001
    check_error_object(gateway.post(PREDICT, data=BODY), 413)
    adapter.close()


def test_a_part_that_fails_is_the_answer(passing: GatewayUnderTest, script: ScriptedRest) -> None:
    script.status, script.body = 400, b'{"error": "no"}'
    response = passing.post(PREDICT, json={"instances": list(range(100))})
    assert (response.status_code, response.data) == (400, script.body)
    assert len(script.asked) == 1


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/models/digits/metadata", "/v1/models/digits/versions/1/metadata"),
        ("/v1/models/digits/versions/2/metadata", "/v1/models/digits/versions/2/metadata"),
        ("/v1/models/digits/labels/old/metadata", "/v1/models/digits/versions/3/metadata"),
        ("/v1/models/digits/versions/2", "/v1/models/digits/versions/2"),
        ("/v1/models/digits/labels/old", "/v1/models/digits/versions/3"),
    ],
)
def test_metadata_and_version_status_are_the_model_servers(
    passing: GatewayUnderTest, script: ScriptedRest, path: str, asked: str
) -> None:
    script.body = b'{"model_spec": {}}'
    response = passing.get(path)
    assert (response.status_code, response.data) == (200, script.body)
    assert script.asked == [(asked, b"")]
    script.status = 404
    assert passing.get(path).status_code == 404


def test_metadata_without_a_rest_port_says_so(start: Start) -> None:
    check_problem(start().get("/v1/models/digits/metadata"), 501, "pass_through_off")
