"""The line of a classification: what it says, and how many are written."""

import hashlib
import json

import pytest

from headway_serving.adapters.metrics.observations import Observation
from headway_serving.core.ranking import Prediction
from headway_serving.core.request_trace import TraceContext
from headway_serving.core.routing import Arm, Route
from headway_serving.gateway.requests.access_log import AccessLog
from headway_serving.gateway.requests.identity import RequestIdentity

ROUTE = Route("digits", 2, Arm.CANDIDATE, "weight")
IDENTITY = RequestIdentity("r-1", 0.0, TraceContext("ab" * 16, "cd" * 8, sampled=True), caller="camera-7")
PICTURE = b"a picture"


def seen(code: str = "ok", status: int = 200) -> Observation:
    return Observation(
        "digits", ROUTE, code, 1, 0.0123, {"decode": 0.002, "predict": 0.0101}, status=status,
        results=((Prediction("7", 0.93),),), body_bytes=len(PICTURE),
    )  # fmt: skip


def test_a_line_says_who_asked_what_came_of_it_and_where_the_time_went(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "headway.access"):
        AccessLog().write(seen(), IDENTITY, [PICTURE])
    assert json.loads(caplog.messages[0]) == {
        "request_id": "r-1", "trace_id": "ab" * 16, "model": "digits", "version": 2, "arm": "candidate",
        "reason": "weight", "fallback_from": None, "code": "ok", "status": 200, "shed": None, "images": 1, "ms": 12.3,
        "stages_ms": {"decode": 2.0, "predict": 10.1}, "label": "7", "score": 0.93,
        "picture_sha256": hashlib.sha256(PICTURE).hexdigest()[:16], "picture_bytes": 9, "token": "camera-7",
    }  # fmt: skip


def test_of_what_was_answered_a_share_leaves_a_line_and_all_else_does(caplog: pytest.LogCaptureFixture) -> None:
    draws = iter([0.05, 0.5])
    log = AccessLog(share=0.1, draw=lambda: next(draws))
    with caplog.at_level("INFO", "headway.access"):
        log.write(seen(), IDENTITY, [PICTURE])
        log.write(seen(), IDENTITY, [PICTURE])
        log.write(seen("overloaded", 503), IDENTITY, [PICTURE])
    assert [json.loads(line)["code"] for line in caplog.messages] == ["ok", "overloaded"]
