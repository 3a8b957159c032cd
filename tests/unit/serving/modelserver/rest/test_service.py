"""The REST door's table of codes, and that nothing makes it raise."""

from typing import Any

import pytest

from headway_serving.modelserver.apis.predict import PredictOptions
from headway_serving.modelserver.errors import Code, StatusError
from headway_serving.modelserver.inference import Inference
from headway_serving.modelserver.metrics import ServerMetrics
from headway_serving.modelserver.rest.service import HTTP_STATUS, RestOptions, RestService

EXPECTED = {
    "OK": 200,
    "INVALID_ARGUMENT FAILED_PRECONDITION OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "UNKNOWN INTERNAL DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


class FailingCore:
    """A core whose every question fails with the error it was made with."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def statuses(self, _name: str, _number: int | None) -> Any:
        raise self._error


def service(error: Exception, metrics: ServerMetrics) -> RestService:
    core: Any = FailingCore(error)
    return RestService(Inference(core, PredictOptions(), metrics), RestOptions())


def test_4_every_code_has_an_http_status() -> None:
    assert set(HTTP_STATUS) == set(Code)
    assert {name: HTTP_STATUS[Code[name]] for names in EXPECTED for name in names.split()} == {
        name: status for names, status in EXPECTED.items() for name in names.split()
    }


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
def test_a_refusal_has_the_status_of_its_code(code: Any) -> None:
    metrics = ServerMetrics()
    answer = service(StatusError(code, 'a "text"'), metrics).answer("GET", "/v1/models/m", b"")
    assert (answer.status, answer.body) == (HTTP_STATUS[code], b'{\n    "error": "a \\"text\\""\n}')
    assert f'{{model_name="m",status="{code.name}"}} 1' in metrics.page()


def test_an_unexpected_failure_is_an_internal_error() -> None:
    metrics = ServerMetrics()
    answer = service(ZeroDivisionError("oh"), metrics).answer("GET", "/v1/models/m", b"")
    assert (answer.status, b"oh" in answer.body) == (500, False)
    assert b"failed in its own code" in answer.body
    assert metrics.request_count.total() == 1


def test_names_that_are_no_utf_8_are_answered() -> None:
    target = "/v1/models/%ff%fe\ufffd"
    answer = service(StatusError(Code.NOT_FOUND, "x"), ServerMetrics()).answer("GET", target, b"")
    assert answer.status == 404
