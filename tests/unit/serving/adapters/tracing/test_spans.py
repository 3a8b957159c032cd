"""What is recorded of requests, stages, calls and answers: names, parents, times and faults."""

import time
from collections.abc import Sequence

import pytest

pytest.importorskip("opentelemetry.sdk", reason="no OpenTelemetry here; pip install 'headway[tracing]'")

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler
from opentelemetry.trace import SpanKind

from headway_serving.adapters.model_server.calls import ModelServerCall
from headway_serving.adapters.tracing.spans import Spans
from headway_serving.core.request_trace import TraceContext
from headway_serving.core.requests import StageSpan
from headway_serving.core.routing import Arm, Route

CALLER = TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", sampled=True, state="vendor=1")
ROUTE = Route("digits", 2, Arm.CANDIDATE, "weight")


class Kept(SpanProcessor):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


def spans_of(sampler: Sampler = ALWAYS_ON) -> tuple[Spans, Kept]:
    kept = Kept()
    return Spans(TracerProvider(ParentBased(sampler)), kept), kept


def ids(spans: Sequence[ReadableSpan]) -> dict[str, tuple[str, str]]:
    return {
        span.name: (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}" if span.parent else "")
        for span in spans
    }


def sampled(spans: Spans, caller: TraceContext | None = CALLER) -> TraceContext:
    span = spans.sample(caller)
    assert span is not None
    return span


def nanoseconds(span: ReadableSpan) -> int:
    return (span.end_time or 0) - (span.start_time or 0)


def test_a_request_is_a_span_below_its_callers_with_its_stages_below_it() -> None:
    spans, kept = spans_of()
    span = sampled(spans)
    now = time.monotonic()
    stages = [
        StageSpan("decode", now - 0.3, now - 0.2, failed=False),
        StageSpan("rank", now - 0.2, now - 0.19995, failed=False),
        StageSpan("predict", now - 0.2, now, failed=True),
    ]
    spans.request(span, CALLER, "r-1", "digits", ROUTE, "prediction_failed", 502, now - 0.4, now, stages)
    assert ids(kept.spans) == {
        "classify digits": (CALLER.trace_id, CALLER.span_id),
        "decode": (CALLER.trace_id, span.span_id),
        "predict": (CALLER.trace_id, span.span_id),
    }
    request, decode, predict = kept.spans
    assert request.kind is SpanKind.SERVER
    assert request.attributes == {
        "headway.request_id": "r-1", "headway.code": "prediction_failed", "http.response.status_code": 502,
        "headway.stages_ms": "decode 100.000, rank 0.050, predict 200.000",
        "headway.model": "digits", "headway.version": 2, "headway.arm": "candidate", "headway.reason": "weight",
    }  # fmt: skip
    assert abs((request.end_time or 0) - time.time_ns()) < 5e9
    assert nanoseconds(request) == pytest.approx(0.4e9, rel=1e-3)
    assert nanoseconds(decode) == pytest.approx(0.1e9, rel=1e-3)
    assert [span.status.is_ok for span in (request, decode, predict)] == [False, True, False]
    assert request.context.trace_state.get("vendor") == "1"


def test_a_call_and_what_the_model_server_answers_stand_below_each_other() -> None:
    spans, kept = spans_of()
    request = CALLER.below()
    call = request.below()
    spans.call(ModelServerCall("Predict", "local", "OK", "digits", 2, "serving_default", 1.0, 1.5, call, request))
    spans.served(call, "Predict", "digits", "LOCAL", "OK", 0.01)
    client, server = kept.spans
    assert (client.kind, server.kind) == (SpanKind.CLIENT, SpanKind.SERVER)
    assert f"{client.parent.span_id:016x}" == request.span_id
    assert server.parent.span_id == client.context.span_id
    assert dict(client.attributes or {})["headway.transport"] == "local"


def test_what_is_not_sampled_is_not_recorded_and_still_handed_on() -> None:
    spans, kept = spans_of(ALWAYS_OFF)
    assert spans.sample(None) is None
    followed = sampled(spans, TraceContext(CALLER.trace_id, CALLER.span_id, sampled=False))
    assert (followed.trace_id, followed.sampled) == (CALLER.trace_id, False)
    assert sampled(spans).sampled
    spans.call(ModelServerCall("Predict", "grpc", "OK", "digits", 2, "s", 1.0, 1.5, followed, followed))
    spans.served(followed, "Predict", "digits", "GRPC", "OK", 0.01)
    assert kept.spans == []


def test_a_trace_that_begins_here_has_ids_of_its_own() -> None:
    spans, _ = spans_of()
    one, other = sampled(spans, None), sampled(spans, None)
    assert one.sampled
    assert one.trace_id != other.trace_id


def test_of_the_traces_that_begin_here_those_below_the_bound_are_recorded() -> None:
    spans = Spans(TracerProvider(ParentBased(ALWAYS_ON)), Kept(), root_bound=2**62)
    drawn = [spans.sample(None) for _ in range(2000)]
    recorded = [span for span in drawn if span is not None]
    assert 400 < len(recorded) < 600
    assert all(int(span.trace_id[16:], 16) < 2**62 for span in recorded)
    assert sampled(spans).sampled, "a caller decides for itself"
