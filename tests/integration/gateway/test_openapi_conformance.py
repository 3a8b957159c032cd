"""schemathesis makes requests from ``/openapi.json``, good and bad: the answers are as it promises."""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.core.control import SkipTest

from headway_serving.adapters.token_file import TokenFile
from tests.integration.gateway.gateway_under_test import GatewayUnderTest, picture

SECRET = "s3cret"
PICTURES = st.sampled_from([picture(digit) for digit in range(3)]) | st.binary(min_size=1, max_size=200)
for kind in ("image/*", "application/octet-stream"):
    schemathesis.openapi.media_type(kind, PICTURES)

# A schema cannot say what a picture is (415, 422), and a request may ask for less time than anything takes (504).
# No REST port is behind this gateway (501), and names that chance finds are not ready (503).
CHECKS = {
    "positive_data_acceptance": {"expected-statuses": ["2xx", "404", "415", "422", "501", "503", "504"]},
    "negative_data_rejection": {"expected-statuses": ["400", "401", "404", "405", "413", "415", "501"]},
    "not_a_server_error": {"expected-statuses": ["2xx", "4xx", "501", "503", "504"]},
}
# Nor can it say that a tensor's data must fit its shape.
OPERATIONS = [{"include-path-regex": "/infer$", "checks": {"positive_data_acceptance": {"enabled": False}}}]
EXAMPLES = 20


@pytest.fixture(scope="module", params=["open", "guarded"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayUnderTest]:
    folder = tmp_path_factory.mktemp("conformance")
    tokens = None
    if request.param == "guarded":
        digest = hashlib.sha256(SECRET.encode()).hexdigest()
        entry = {"name": "all", "scopes": ["classify", "admin"], "sha256": digest}
        (folder / "tokens.json").write_text(json.dumps({"schema": 1, "tokens": [entry]}))
        tokens = TokenFile(folder / "tokens.json", 1.0)
    started = GatewayUnderTest(folder / "routes.json", None, {}, tokens=tokens)
    yield started
    started.routes.close()


def operations_of(gateway: GatewayUnderTest, mode: GenerationMode) -> Iterator[Any]:
    # What make_known() puts into a good request would pass for something bad that was let through.
    rejection = {**CHECKS["negative_data_rejection"], "enabled": mode is GenerationMode.NEGATIVE}
    checks = {**CHECKS, "negative_data_rejection": rejection}
    configuration = {"checks": checks, "generation": {"mode": mode.value}, "operations": OPERATIONS}
    config = SchemathesisConfig.from_dict(configuration)
    for result in schemathesis.openapi.from_wsgi("/openapi.json", gateway.app, config=config).get_all_operations():
        yield result.ok()


def answers_to(operation: Any, mode: GenerationMode) -> set[int]:
    """Ask for what schemathesis makes of an operation; every answer must be as promised. Gives their statuses."""
    statuses: set[int] = set()

    @settings(
        max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True
    )
    @given(operation.as_strategy(generation_mode=mode), st.booleans())
    def check(case: Any, known: bool) -> None:
        # Whatever a part holds is a picture's bytes, so none can be of a wrong type.
        assume(mode is GenerationMode.POSITIVE or case.media_type != "multipart/form-data")
        if known and mode is GenerationMode.POSITIVE:
            make_known(case)
        statuses.add(case.call_and_validate(headers={"Authorization": f"Bearer {SECRET}"}).status_code)

    check()
    return statuses


def make_known(case: Any) -> None:
    """Give a good request the names and the picture that chance does not find, and all the time there is."""
    for parameters, name, value in (
        (case.path_parameters, "model", "digits"), (case.path_parameters, "version", 2),
        (case.path_parameters, "label", "old"), (case.query, "model", ["digits"]),
    ):  # fmt: skip
        if parameters and name in parameters:
            parameters[name] = value
    if case.headers:
        case.headers.pop("X-Request-Timeout-Ms", None)
    if isinstance(case.body, bytes):
        case.body = picture(3)


def test_good_requests_get_the_answers_of_the_document(gateway: GatewayUnderTest) -> None:
    answered = {each.label: answers_to(each, GenerationMode.POSITIVE)
                for each in operations_of(gateway, GenerationMode.POSITIVE)}  # fmt: skip
    assert len(answered) >= 10
    unanswered = {label for label, statuses in answered.items() if 200 not in statuses}
    assert {label for label in unanswered if not label.endswith(("/infer", ":predict"))} == set()


def test_bad_requests_are_refused_as_the_document_says(gateway: GatewayUnderTest) -> None:
    refused = {}
    for operation in operations_of(gateway, GenerationMode.NEGATIVE):
        # Of some, every request there is would be good: they take nothing but texts.
        with contextlib.suppress(SkipTest):
            refused[operation.label] = answers_to(operation, GenerationMode.NEGATIVE)
    assert len(refused) >= 5
    posts = {label: statuses for label, statuses in refused.items() if label.startswith("POST")}
    assert {label: statuses for label, statuses in posts.items() if max(statuses, default=0) < 400} == {}
