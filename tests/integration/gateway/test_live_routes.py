"""Two gateway processes: a bad entry in the routes harms one model of neither, and either is told the truth."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from headway_client import Client
from headway_serving.adapters.files.routes import write_routes
from headway_serving.core.routing import Candidate, ModelRoutes, RouteTable
from tests.fakes.scripted_models import ScriptedVersion, scripted_version
from tests.integration.gateway.gateway_under_test import picture
from tests.integration.gateway.live_gateway import LiveGateway, live_gateway
from tests.support.waiting import eventually

Pair = list[tuple[LiveGateway, Path]]


@pytest.fixture(scope="module")
def versions() -> dict[int, ScriptedVersion]:
    """Of model digits, at the model servers of both gateways."""
    return {number: scripted_version() for number in (1, 2)}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, versions: dict[int, ScriptedVersion]) -> Iterator[Pair]:
    with contextlib.ExitStack() as stack:
        folders = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
        yield [
            (stack.enter_context(live_gateway(folder, versions=versions, ROUTES_POLL_SECONDS=0.05)), folder)
            for folder in folders
        ]


def route(pair: Pair, routes: ModelRoutes) -> None:
    for _, folder in pair:
        write_routes(folder / "routes.json", RouteTable({"digits": routes}))


def metrics(gateway: LiveGateway) -> str:
    return httpx.get(f"{gateway.url}/metrics").text


def stable_of(gateway: LiveGateway) -> int:
    return int(httpx.get(f"{gateway.url}/v1/models/digits").json()["stable"])


def test_a_version_that_nobody_serves_takes_no_gateway_out_and_fails_no_request(
    pair: Pair, versions: dict[int, ScriptedVersion]
) -> None:
    route(pair, ModelRoutes(1))
    route(pair, ModelRoutes(9))
    for gateway, folder in pair:
        eventually(lambda: 'headway_routes_pending{model="digits"} 1.0' in metrics(gateway), "it waits")  # noqa: B023
        with Client(gateway.url) as client:
            for _ in range(50):
                assert client.classify(picture(3), model="digits").version == 1
                assert gateway.ready()
        eventually(lambda: "version 9 is not loaded; see /readyz?verbose" in (folder / "log").read_text(), "a line")  # noqa: B023
    versions[9] = scripted_version()
    for gateway, folder in pair:
        eventually(lambda: stable_of(gateway) == 9, "it is taken over once it is there")  # noqa: B023
        log = (folder / "log").read_text()
        assert log.count("wait for version 9") == log.count("version 9 can answer") == 1
    # Version 1 is new to these routes now; it is there, so it is a matter of one question.
    route(pair, ModelRoutes(1))
    eventually(lambda: all(stable_of(gateway) == 1 for gateway, _ in pair), "version 1 again")
    del versions[9]


def test_the_truth_about_one_gateways_answers_is_told_to_another(pair: Pair) -> None:
    route(pair, ModelRoutes(1, Candidate(2, 0.5)))
    (one, _), (two, _) = pair
    eventually(lambda: "candidate" in arms(one), "the candidate gets its share")
    with Client(one.url) as asked, Client(two.url) as told:
        answers = [asked.classify(picture(3), model="digits", routing_key=f"user-{n}") for n in range(40)]
        right = told.feedback(answer.feedback("3") for answer in answers[:30])
        wrong = told.feedback(answer.feedback("4") for answer in answers[25:])
    assert (right.right, right.wrong, right.duplicates, right.ignored) == (30, 0, 0, ())
    assert (wrong.right, wrong.wrong, wrong.duplicates, wrong.ignored) == (0, 10, 5, ())
    page = metrics(two)
    for version, arm in ((1, "stable"), (2, "candidate")):
        expected = sum(answer.arm == arm for answer in answers[:30])
        labels = f'arm="{arm}",model="digits",outcome="right",version="{version}"'
        assert f"headway_feedback_total{{{labels}}} {float(expected)}" in page
    assert "headway_feedback_total{" not in metrics(one)


def arms(gateway: LiveGateway) -> set[str | None]:
    with Client(gateway.url) as client:
        return {client.classify(picture(3), model="digits", routing_key=f"key-{n}").arm for n in range(10)}
