"""Whether a version can answer is asked of everybody at once, in bounded time; the directory decides if nobody says."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from headway_contract.model_repository import ModelRepository
from headway_serving.operations.availability import Asked, VersionUnavailable, check_available
from tests.support.contract_examples import publish
from tests.support.ports import free_port

GATEWAY = "http://gateway"


@pytest.fixture
def repository(tmp_path: Path) -> ModelRepository:
    """Versions 1 and 2 of `letters`."""
    made = ModelRepository(tmp_path / "models")
    assert (publish(made), publish(made)) == (1, 2)
    return made


Answer = Callable[[httpx.Request], httpx.Response]


def look(repository: ModelRepository, answer: Answer) -> str | None:
    asked = Asked((GATEWAY,), (f"127.0.0.1:{free_port()}",))
    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        return check_available(repository, "letters", 1, asked, http, seconds=0.5)


def says(status: int = 200, **document: object) -> Answer:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url == f"{GATEWAY}/v1/models/letters"
        return httpx.Response(status, json=document)

    return answer


def away(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")


def hanging(_: httpx.Request) -> httpx.Response:
    time.sleep(5)
    return httpx.Response(200, json={"states": {"1": "END"}})


def test_an_available_version_is_let_through_without_a_word(repository: ModelRepository) -> None:
    assert look(repository, says(states={"1": "AVAILABLE", "2": "LOADING"})) is None


@pytest.mark.parametrize(("states", "said"), [({"1": "END"}, "END"), ({"2": "AVAILABLE"}, "not loaded")])
def test_a_version_that_a_gateway_says_is_not_available_is_refused(
    repository: ModelRepository, states: dict[str, str], said: str
) -> None:
    with pytest.raises(
        VersionUnavailable, match=f"version 1 of 'letters' cannot answer: gateway {GATEWAY} says {said}"
    ):
        look(repository, says(states=states))


@pytest.mark.parametrize(
    "answer",
    [away, hanging, says(404, code="model_not_found"), says(states={}, unavailable="away"), says(500)],
    ids=["away", "hanging", "unknown model", "without model server", "broken"],
)
def test_where_nobody_can_say_the_directory_decides_in_bounded_time(
    repository: ModelRepository, answer: Answer
) -> None:
    began = time.monotonic()
    warning = look(repository, answer)
    assert warning is not None
    assert warning.startswith("no gateway or model server could say within 0.5 s whether version 1 of 'letters'")
    shutil.rmtree(repository.root / "letters" / "1")
    with pytest.raises(VersionUnavailable, match=r"version 1 of 'letters' is gone: .*letters/1 is not there.*--force"):
        look(repository, answer)
    assert time.monotonic() - began < 4, "who hangs is not waited for"


def test_a_directory_that_is_gone_is_refused_though_a_model_server_still_holds_it(repository: ModelRepository) -> None:
    shutil.rmtree(repository.root / "letters" / "1")
    with pytest.raises(VersionUnavailable, match="is gone"):
        look(repository, says(states={"1": "AVAILABLE"}))


def test_a_repository_that_is_out_of_reach_keeps_nobody_from_taking_traffic_back(tmp_path: Path) -> None:
    assert look(ModelRepository(tmp_path / "unmounted"), away) is not None
    assert look(ModelRepository(tmp_path), away) is not None
