"""Good requests: every form of body, every query and header of the HTTP contract, and the exact answer."""

import base64
import json
import re
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from headway_client import Client
from headway_client.errors import InvalidRequest, NotFound
from headway_serving.core.routing import Candidate, ModelRoutes, position
from headway_serving.settings import GatewaySettings
from tests.fakes.scripted_models import familiar_version, scripted_version
from tests.integration.gateway.gateway_under_test import (
    CLASSIFY,
    GatewayUnderTest,
    as_body,
    as_json,
    as_parts,
    picture,
    top_labels,
)

NINE_TENTHS = float(np.float32(0.9))
ONE_FORTIETH = float(np.float32(0.025))
HALF_AND_HALF = ModelRoutes(stable=1, candidate=Candidate(2, 0.5), labels={"old": 3})


def test_the_answer_is_exactly_the_documented_one(gateway: GatewayUnderTest) -> None:
    response = gateway.classify(3, headers={"X-Request-Id": "abc-1"})
    assert response.mimetype == "application/json"
    rest = [{"label": label, "score": ONE_FORTIETH} for label in "0124"]
    assert json.loads(response.data) == {
        "model": "digits",
        "version": 1,
        "arm": "stable",
        "label": "3",
        "score": NINE_TENTHS,
        "results": [{"index": 0, "predictions": [{"label": "3", "score": NINE_TENTHS}, *rest]}],
        "request_id": "abc-1",
    }


@pytest.mark.parametrize(
    "form",
    [
        as_body(picture(2)),
        as_body(picture(2), "application/octet-stream"),
        as_body(picture(2), "image/jpeg; charset=x"),
        as_parts(picture(2)),
        as_json(picture(2)),
        {"data": json.dumps(as_json(picture(2))["json"]), "content_type": "application/json; charset=utf-8"},
        {"json": {"images": [{"b64": f"data:image/png;base64,{base64.b64encode(picture(2)).decode()}"}]}},
        {"json": {"images": [{"b64": base64.encodebytes(picture(2) * 2).decode()}]}},
        {"data": picture(2)},
        as_body(picture(2), "application/x-www-form-urlencoded"),
        as_body(picture(2), "text/plain"),
        as_body(picture(2), "*/*"),
        {"data": json.dumps(as_json(picture(2))["json"]), "content_type": "application/x-www-form-urlencoded"},
    ],
    ids=[
        *("image", "octets", "wrong image type", "parts", "json", "json with charset", "data URL", "base64 in lines"),
        *("no type", "curl --data-binary", "text", "anything", "json by curl --data"),
    ],
)
def test_every_form_of_body_is_read(gateway: GatewayUnderTest, form: dict[str, Any]) -> None:
    assert top_labels(gateway.post(**form)) == ["2"]


@pytest.mark.parametrize("form", [as_parts, as_json])
def test_several_pictures_are_answered_in_order_by_one_predict(
    gateway: GatewayUnderTest, form: Callable[..., dict[str, Any]]
) -> None:
    response = gateway.post(**form(picture(4), picture(0), picture(1)))
    assert top_labels(response) == ["4", "0", "1"]
    assert [result["index"] for result in response.get_json()["results"]] == [0, 1, 2]
    assert len(gateway.server.predicted) == 1


def test_other_parts_of_a_form_do_not_matter(gateway: GatewayUnderTest) -> None:
    form = as_parts(picture(1))
    form["data"]["comment"] = "a nice one"
    assert top_labels(gateway.post(**form)) == ["1"]


@pytest.mark.parametrize("name", ["image", "images", "file", "files"])
def test_a_part_is_a_picture_with_or_without_a_file_name(gateway: GatewayUnderTest, name: str) -> None:
    """As JavaScript's FormData, curl -F and hand-written clients name them."""
    lines = [
        (f'form-data; name="{name}"', picture(2)),
        ('form-data; name="image"; filename="3.png"', picture(3)),
        ('form-data; name="comment"', b"a nice one"),
        ('form-data; name="image"; filename=""', b""),
        (f'form-data; name="{name}"; filename="4.png"', picture(4)),
    ]
    parts = [b"--b\r\nContent-Disposition: %b\r\n\r\n%b\r\n" % (line.encode(), data) for line, data in lines]
    response = gateway.post(data=b"".join(parts) + b"--b--\r\n", content_type="multipart/form-data; boundary=b")
    assert top_labels(response) == ["2", "3", "4"]


@pytest.mark.parametrize("form", [as_parts, as_json])
def test_an_empty_picture_among_others_has_a_problem_of_its_own(
    gateway: GatewayUnderTest, form: Callable[..., dict[str, Any]]
) -> None:
    response = gateway.post(**form(picture(4), b"", picture(1)))
    first, empty, last = response.get_json()["results"]
    assert (first["predictions"][0]["label"], last["predictions"][0]["label"]) == ("4", "1")
    assert (empty["index"], empty["problem"]["code"]) == (1, "invalid_image")
    assert empty["problem"]["detail"] == "the picture is empty: 0 bytes were sent"


@pytest.fixture
def familiar(gateway: GatewayUnderTest) -> GatewayUnderTest:
    """A gateway of versions that say how familiar a picture is: 1 would rather answer from 0.5 on, 2 from 0.95."""
    gateway.versions["digits"].update({1: familiar_version(0.5), 2: familiar_version(0.95)})
    return gateway


def test_each_result_says_how_familiar_its_picture_is(familiar: GatewayUnderTest) -> None:
    answer = familiar.post(CLASSIFY, **as_parts(picture(3), picture(1), b"no picture")).get_json()
    assert [result.get("familiarity") for result in answer["results"]] == [0.3, 0.1, None]
    assert [len(result.get("predictions", ())) for result in answer["results"]] == [5, 5, 0]
    assert "label" not in answer


def test_a_version_that_is_not_sure_enough_for_itself_abstains(familiar: GatewayUnderTest) -> None:
    sure = familiar.classify(3, query_string={"min_confidence": "model"}).get_json()
    assert (sure["label"], sure["results"][0]["abstained"]) == ("3", False)
    path = "/v1/models/digits/versions/2:classify"
    unsure = familiar.classify(3, path, query_string={"min_confidence": "model"}).get_json()
    assert (unsure["label"], unsure["score"]) == (None, None)
    assert unsure["results"] == [{"index": 0, "predictions": [], "familiarity": 0.3, "abstained": True}]


def test_a_version_without_a_threshold_never_abstains(gateway: GatewayUnderTest) -> None:
    answer = gateway.classify(3, query_string={"min_confidence": "model"}).get_json()
    assert answer["label"] == "3"
    assert answer["results"][0]["abstained"] is False
    assert "familiarity" not in answer["results"][0]


def test_a_model_says_its_own_thresholds(familiar: GatewayUnderTest) -> None:
    model = familiar.get("/v1/models/digits").get_json()
    assert model["abstention"] == {"threshold": 0.5, "coverage": 0.9, "risk": 0.02, "bound": 0.03}
    assert model["familiarity"] == {"threshold": 0.05}


@pytest.mark.parametrize(("top_k", "shown"), [("1", 1), ("3", 3), ("5", 5), ("100", 5), ("9" * 30, 5)])
def test_top_k_is_capped_at_the_number_of_classes(gateway: GatewayUnderTest, top_k: str, shown: int) -> None:
    response = gateway.classify(3, query_string={"top_k": top_k})
    assert len(response.get_json()["results"][0]["predictions"]) == shown


@pytest.mark.parametrize(("least", "shown"), [("0", 5), ("0.02", 5), ("0.5", 1), ("0.9", 1), ("1", 0), ("1e-1", 1)])
def test_min_confidence_leaves_out_what_is_below(gateway: GatewayUnderTest, least: str, shown: int) -> None:
    response = gateway.classify(3, query_string={"min_confidence": least})
    assert len(response.get_json()["results"][0]["predictions"]) == shown


@pytest.mark.parametrize(
    ("path", "version", "arm", "reason"),
    [
        ("/v1/models/digits/versions/1:classify", 1, "stable", "version"),
        ("/v1/models/digits/versions/2:classify", 2, "candidate", "version"),
        ("/v1/models/digits/versions/3:classify", 3, "pinned", "version"),
        ("/v1/models/digits/labels/stable:classify", 1, "stable", "label"),
        ("/v1/models/digits/labels/candidate:classify", 2, "candidate", "label"),
        ("/v1/models/digits/labels/old:classify", 3, "pinned", "label"),
        ("/v1/models/digits%3Aclassify", 1, "stable", "weight"),
    ],
)
def test_a_path_pins_who_answers(
    start: Callable[..., GatewayUnderTest], path: str, version: int, arm: str, reason: str
) -> None:
    gateway = start(digits=ModelRoutes(stable=1, candidate=Candidate(2, 0.0), labels={"old": 3}))
    response = gateway.classify(path=path)
    assert (response.get_json()["version"], response.get_json()["arm"]) == (version, arm)
    assert response.headers["X-Route-Reason"] == reason
    assert gateway.server.predicted[-1][0].version == version


def test_without_a_candidate_the_reason_is_stable(gateway: GatewayUnderTest) -> None:
    assert gateway.classify().headers["X-Route-Reason"] == "stable"


def test_a_routing_key_always_meets_the_same_arm(start: Callable[..., GatewayUnderTest]) -> None:
    gateway = start(digits=HALF_AND_HALF)
    arms = {}
    for key in (f"user-{number}" for number in range(12)):
        answers = [gateway.classify(headers={"X-Routing-Key": key}) for _ in range(3)]
        assert {answer.headers["X-Route-Reason"] for answer in answers} == {"weight"}
        (arms[key],) = {answer.get_json()["arm"] for answer in answers}
    assert set(arms.values()) == {"stable", "candidate"}


def test_without_a_routing_key_the_requests_spread(start: Callable[..., GatewayUnderTest]) -> None:
    gateway = start(digits=HALF_AND_HALF)
    assert {gateway.classify().get_json()["arm"] for _ in range(60)} == {"stable", "candidate"}


def test_without_a_routing_key_the_id_of_the_request_decides(start: Callable[..., GatewayUnderTest]) -> None:
    gateway = start(digits=HALF_AND_HALF)
    for wanted in (f"request-{number}" for number in range(20)):
        answer = gateway.classify(headers={"X-Request-Id": wanted}).get_json()
        assert answer["arm"] == ("candidate" if position("digits", "", wanted) < 0.5 else "stable")


@pytest.mark.parametrize("wanted", ["abc", "A-z_0.9:x", "x" * 128])
def test_a_harmless_request_id_is_kept(gateway: GatewayUnderTest, wanted: str) -> None:
    response = gateway.classify(headers={"X-Request-Id": wanted})
    assert response.headers["X-Request-Id"] == response.get_json()["request_id"] == wanted


@pytest.mark.parametrize(
    "wanted", ["", "a\nX-Evil: 1", "a\n", "x" * 200, 'say "hi"', "a b", "ünsafe", "<script>"], ids=repr
)
def test_an_unsafe_request_id_is_replaced(gateway: GatewayUnderTest, wanted: str) -> None:
    response = gateway.classify(environ_overrides={"HTTP_X_REQUEST_ID": wanted})
    assert re.fullmatch("[0-9a-f]{32}", response.headers["X-Request-Id"])
    assert response.headers["X-Request-Id"] == response.get_json()["request_id"]


def test_each_request_without_an_id_gets_its_own(gateway: GatewayUnderTest) -> None:
    assert len({gateway.classify().get_json()["request_id"] for _ in range(5)}) == 5


def test_server_timing_tells_every_stage_in_milliseconds(gateway: GatewayUnderTest) -> None:
    entries = gateway.classify().headers["Server-Timing"].split(", ")
    stages = [re.fullmatch(r"(\w+);dur=(\d+\.\d{3})", entry) for entry in entries]
    assert all(stages)
    names = [stage.group(1) for stage in stages if stage]
    assert names == ["read", "queue", "manifest", "decode", "preprocess", "predict", "batch", "rank"]


def test_the_model_server_gets_no_more_time_than_the_request(gateway: GatewayUnderTest) -> None:
    gateway.classify(headers={"X-Request-Timeout-Ms": "1500"})
    assert gateway.server.timeouts
    assert all(0 < timeout <= 1.5 for timeout in gateway.server.timeouts)


def test_a_request_that_names_no_time_gets_the_configured_one(gateway: GatewayUnderTest) -> None:
    gateway.classify()
    assert all(4 < timeout <= 5 for timeout in gateway.server.timeouts)


def test_a_traceparent_reaches_the_access_log(
    start: Callable[..., GatewayUnderTest], caplog: pytest.LogCaptureFixture
) -> None:
    gateway = start(settings=GatewaySettings(access_log=True))
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    with caplog.at_level("INFO", "headway.access"):
        gateway.classify(headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "X-Request-Id": "abc"})
    line = json.loads(caplog.records[-1].getMessage())
    assert line.pop("ms") > 0
    assert set(line.pop("stages_ms")) >= {"read", "queue", "decode", "batch", "predict"}
    wanted = {
        "request_id": "abc", "trace_id": trace, "model": "digits", "version": 1, "arm": "stable", "reason": "stable",
        "fallback_from": None, "code": "ok", "status": 200, "images": 1, "label": "3",
    }  # fmt: skip
    assert {name: line[name] for name in wanted} == wanted


def test_a_trace_is_followed_and_said_in_the_answer_whatever_it_is(gateway: GatewayUnderTest) -> None:
    trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    sent = {"traceparent": f"00-{trace}-{span}-01"}
    for answer in (gateway.classify(headers=sent), gateway.get("/v1/models", headers=sent)):
        version, said, below, flags = answer.headers["traceparent"].split("-")
        assert (version, said, flags) == ("00", trace, "01")
        assert below != span
    assert "traceparent" not in gateway.classify().headers


def test_labels_of_any_script_arrive_as_they_are(gateway: GatewayUnderTest) -> None:
    gateway.versions["digits"][1] = scripted_version(labels=("Übung", "数字", "🦔", 'a "b"', "e"))
    labels = [prediction["label"] for prediction in gateway.classify(2).get_json()["results"][0]["predictions"]]
    assert labels == ["🦔", "Übung", "数字", 'a "b"', "e"]


def test_the_official_client_reads_the_answers(gateway: GatewayUnderTest) -> None:
    with Client("http://gateway", transport=httpx.WSGITransport(app=gateway.app)) as client:
        answer = client.classify(picture(3), version=2, top_k=2, request_id="abc-1")
        assert (answer.model, answer.version, answer.arm, answer.request_id) == ("digits", 2, "pinned", "abc-1")
        assert (answer.label, answer.score, len(answer.results[0].predictions)) == ("3", NINE_TENTHS, 2)
        many = client.classify_many([picture(4), picture(0)], model="digits")
        assert [result.top.label for result in many.results] == ["4", "0"]
        assert client.model().versions == (1, 2, 3)
        assert client.model("digits").classes == ("0", "1", "2", "3", "4")
        with pytest.raises(NotFound, match="no model is named 'letters'"):
            client.classify(picture(3), model="letters")
        with pytest.raises(InvalidRequest, match="not a picture in an accepted format"):
            client.classify(b"this is a text file", model="digits")


def test_a_picture_posted_to_the_model_itself_is_told_where_to_go(gateway: GatewayUnderTest) -> None:
    response = gateway.post("/v1/models/digits", **as_body(picture(1)))
    assert response.status_code == 405
    assert "GET" in response.headers["Allow"]
    assert CLASSIFY.startswith(response.get_json()["detail"].split()[0])
