"""Whatever a client sends, it gets an answer or a problem that blames the request, never a failure of ours."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder

from tests.golden.golden_set import CASES
from tests.integration.gateway.gateway_under_test import (
    CLASSIFY,
    GatewayUnderTest,
    as_body,
    as_json,
    as_parts,
    check_problem,
    picture,
)

PICTURES = [picture(3), *(path.read_bytes() for path in sorted({case.path for case in CASES}))]


def encoded(form: dict[str, Any]) -> tuple[str, bytes]:
    """Content type and bytes of a request."""
    request = EnvironBuilder(method="POST", **form).get_request()
    return request.content_type or "", request.get_data()


def good_bodies() -> list[tuple[str, bytes]]:
    forms = [as_body(data) for data in PICTURES] + [as_parts(*PICTURES[:3]), as_json(*PICTURES[:3])]
    return [encoded(form) for form in forms]


@st.composite
def mutated(draw: st.DrawFn, body: bytes) -> bytes:
    """A body with some bytes overwritten, cut out or put in."""
    changed = bytearray(body)
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(changed)))
        end = start + draw(st.sampled_from([0, 1, 1, 4, 100, 10_000]))
        changed[start:end] = draw(st.binary(max_size=16))
    return bytes(changed)


HEADER_TEXT = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=40)
NAMES = ["CONTENT_TYPE", "CONTENT_LENGTH", "HTTP_X_REQUEST_ID", "HTTP_X_ROUTING_KEY", "HTTP_X_REQUEST_TIMEOUT_MS",
         "HTTP_TRACEPARENT", "HTTP_CONTENT_ENCODING", "HTTP_TRANSFER_ENCODING", "HTTP_HOST"]  # fmt: skip
HEADERS = st.dictionaries(st.sampled_from(NAMES), HEADER_TEXT | st.sampled_from(["0", "1", "17", "-1"]), max_size=3)
SEGMENTS = st.sampled_from(["v1", "models", "digits", "digits:classify", "versions", "labels", "2:classify", "", ".."])
PATHS = st.just(CLASSIFY) | st.lists(SEGMENTS | st.text(max_size=6), max_size=6).map(
    lambda parts: "/" + "/".join(parts)
)
QUERIES = st.dictionaries(st.sampled_from(["top_k", "min_confidence", "x"]), st.text(max_size=6) | st.just("3"))


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> GatewayUnderTest:
    return GatewayUnderTest(tmp_path_factory.mktemp("fuzz") / "routes.json", None, {})


def check_answer(gateway: GatewayUnderTest, **request: Any) -> None:
    response = gateway.app.test_client().open(**request)
    status = response.status_code
    # A request may ask for so little time that nobody could answer in it.
    its_own_deadline = status == 504 and "HTTP_X_REQUEST_TIMEOUT_MS" in request.get("environ_overrides", {})
    assert 200 <= status < 300 or 400 <= status < 500 or its_own_deadline, (status, response.text)
    if status >= 400:
        check_problem(response, status, json.loads(response.data)["code"])


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_mutated_bodies(fuzzed: GatewayUnderTest) -> None:
    @settings(deadline=None, max_examples=300)
    @given(st.data(), st.sampled_from(good_bodies()))
    def check(data: st.DataObject, good: tuple[str, bytes]) -> None:
        kind, body = good
        check_answer(fuzzed, path=CLASSIFY, method="POST", data=data.draw(mutated(body)), content_type=kind)

    check()


def test_mutated_requests(fuzzed: GatewayUnderTest) -> None:
    kind, body = encoded(as_body(picture(3)))

    @settings(deadline=None, max_examples=300)
    @given(PATHS, QUERIES, HEADERS, st.sampled_from(["POST", "POST", "GET", "PUT", "OPTIONS"]))
    def check(path: str, query: dict[str, str], headers: dict[str, str], method: str) -> None:
        # As a WSGI server hands it over; the test client would take //host for a host.
        environ = {**headers, "PATH_INFO": path.encode().decode("latin-1")}
        request = {"query_string": query, "method": method, "data": body, "content_type": kind}
        check_answer(fuzzed, **request, environ_overrides=environ)

    check()
