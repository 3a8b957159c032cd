"""Spans made when what they tell of is over: a request that is not recorded costs its sampling alone.

The ids are chosen when a request comes (:mod:`headway_serving.core.request_trace`), because calls hand them on; the SDK
gets finished spans, and sends them in the background. Sampler, resource and exporter follow the SDK's variables.
"""

import importlib.metadata
import os
import random
import time
from collections.abc import Mapping

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_TRACES_SAMPLER, OTEL_TRACES_SAMPLER_ARG
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from headway_serving.adapters.model_server.calls import ModelServerCall
from headway_serving.core.request_trace import TraceContext, new_span_id
from headway_serving.core.requests import StageSpan
from headway_serving.core.routing import Route

Attributes = Mapping[str, str | int | float | bool]

SHORTEST_SECONDS = 0.0001
"""A stage that is shorter has no span of its own: one costs 25 us until it is sent. An attribute has all of them."""

_SCOPE = "headway"
_NANO = 1_000_000_000


class Spans:
    """Records spans. Safe for use by many threads."""

    def __init__(self, provider: TracerProvider, processor: SpanProcessor, root_bound: int | None = None) -> None:
        """``root_bound``: a trace that begins here is recorded only if its id's lower half is below; None: any may be.

        The SDK's sampler says the same, and takes ten times as long to say no.
        """
        self._root_bound = root_bound
        self._processor, self._sampler, self._resource = processor, provider.sampler, provider.resource
        self._provider = provider
        provider.add_span_processor(processor)
        self._scope = InstrumentationScope(_SCOPE, importlib.metadata.version("headway"))

    @classmethod
    def to_collector(cls, service: str) -> "Spans":
        """Spans that are sent where the SDK's variables say; the rest of them is sent when the process ends."""
        said = {SERVICE_VERSION: importlib.metadata.version("headway")}
        # What the environment says of the service goes before.
        named = {} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: service}
        provider = TracerProvider(resource=Resource.create({**said, **named}))
        bound = None
        if os.environ.get(OTEL_TRACES_SAMPLER, "").lower() in ("traceidratio", "parentbased_traceidratio"):
            bound = TraceIdRatioBased.get_bound_for_rate(_ratio(os.environ.get(OTEL_TRACES_SAMPLER_ARG, "")))
        return cls(provider, BatchSpanProcessor(OTLPSpanExporter()), bound)

    def sample(self, caller: TraceContext | None) -> TraceContext | None:
        """The span of a request whose caller has this one; None for one that begins a trace nobody records."""
        if caller is None:
            lower = random.getrandbits(64)
            if self._root_bound is not None and lower >= self._root_bound:
                return None
            trace_id = (random.getrandbits(64) << 64 | lower) or 1
        else:
            trace_id = int(caller.trace_id, 16)
        parent = None if caller is None else set_span_in_context(NonRecordingSpan(_context(caller, is_remote=True)))
        sampled = self._sampler.should_sample(parent, trace_id, "request").decision is Decision.RECORD_AND_SAMPLE
        if caller is not None:
            return caller.below(sampled)
        return TraceContext(f"{trace_id:032x}", new_span_id(), sampled=True) if sampled else None

    def request(
        self,
        span: TraceContext,
        parent: TraceContext | None,
        request_id: str,
        model: str | None,
        route: Route | None,
        code: str,
        status: int,
        began: float,
        ended: float,
        stages: list[StageSpan],
    ) -> None:
        """Record a request and its stages; times are seconds on the monotonic clock."""
        since = _epoch_offset()
        said: dict[str, str | int | float | bool] = {
            "headway.request_id": request_id,
            "headway.code": code,
            "http.response.status_code": status,
            "headway.stages_ms": _in_milliseconds(stages),
        }
        if route is not None:
            said |= {
                "headway.model": route.model, "headway.version": route.version, "headway.arm": route.arm.value,
                "headway.reason": route.reason,
            }  # fmt: skip
        self._record(
            f"classify {model or 'unknown'}", span, parent, SpanKind.SERVER, since, began, ended, said,
            None if status < 500 else code,
        )  # fmt: skip
        for stage in stages:
            if stage.ended - stage.began < SHORTEST_SECONDS and not stage.failed:
                continue
            self._record(
                stage.stage, span.below(), span, SpanKind.INTERNAL, since, stage.began, stage.ended, {},
                "failed" if stage.failed else None,
            )  # fmt: skip

    def call(self, call: ModelServerCall) -> None:
        """Record a call to the model server, if its request's trace is recorded."""
        if call.span is None or not call.span.sampled:
            return
        said: dict[str, str | int | float | bool] = {
            "rpc.system": "grpc", "rpc.method": call.method, "rpc.grpc.status": call.code,
            "headway.transport": call.transport, "headway.model": call.model,
        }  # fmt: skip
        if call.signature is not None and call.version is not None:
            said |= {"headway.version": call.version, "headway.signature": call.signature}
        self._record(
            f"{call.method} {call.model}", call.span, call.parent, SpanKind.CLIENT, _epoch_offset(), call.began,
            call.ended, said, None if call.code == "OK" else call.code,
        )  # fmt: skip

    def served(self, caller: TraceContext, api: str, model: str, entrypoint: str, code: str, seconds: float) -> None:
        """Record an answer of the model server that has just been made, if its caller's trace is recorded."""
        if caller.sampled:
            now = time.monotonic()
            said = {"headway.model": model, "headway.entrypoint": entrypoint, "rpc.grpc.status": code}
            self._record(
                f"{api} {model}", caller.below(), caller, SpanKind.SERVER, _epoch_offset(), now - seconds, now, said,
                None if code == "OK" else code,
            )  # fmt: skip

    def close(self) -> None:
        """Send what is waiting, and take no more."""
        self._provider.shutdown()

    def _record(
        self,
        name: str,
        span: TraceContext,
        parent: TraceContext | None,
        kind: SpanKind,
        since: int,
        began: float,
        ended: float,
        attributes: Attributes,
        error: str | None,
    ) -> None:
        self._processor.on_end(
            ReadableSpan(
                name=name,
                context=_context(span, is_remote=False),
                parent=None if parent is None else _context(parent, is_remote=kind is SpanKind.SERVER),
                resource=self._resource,
                attributes=dict(attributes),
                kind=kind,
                status=Status() if error is None else Status(StatusCode.ERROR, error),
                start_time=since + int(began * _NANO),
                end_time=since + int(ended * _NANO),
                instrumentation_scope=self._scope,
            )
        )


def _context(span: TraceContext, *, is_remote: bool) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if span.sampled else TraceFlags.DEFAULT)
    state = TraceState.from_header([span.state]) if span.state else trace.DEFAULT_TRACE_STATE
    return SpanContext(int(span.trace_id, 16), int(span.span_id, 16), is_remote, flags, state)


def _ratio(text: str) -> float:
    """The sampler's argument, as the SDK reads it: 1 where it is none."""
    try:
        ratio = float(text)
    except ValueError:
        return 1.0
    return ratio if 0 <= ratio <= 1 else 1.0


def _in_milliseconds(stages: list[StageSpan]) -> str:
    return ", ".join([f"{stage.stage} {(stage.ended - stage.began) * 1000:.3f}" for stage in stages])


def _epoch_offset() -> int:
    """Nanoseconds from the monotonic clock's zero to Unix time's: what is added to a time on the former."""
    return time.time_ns() - time.monotonic_ns()
