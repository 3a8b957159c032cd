"""When a process is ready: at the start with all models, or with those that come; then with any."""

import pytest

from headway_serving.core.catalog import Catalog
from headway_serving.core.readiness import START_PATIENCE_SECONDS, Readiness
from headway_serving.core.routing import ModelRoutes, RouteTable
from tests.fakes.scripted_models import scripted_version
from tests.fakes.tfserving_predictor import FakePredictor

TABLE = RouteTable({name: ModelRoutes(1) for name in ("digits", "faces", "letters")})


class Clock:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def readiness(clock: Clock) -> Readiness:
    server = FakePredictor({})
    return Readiness(Catalog(server), server, clock)


def test_it_is_ready_when_all_can_answer(readiness: Readiness) -> None:
    assert readiness.ready(TABLE, [])
    assert readiness.ready(RouteTable({}), [])


def test_it_waits_for_the_others_as_long_as_they_come_one_by_one(readiness: Readiness, clock: Clock) -> None:
    assert not readiness.ready(TABLE, ["faces", "letters"])
    clock.now += START_PATIENCE_SECONDS - 1
    assert not readiness.ready(TABLE, ["letters"])
    clock.now += START_PATIENCE_SECONDS - 1
    assert not readiness.ready(TABLE, ["letters"])
    clock.now += 1
    assert readiness.ready(TABLE, ["letters"]), "one that is broken does not keep the others from being served"


def test_it_is_never_ready_with_no_model_that_can_answer(readiness: Readiness, clock: Clock) -> None:
    clock.now += 10 * START_PATIENCE_SECONDS
    assert not readiness.ready(TABLE, list(TABLE.models))
    clock.now += 10 * START_PATIENCE_SECONDS
    assert not readiness.ready(TABLE, ["faces", "letters"]), "the patience begins with the first one"


def test_once_ready_it_is_ready_while_any_model_can_answer(readiness: Readiness) -> None:
    assert readiness.ready(TABLE, [])
    assert readiness.ready(TABLE, ["faces", "letters"])
    assert not readiness.ready(TABLE, list(TABLE.models))
    assert readiness.ready(TABLE, ["faces", "letters"])


def test_a_version_is_asked_about_whether_it_is_routed_or_not() -> None:
    server = FakePredictor({"digits": {1: scripted_version(), 2: scripted_version(state="LOADING")}})
    readiness = Readiness(Catalog(server), server)
    assert readiness.of_version("digits", 1) is None
    assert readiness.of_version("digits", 2) == "version 2 is LOADING"
    assert readiness.of_version("letters", 1) == "version 1 is not loaded"
    server.away = True
    assert readiness.of_version("digits", 1) == "the model server cannot answer now; try again in a moment"
