"""Which trace a request belongs to, and what calls that are made for it have to say: carried beside the arguments.

The trace context is that of W3C (Trace Context, level 1): ``traceparent`` is ``00-TRACE-SPAN-FLAGS``, in hexadecimal;
``tracestate`` is passed on as it came.
"""

import random
import re
from contextvars import ContextVar
from dataclasses import dataclass

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1
_LONGEST_STATE = 512
_STATE = re.compile(r"[\x20-\x7e]*")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span of a trace: what is done for it is below ``span_id``. ``sampled``: whether it is recorded."""

    trace_id: str
    span_id: str
    sampled: bool
    state: str = ""

    @property
    def traceparent(self) -> str:
        """The header that hands it on."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    def below(self, sampled: bool | None = None) -> "TraceContext":
        """A new span below it, of the same trace."""
        return TraceContext(self.trace_id, new_span_id(), self.sampled if sampled is None else sampled, self.state)


def new_span_id() -> str:
    """An id that is no secret; asking the system for one costs a switch to another thread."""
    return f"{random.getrandbits(64) or 1:016x}"


def new_trace_id() -> str:
    """The same for a trace."""
    return f"{random.getrandbits(128) or 1:032x}"


def parse_traceparent(header: str | None, state: str | None = None) -> TraceContext | None:
    """The caller's span; None without the header, or for one that is not of its form."""
    found = None if header is None else _TRACEPARENT.fullmatch(header)
    if found is None or (header is not None and header.startswith("00") and found.group(4)):
        return None
    harmless = state if state and len(state) <= _LONGEST_STATE and _STATE.fullmatch(state) else ""
    return TraceContext(found.group(1), found.group(2), bool(int(found.group(3), 16) & _SAMPLED), harmless)


@dataclass(slots=True)
class RequestTrace:
    """Of one request: its own span, if it has one, and the seconds that rows of it waited for a call to begin."""

    context: TraceContext | None = None
    batch_seconds: float = 0.0

    def take_batch_seconds(self) -> float:
        """What was waited since this was asked for the last time."""
        waited, self.batch_seconds = self.batch_seconds, 0.0
        return waited


_current: ContextVar[RequestTrace | None] = ContextVar("request_trace", default=None)


def begin(context: TraceContext | None) -> RequestTrace:
    """Make a request the current one of this ``contextvars`` context."""
    trace = RequestTrace(context)
    _current.set(trace)
    return trace


def current() -> RequestTrace | None:
    """The request that is worked on here; None outside of any."""
    return _current.get()
