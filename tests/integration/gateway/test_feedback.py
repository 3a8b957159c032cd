"""``POST /v1/models/{model}:feedback``: what applications learn later is counted, whichever gateway answered."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from headway_serving.adapters.files.tokens import TokenFile
from headway_serving.core.routing import Candidate, ModelRoutes
from headway_serving.gateway.classify.operations import MOST_FEEDBACK, MOST_FEEDBACK_BYTES
from tests.integration.gateway.conftest import StartGateway
from tests.integration.gateway.gateway_under_test import GatewayUnderTest, as_parts, check_problem, picture

FEEDBACK = "/v1/models/digits:feedback"
GOOD: dict[str, Any] = {"request_id": "a-1", "version": 1, "arm": "stable", "label": "3", "truth": "3"}


def truth_about(answer: dict[str, Any], truth: str, index: int = 0) -> dict[str, Any]:
    """Feedback made of nothing but an answer's JSON and the truth."""
    label = answer["results"][index]["predictions"][0]["label"]
    names = ("request_id", "version", "arm", "key_position")
    carried: dict[str, Any] = {name: answer[name] for name in names if name in answer}
    return {**carried, "index": index, "label": label, "truth": truth}


def counted(gateway: GatewayUnderTest, version: int, arm: str, outcome: str) -> float:
    labels = {"model": "digits", "version": str(version), "arm": arm, "outcome": outcome}
    return gateway.sample("headway_feedback_total", **labels) or 0.0


def test_the_answers_of_one_gateway_are_counted_by_another(tmp_path: Path) -> None:
    routes = {"digits": ModelRoutes(1, Candidate(2, 0.5))}
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = GatewayUnderTest(tmp_path / "one" / "routes.json", None, routes)
    two = GatewayUnderTest(tmp_path / "two" / "routes.json", None, routes)
    answers = [one.classify(3, headers={"X-Routing-Key": f"user-{number}"}).get_json() for number in range(20)]
    told = two.post(FEEDBACK, json=[truth_about(answer, "3") for answer in answers]).get_json()
    assert (told["counted"], told["right"], told["wrong"], told["duplicates"], told["ignored"]) == (20, 20, 0, 0, [])
    of_candidate = sum(answer["arm"] == "candidate" for answer in answers)
    assert 0 < of_candidate < 20
    assert counted(two, 2, "candidate", "right") == of_candidate
    assert counted(two, 1, "stable", "right") == 20 - of_candidate


def test_a_rollout_sees_one_truth_of_each_routing_key(tmp_path: Path) -> None:
    """One user whose pictures no version can read proves nothing, however many they send."""
    gateway = GatewayUnderTest(tmp_path / "routes.json", None, {"digits": ModelRoutes(1, Candidate(2, 0.5))})
    keys = [f"user-{number}" for number in range(10)] + ["a user with bad pictures"] * 30
    answers = [gateway.classify(3, headers={"X-Routing-Key": key}).get_json() for key in keys]
    truths = ["3"] * 10 + ["8"] * 30
    told = gateway.post(FEEDBACK, json=[truth_about(*each) for each in zip(answers, truths, strict=True)]).get_json()
    assert (told["right"], told["wrong"]) == (10, 30)
    outcomes = [
        gateway.sample("headway_key_feedback_total", model="digits", version=version, outcome=outcome) or 0.0
        for outcome in ("right", "wrong")
        for version in ("1", "2")
    ]
    assert (sum(outcomes[:2]), sum(outcomes[2:])) == (10, 1)

    pinned = gateway.classify(3, "/v1/models/digits/versions/1:classify").get_json()
    assert "key_position" not in pinned
    gateway.post(FEEDBACK, json=truth_about(pinned, "3"))
    assert gateway.sample("headway_key_feedback_total", model="digits", version="1", outcome="right") == outcomes[0]


def test_each_picture_of_a_request_has_a_truth_of_its_own(gateway: GatewayUnderTest) -> None:
    answer = gateway.post(**as_parts(picture(1), picture(2))).get_json()
    told = gateway.post(FEEDBACK, json=[truth_about(answer, "1", 0), truth_about(answer, "4", 1)]).get_json()
    assert (told["right"], told["wrong"]) == (1, 1)


def test_one_object_will_do_and_sent_again_it_is_a_duplicate(gateway: GatewayUnderTest) -> None:
    first, second = (gateway.post(FEEDBACK, json={**GOOD, "truth": "a cat"}) for _ in range(2))
    assert first.status_code == second.status_code == 200
    assert first.get_json() == {
        "model": "digits", "counted": 1, "right": 0, "wrong": 1, "duplicates": 0, "ignored": [],
        "request_id": first.headers["X-Request-Id"],
    }  # fmt: skip
    assert (second.get_json()["counted"], second.get_json()["duplicates"]) == (0, 1)
    assert counted(gateway, 1, "stable", "wrong") == 1


def test_what_is_ignored_is_told_with_the_reason(gateway: GatewayUnderTest) -> None:
    told = gateway.post(FEEDBACK, json=[GOOD, {**GOOD, "version": 77}, {**GOOD, "label": "cat"}]).get_json()
    assert told["counted"] == 1
    assert [(each["position"], each["code"]) for each in told["ignored"]] == [
        (1, "version_not_found"),
        (2, "invalid_request"),
    ]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({**GOOD, "arm": "everyone"}, "the body.arm: stable, candidate, pinned is needed, not 'everyone'"),
        ([GOOD, {**GOOD, "version": "1"}], "[1].version: a whole number is needed"),
        ([GOOD, {**GOOD, "version": True}], "[1].version: a whole number is needed"),
        ({**GOOD, "version": -1}, "the body.version: a whole number of 0 or more is needed, not -1"),
        ({**GOOD, "request_id": "a b"}, "the body.request_id: 1 to 128 letters, digits and ._:- are needed"),
        ({**GOOD, "truth": 3}, "the body.truth: a text is needed"),
        ({**GOOD, "label": ""}, "the body.label: 1 to 1000 characters are needed"),
        ({name: GOOD[name] for name in GOOD if name != "truth"}, "the body.truth: a text is needed; it is missing"),
        ([], f"the list has 0 entries; send 1 to {MOST_FEEDBACK}"),
        ([GOOD] * (MOST_FEEDBACK + 1), f"the list has 1001 entries; send 1 to {MOST_FEEDBACK}"),
        ("text", "the body: an object with request_id, version, arm, label and truth is needed"),
    ],
)
def test_a_body_that_cannot_be_used_counts_nothing(gateway: GatewayUnderTest, body: Any, detail: str) -> None:
    assert check_problem(gateway.post(FEEDBACK, json=body), 400, "invalid_request")["detail"] == detail
    assert counted(gateway, 1, "stable", "right") == 0


def test_a_body_that_is_too_large_or_no_json_is_refused(gateway: GatewayUnderTest, start: StartGateway) -> None:
    check_problem(gateway.post(FEEDBACK, data=b"{"), 400, "invalid_request")
    check_problem(
        gateway.post(FEEDBACK, data=b"{}", headers={"Content-Encoding": "gzip"}), 415, "unsupported_media_type"
    )
    gateway.app.config["MAX_CONTENT_LENGTH"] = 2 * MOST_FEEDBACK_BYTES
    problem = check_problem(gateway.post(FEEDBACK, data=b" " * (MOST_FEEDBACK_BYTES + 1)), 413, "payload_too_large")
    assert "more than 1,048,576" in problem["detail"]


def test_a_model_that_is_not_routed_is_not_found(gateway: GatewayUnderTest) -> None:
    check_problem(gateway.post("/v1/models/letters:feedback", json=GOOD), 404, "model_not_found")


def test_invented_versions_and_labels_make_no_series(gateway: GatewayUnderTest) -> None:
    made_up = [{**GOOD, "version": 1000 + number, "label": f"guess-{number}"} for number in range(50)]
    gateway.post(FEEDBACK, json=made_up)
    gateway.post(FEEDBACK, json={**GOOD, "truth": "guess-7"})
    text = gateway.get("/metrics").text
    assert text.count("headway_feedback_total{") == 1
    assert "guess" not in text


def test_it_asks_for_a_scope_of_its_own(tmp_path: Path) -> None:
    entries = [{"name": scope, "scopes": [scope], "sha256": hashlib.sha256(scope.encode()).hexdigest()}
               for scope in ("classify", "feedback", "admin")]  # fmt: skip
    (tmp_path / "tokens.json").write_text(json.dumps({"schema": 1, "tokens": entries}))
    tokens = TokenFile(tmp_path / "tokens.json", 1.0)
    gateway = GatewayUnderTest(tmp_path / "routes.json", None, {}, tokens=tokens)
    check_problem(gateway.post(FEEDBACK, json=GOOD), 401, "unauthorized")
    for scope, status in (("classify", 403), ("admin", 403), ("feedback", 200)):
        assert gateway.post(FEEDBACK, json=GOOD, headers={"Authorization": f"Bearer {scope}"}).status_code == status
    refused = gateway.get("/v1/models", headers={"Authorization": "Bearer feedback"})
    assert refused.status_code == 403, "the scope opens nothing else"
