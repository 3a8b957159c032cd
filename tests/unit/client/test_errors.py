"""The error tree: drawn truthfully, complete over httpx, fit for processes and for people."""

import pickle
import re

import httpx
import pytest

from headway_client import errors
from headway_client.errors import (
    TRANSLATIONS,
    ConnectionFailed,
    DeadlineExceeded,
    HeadwayError,
    InvalidRequest,
    InvalidResponse,
    NotFound,
    Overloaded,
    ProblemError,
    ServerFailed,
    TimedOut,
    Unavailable,
    UnsupportedInput,
    problem_class,
    translate,
)

# What httpx raises only from calls that the client does not make: reading a stream twice, looking up a
# cookie, raise_for_status.
NOT_RAISED_BY_A_REQUEST = {
    httpx.CookieConflict,
    httpx.HTTPStatusError,
    httpx.ResponseNotRead,
    httpx.RequestNotRead,
    httpx.StreamClosed,
    httpx.StreamConsumed,
    httpx.StreamError,
}
EXPORTED: set[type[Exception]] = {
    value for name in httpx.__all__ if isinstance(value := getattr(httpx, name), type) and issubclass(value, Exception)
}
CONCRETE: set[type[Exception]] = {
    kind for kind in EXPORTED if not any(other is not kind and issubclass(other, kind) for other in EXPORTED)
}


@pytest.mark.parametrize("kind", sorted(CONCRETE - NOT_RAISED_BY_A_REQUEST, key=str))
def test_every_error_of_a_request_has_a_line_of_its_own(kind: type[Exception]) -> None:
    line = next(base for base in kind.__mro__ if base in TRANSLATIONS)
    assert line is not httpx.RequestError, f"{kind.__name__} only meets the catch-all line"

    error = translate(kind("the reason"), "http://gateway:8080")

    assert isinstance(error, HeadwayError)
    assert "http://gateway:8080" in str(error)
    assert "the reason" in str(error)


def test_an_error_of_a_later_httpx_is_translated_all_the_same() -> None:
    class NewInHttpx(httpx.TransportError):
        pass

    assert type(translate(NewInHttpx("new"), "http://gateway")) is ConnectionFailed


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (httpx.ConnectError, ConnectionFailed),
        (httpx.ReadError, ConnectionFailed),
        (httpx.RemoteProtocolError, ConnectionFailed),
        (httpx.ConnectTimeout, TimedOut),
        (httpx.ReadTimeout, TimedOut),
        (httpx.PoolTimeout, TimedOut),
        (httpx.DecodingError, InvalidResponse),
        (httpx.UnsupportedProtocol, UnsupportedInput),
    ],
)
def test_errors_of_httpx_become_what_a_caller_would_expect(
    raised: type[httpx.RequestError], expected: type[HeadwayError]
) -> None:
    assert type(translate(raised("why"), "http://gateway")) is expected


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "invalid_request", InvalidRequest),
        (400, "empty_body", InvalidRequest),
        (404, "model_not_found", NotFound),
        (404, "label_not_found", NotFound),
        (405, "method_not_allowed", InvalidRequest),
        (413, "payload_too_large", InvalidRequest),
        (415, "unsupported_image", InvalidRequest),
        (500, "internal_error", ServerFailed),
        (502, "unknown", ServerFailed),
        (503, "model_unavailable", Unavailable),
        (503, "overloaded", Overloaded),
        (504, "deadline_exceeded", DeadlineExceeded),
        (504, "unknown", DeadlineExceeded),
    ],
)
def test_a_problem_gets_the_class_of_its_code_or_status(status: int, code: str, expected: type[ProblemError]) -> None:
    assert problem_class(status, code) is expected


def test_one_except_clause_catches_both_ways_of_running_out_of_time() -> None:
    assert issubclass(DeadlineExceeded, TimedOut)
    assert issubclass(DeadlineExceeded, ServerFailed)


def test_the_drawing_in_the_docstring_is_the_tree() -> None:
    drawing = errors.__doc__ or ""
    drawn: dict[str, str] = {}
    path: list[str] = []
    for indent, name in re.findall(r"^([│ ]*)[├└]── (\w+)", drawing, flags=re.MULTILINE):
        path[len(indent) // 4 :] = [name]
        drawn[name] = path[-2] if len(path) > 1 else "HeadwayError"

    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, HeadwayError)}
    assert drawn == {kind.__name__: kind.__base__.__name__ for kind in kinds - {HeadwayError} if kind.__base__}


def test_a_problem_survives_the_way_home_from_a_worker_process() -> None:
    problem = Overloaded(503, "overloaded", "Overloaded", "Too many requests at once.", "req-1", 2.0)

    copy = pickle.loads(pickle.dumps(problem))

    assert type(copy) is Overloaded
    assert (copy.status, copy.code, copy.retry_after) == (503, "overloaded", 2.0)
    assert str(copy) == "Too many requests at once. [503 overloaded]; retry in 2 s; request id req-1"
