"""W3C trace context: what is followed, what is not, and what is handed on."""

import pytest

from headway_serving.core.request_trace import TraceContext, new_span_id, new_trace_id, parse_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_callers_span_is_read_and_handed_on_with_a_new_span_below_it() -> None:
    caller = parse_traceparent(f"00-{TRACE}-{SPAN}-01", "vendor=1")
    assert caller == TraceContext(TRACE, SPAN, sampled=True, state="vendor=1")
    below = caller.below()
    assert (below.trace_id, below.sampled, below.state) == (TRACE, True, "vendor=1")
    assert below.span_id != SPAN
    assert below.traceparent == f"00-{TRACE}-{below.span_id}-01"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "text",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}",
    ],
)
def test_what_is_no_traceparent_is_not_followed(header: str | None) -> None:
    assert parse_traceparent(header) is None


def test_a_later_version_may_say_more_and_other_flags_do_not_matter() -> None:
    assert parse_traceparent(f"01-{TRACE}-{SPAN}-03-more") == TraceContext(TRACE, SPAN, sampled=True)
    assert parse_traceparent(f"00-{TRACE}-{SPAN}-02") == TraceContext(TRACE, SPAN, sampled=False)


def test_a_state_that_could_break_a_line_is_dropped() -> None:
    for state in ("a=1\nb=2", "é=1", "a" * 513):
        assert parse_traceparent(f"00-{TRACE}-{SPAN}-01", state) == TraceContext(TRACE, SPAN, sampled=True)


def test_ids_have_the_digits_they_must_have() -> None:
    assert len(new_trace_id()) == 32
    assert len(new_span_id()) == 16
