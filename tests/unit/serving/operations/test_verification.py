"""What the gate compares between a candidate and stable, and what it says of each difference."""

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from headway_contract.model_manifest import GoldenSample, ModelManifest
from headway_serving.operations.verification import (
    AcceptedChanges,
    VerificationFailed,
    check_golden_samples,
    check_loaded,
    compare_with_stable,
)
from tests.fakes.scripted_models import DIGIT_SPEC, ScriptedVersion, scripted_manifest
from tests.fakes.tfserving_predictor import FakePredictor

STABLE = scripted_manifest(labels=("a", "b", "c"))
NOTHING = AcceptedChanges()


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        (("b", "a", "c"), "labels: in another order: a, b, c -> b, a, c"),
        (("a", "b"), "labels: c dropped"),
        (("a", "b", "d"), "labels: c renamed or dropped, d added"),
        (("d", "a", "b", "c"), "labels: in another order"),
    ],
)
def test_labels_that_change_their_meaning_block_unless_accepted(labels: tuple[str, ...], why: str) -> None:
    candidate = scripted_manifest(labels=labels)
    with pytest.raises(VerificationFailed) as caught:
        compare_with_stable(candidate, STABLE, NOTHING)
    assert why in str(caught.value)
    assert "--accept-label-change" in str(caught.value)
    compare_with_stable(candidate, STABLE, AcceptedChanges(labels=True))


def test_classes_that_are_added_at_the_end_mislead_nobody() -> None:
    compare_with_stable(scripted_manifest(labels=("a", "b", "c", "d")), STABLE, NOTHING)


def test_another_geometry_blocks_unless_accepted() -> None:
    image = replace(DIGIT_SPEC, resample="nearest", fit="pad")
    candidate = scripted_manifest(labels=("a", "b", "c"), image=image)
    with pytest.raises(VerificationFailed, match="geometry: fit stretch -> pad, resample bilinear -> nearest"):
        compare_with_stable(candidate, STABLE, NOTHING)
    compare_with_stable(candidate, STABLE, AcceptedChanges(geometry=True))


def test_a_model_server_must_hold_what_the_repository_describes() -> None:
    other = scripted_manifest(labels=("a", "c", "b")).to_json().encode()
    servers = {
        "first": FakePredictor({"digits": {2: ScriptedVersion(STABLE.to_json().encode(), 3)}}),
        "second": FakePredictor({"digits": {2: ScriptedVersion(other, 3)}}),
    }
    check_loaded({"first": servers["first"]}, STABLE, 2)
    with pytest.raises(VerificationFailed, match="version 2 at model server second describes itself otherwise"):
        check_loaded(servers, STABLE, 2)
    with pytest.raises(VerificationFailed, match="model server first: model 'digits' has no version 3"):
        check_loaded(servers, STABLE, 3)


GOLDEN = replace(STABLE, golden=(GoldenSample(b"first", "a", (0.7, 0.2, 0.1)), GoldenSample(b"second", "b", (0, 1, 0))))


def gateway(answers: dict[bytes, Any]) -> httpx.Client:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/models/digits/versions/2:classify"
        assert request.url.params["top_k"] == "3"
        found = answers[request.content]
        if not isinstance(found, dict):
            return found if isinstance(found, httpx.Response) else httpx.Response(200, text=json.dumps(found))
        predictions = [{"label": label, "score": score} for label, score in found.items()]
        return httpx.Response(200, text=json.dumps({"results": [{"index": 0, "predictions": predictions}]}))

    return httpx.Client(transport=httpx.MockTransport(answer))


def check(first: Any, manifest: ModelManifest = GOLDEN, tolerance: float = 1e-3) -> None:
    with gateway({b"first": first, b"second": {"b": 1.0, "a": 0.0, "c": 0.0}}) as http:
        check_golden_samples(["http://gateway"], http, manifest, 2, tolerance)


def test_golden_samples_that_come_back_as_exported_pass() -> None:
    check({"a": 0.7005, "c": 0.1, "b": 0.1995})


@pytest.mark.parametrize(
    ("first", "why"),
    [
        ({"a": 0.69, "b": 0.2, "c": 0.1}, "golden sample 0 of 2 at http://gateway: score of 'a' is 0.690000"),
        ({"b": 0.7, "a": 0.2, "c": 0.1}, "score of "),
        ({"a": float("nan"), "b": 0.2, "c": 0.1}, "score of 'a' is nan, exported 0.700000"),
        ({"a": 0.7, "b": 0.2}, "the answer's labels are"),
        (httpx.Response(503, json={"detail": "version 2 is not loaded"}), "503: version 2 is not loaded"),
        (httpx.Response(200, text="<html>"), "no answer that can be read"),
        ([], "no answer that can be read"),
    ],
)
def test_anything_else_fails_with_the_sample_and_the_reason(first: Any, why: str) -> None:
    with pytest.raises(VerificationFailed) as caught:
        check(first)
    assert why in str(caught.value)
