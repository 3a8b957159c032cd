"""schemathesis makes requests from ``/openapi.json``, good and bad: the answers are as it promises."""

import base64
import contextlib
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.core.control import SkipTest

from headway_serving.adapters.files.tokens import TokenFile
from headway_serving.adapters.model_server.rest import TfServingRest
from headway_serving.gateway.inference.operations import JSON_LENGTH
from tests.integration.gateway.gateway_under_test import GatewayUnderTest, picture
from tests.integration.gateway.scripted_rest_server import rest_server

SECRET = "s3cret"
PICTURES = st.sampled_from([picture(digit) for digit in range(3)]) | st.binary(min_size=1, max_size=200)
for kind in ("image/*", "application/octet-stream"):
    schemathesis.openapi.media_type(kind, PICTURES)

# A schema cannot say what a picture is (415, 422), and a request may ask for less time than anything takes (504).
# Versions that chance finds are not ready (503).
CHECKS = {
    "positive_data_acceptance": {"expected-statuses": ["2xx", "404", "415", "422", "503", "504"]},
    "negative_data_rejection": {"expected-statuses": ["400", "401", "404", "405", "413", "415"]},
    "not_a_server_error": {"expected-statuses": ["2xx", "4xx", "503", "504"]},
}
EXAMPLES = 20


@pytest.fixture(scope="module", params=["open", "guarded"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayUnderTest]:
    folder = tmp_path_factory.mktemp("conformance")
    tokens = None
    if request.param == "guarded":
        digest = hashlib.sha256(SECRET.encode()).hexdigest()
        entry = {"name": "all", "scopes": ["classify", "feedback", "admin"], "sha256": digest}
        (folder / "tokens.json").write_text(json.dumps({"schema": 1, "tokens": [entry]}))
        tokens = TokenFile(folder / "tokens.json", 1.0)
    with rest_server() as script:
        rest = TfServingRest(script.url, connections=4)
        started = GatewayUnderTest(folder / "routes.json", None, {}, rest=rest, tokens=tokens)
        yield started
        started.routes.close()
        rest.close()


def operations_of(gateway: GatewayUnderTest, mode: GenerationMode) -> Iterator[Any]:
    # What make_known() puts into a good request would pass for something bad that was let through.
    rejection = {**CHECKS["negative_data_rejection"], "enabled": mode is GenerationMode.NEGATIVE}
    checks = {**CHECKS, "negative_data_rejection": rejection}
    configuration = {"checks": checks, "generation": {"mode": mode.value}}
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
        if mode is GenerationMode.NEGATIVE:
            assume(is_judged_here(case))
        elif known:
            make_known(case)
        if mode is GenerationMode.POSITIVE and case.path.endswith("/infer"):
            make_tensors_fit(case, known=known)
        statuses.add(case.call_and_validate(headers={"Authorization": f"Bearer {SECRET}"}).status_code)

    check()
    return statuses


def is_judged_here(case: Any) -> bool:
    """Whether the gateway can see that a bad request is bad."""
    if case.path.endswith(":predict"):
        # What the body says is read by the model server alone.
        return bool({part for part, info in case.meta.components.items() if info.mode.is_negative} - {"body"})
    # Whatever a part holds is a picture's bytes, so none can be of a wrong type.
    return bool(case.media_type != "multipart/form-data")


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


def make_tensors_fit(case: Any, *, known: bool) -> None:
    """See to what a schema cannot say: shapes are those of the data and the model, the header's length the JSON's."""
    case.headers.pop(JSON_LENGTH, None)
    pixels = np.full((2, 28, 28, 1), 3, np.uint8)
    if case.media_type == "application/octet-stream":
        parameters = {"binary_data_size": pixels.nbytes}
        tensor = {"name": "images", "datatype": "UINT8", "shape": pixels.shape, "parameters": parameters}
        head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": known}}).encode()
        case.body, case.headers[JSON_LENGTH] = head + pixels.tobytes(), str(len(head))
        return
    for output in case.body.get("outputs") or ():
        parameters = output.get("parameters") or {}
        if parameters.get("classification"):
            # To a schema 2.0 is whole.
            parameters["classification"] = int(parameters["classification"])
    (tensor,) = case.body["inputs"]
    if tensor["datatype"] == "UINT8":
        nested = isinstance(tensor["data"][0], list)
        tensor["shape"], tensor["data"] = pixels.shape, pixels.tolist() if nested else pixels.ravel().tolist()
    else:
        tensor["shape"][0] = len(tensor["data"])
        if known:
            tensor["data"] = [base64.b64encode(picture(3)).decode() for _ in tensor["data"]]


def test_good_requests_get_the_answers_of_the_document(gateway: GatewayUnderTest) -> None:
    answered = {each.label: answers_to(each, GenerationMode.POSITIVE)
                for each in operations_of(gateway, GenerationMode.POSITIVE)}  # fmt: skip
    assert len(answered) >= 20
    assert {label for label, statuses in answered.items() if 200 not in statuses} == set()


def test_bad_requests_are_refused_as_the_document_says(gateway: GatewayUnderTest) -> None:
    refused = {}
    for operation in operations_of(gateway, GenerationMode.NEGATIVE):
        # Of some, every request there is would be good: they take nothing but texts.
        with contextlib.suppress(SkipTest):
            refused[operation.label] = answers_to(operation, GenerationMode.NEGATIVE)
    assert len(refused) >= 5
    posts = {label: statuses for label, statuses in refused.items() if label.startswith("POST")}
    assert {label: statuses for label, statuses in posts.items() if max(statuses, default=0) < 400} == {}
