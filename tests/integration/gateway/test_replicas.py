"""Several model servers behind one name: calls are spread, and what one of them cannot answer another one does."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from headway_serving.adapters.model_server.predictor import TfServingPredictor
from headway_serving.core.errors import ModelUnavailable, ServingError
from headway_serving.core.routing import Arm, Route
from tests.fakes.scripted_models import ScriptedVersion, scripted_version
from tests.integration.gateway.scripted_model_server import serving
from tests.integration.gateway.tiny_name_server import name_server
from tests.support.on_loop import run
from tests.support.waiting import eventually

STABLE = Route("digits", 1, Arm.STABLE, "stable")
ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
PICTURES = np.zeros((1, 28, 28, 1), np.uint8)
SECONDS = 10.0


class CountedVersions(dict[int, ScriptedVersion]):
    """The versions of one replica, and how often it was asked for one that it has."""

    asked = 0

    def get(self, number: int, default: Any = None) -> Any:
        found = super().get(number, default)
        self.asked += found is not None
        return found


class Replicas:
    """Model servers of one name: the versions of each, which can be changed, and the servers, to be stopped."""

    def __init__(self, stack: ExitStack) -> None:
        self.versions = [CountedVersions({1: scripted_version()}) for _ in ADDRESSES]
        self.servers: list[Any] = []
        port = 0
        for address, versions in zip(ADDRESSES, self.versions, strict=True):
            models = {"digits": versions}
            target, server = stack.enter_context(serving(models, as_content=True, target=f"{address}:{port}"))
            port = int(target.rpartition(":")[2])
            self.servers.append(server)
        self.target = f"dns://{stack.enter_context(name_server(ADDRESSES))}/model-servers.test:{port}"

    def asked(self) -> list[int]:
        """How often each replica had what it was asked for."""
        return [versions.asked for versions in self.versions]


@pytest.fixture
def replicas() -> Iterator[Replicas]:
    with ExitStack() as stack:
        yield Replicas(stack)


Ask = Callable[[int], list[bool | type[Exception]]]


def outcome(predictor: TfServingPredictor) -> bool | type[Exception]:
    try:
        return predictor.predict(STABLE, PICTURES, SECONDS).shape == (1, 5)
    except ServingError as error:
        return type(error)


@pytest.fixture(params=["in a thread", "on an event loop"])
def ask(request: pytest.FixtureRequest, replicas: Replicas) -> Iterator[Ask]:
    """Ask so often, one after the other; all replicas are connected before."""
    predictor = TfServingPredictor(replicas.target)
    with asyncio.Runner() as runner:

        def ask(count: int) -> list[bool | type[Exception]]:
            def work() -> list[bool | type[Exception]]:
                return [outcome(predictor) for _ in range(count)]

            return work() if request.param == "in a thread" else runner.run(run(work))

        eventually(lambda: ask(3) == [True] * 3 and all(replicas.asked()), "every replica has answered")
        yield ask
    predictor.close()


def test_calls_are_spread_over_the_replicas(replicas: Replicas, ask: Ask) -> None:
    before = replicas.asked()
    assert ask(300) == [True] * 300
    grown = [after - start for start, after in zip(before, replicas.asked(), strict=True)]
    assert all(80 <= each <= 120 for each in grown), grown


def test_a_version_that_one_replica_does_not_have_yet_is_answered_by_the_others(replicas: Replicas, ask: Ask) -> None:
    """For as long as it takes: retries that stop because some calls need them would fail a third of the requests."""
    replicas.versions[1].clear()
    assert ask(600) == [True] * 600
    replicas.versions[1][1] = scripted_version()
    had = replicas.versions[1].asked
    assert ask(30) == [True] * 30
    assert replicas.versions[1].asked > had, "it gets its share again"


def test_a_list_of_addresses_is_as_good_as_a_name(replicas: Replicas) -> None:
    port = replicas.target.rpartition(":")[2]
    predictor = TfServingPredictor("ipv4:" + ",".join(f"{address}:{port}" for address in ADDRESSES))
    replicas.versions[1].clear()
    replicas.servers[2].stop(grace=None).wait()
    assert [outcome(predictor) for _ in range(100)] == [True] * 100
    predictor.close()


def test_a_replica_that_is_gone_fails_no_request(replicas: Replicas, ask: Ask) -> None:
    replicas.servers[0].stop(grace=None).wait()
    assert ask(300) == [True] * 300


def test_what_no_replica_has_is_told_soon(replicas: Replicas, ask: Ask) -> None:
    for versions in replicas.versions:
        versions.clear()
    started = time.monotonic()
    assert ask(5) == [ModelUnavailable] * 5
    assert time.monotonic() - started < SECONDS
