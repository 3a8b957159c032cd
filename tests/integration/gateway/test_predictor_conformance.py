"""One behaviour for the model server in memory and for the adapter over real gRPC, with replies in both forms."""

import asyncio
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

from headway_serving.adapters.model_server.predictor import TfServingPredictor
from headway_serving.core.errors import (
    DeadlineExceeded,
    IncompatibleModel,
    ModelUnavailable,
    PredictionFailed,
    VersionNotFound,
)
from headway_serving.core.routing import Arm, Route
from headway_serving.gateway.app import ModelServer
from headway_serving.operations.version_loading import LoadingStates
from tests.fakes.scripted_models import Fault, familiar_version, scripted_manifest, scripted_version
from tests.fakes.tfserving_predictor import FakePredictor
from tests.integration.gateway.scripted_model_server import serving, serving_locally
from tests.support.on_loop import run
from tests.support.waiting import eventually

T = TypeVar("T")

STATES = ("UNKNOWN", "START", "LOADING", "AVAILABLE", "UNLOADING", "END")
MODELS = {
    "digits": {1: scripted_version(), 2: scripted_version()},
    "familiar": {1: familiar_version(0.5)},
    "lifetime": {number: scripted_version(state=state) for number, state in enumerate(STATES)},
    "broken": {1: scripted_version(), 2: replace(scripted_version(), state="END", failure="no such file")},
    "faulty": {number: scripted_version(fault=fault) for number, fault in enumerate(Fault)},
}
GENEROUS = 30.0
SHORT = 0.2


class Server(ModelServer, LoadingStates, Protocol):
    """All that the gateway and the commands ask of a model server."""


@dataclass(frozen=True)
class Implementation:
    """A predictor, and how to take its model server away."""

    predictor: Server
    take_away: Callable[[], object]


def in_memory() -> Iterator[Implementation]:
    fake = FakePredictor(MODELS)

    def take_away() -> None:
        fake.away = True

    yield Implementation(fake, take_away)


def over_grpc(*, as_content: bool) -> Iterator[Implementation]:
    with serving(MODELS, as_content=as_content) as (target, server):
        predictor = TfServingPredictor(target)
        yield Implementation(predictor, lambda: server.stop(grace=None).wait())
        predictor.close()


class OnAnEventLoop:
    """Asks a predictor from code that runs on an event loop, as the gateway does; the loop is a thread's own."""

    def __init__(self, inner: Server) -> None:
        self._inner = inner
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def predict(self, *arguments: Any) -> NDArray[np.float32]:
        return self._on_loop(lambda: self._inner.predict(*arguments))

    def manifest_json(self, route: Route, timeout: float) -> bytes:
        return self._on_loop(lambda: self._inner.manifest_json(route, timeout))

    def version_states(self, model: str, timeout: float) -> dict[int, str]:
        # As the gateway does too: in a thread, beside the loop.
        return self._inner.version_states(model, timeout)

    def load_failures(self, model: str, timeout: float) -> dict[int, str]:
        return self._inner.load_failures(model, timeout)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _on_loop(self, work: Callable[[], T]) -> T:
        return asyncio.run_coroutine_threadsafe(run(work), self._loop).result()


def over_grpc_on_a_loop() -> Iterator[Implementation]:
    for implementation in over_grpc(as_content=True):
        asking = OnAnEventLoop(implementation.predictor)
        yield replace(implementation, predictor=asking)
        asking.stop()


def over_a_local_socket() -> Iterator[Implementation]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s"
        with serving_locally(MODELS, path) as (target, stop):
            predictor = TfServingPredictor(target, path)
            asking = OnAnEventLoop(predictor)
            asking.predict(routed(), pictures(0), GENEROUS)
            assert predictor._local is not None
            assert predictor._local._idle, "it was asked there"
            yield Implementation(asking, stop)
            asking.stop()


IMPLEMENTATIONS: dict[str, Callable[[], Iterator[Implementation]]] = {
    "fake": in_memory,
    "grpc-typed-fields": lambda: over_grpc(as_content=False),
    "grpc-tensor-content": lambda: over_grpc(as_content=True),
    "grpc-on-an-event-loop": over_grpc_on_a_loop,
    "local-socket": over_a_local_socket,
}


@pytest.fixture(params=IMPLEMENTATIONS)
def implementation(request: pytest.FixtureRequest) -> Iterator[Implementation]:
    yield from IMPLEMENTATIONS[request.param]()


@pytest.fixture
def predictor(implementation: Implementation) -> ModelServer:
    return implementation.predictor


def routed(version: int = 1, model: str = "digits") -> Route:
    return Route(model, version, Arm.STABLE, "stable")


def pinned(version: int, model: str = "digits") -> Route:
    return Route(model, version, Arm.PINNED, "version")


def faulty(fault: Fault) -> Route:
    return routed(list(Fault).index(fault), "faulty")


def pictures(*classes: int) -> NDArray[np.uint8]:
    return np.stack([np.full((28, 28, 1), number, np.uint8) for number in classes])


def test_a_familiarity_is_the_column_behind_the_scores(implementation: Implementation) -> None:
    answer = implementation.predictor.predict(routed(model="familiar"), pictures(3, 1), GENEROUS)
    assert answer.shape == (2, 6)
    assert answer[:, :5].argmax(axis=1).tolist() == [3, 1]
    np.testing.assert_allclose(answer[:, 5], [0.3, 0.1], rtol=1e-6)


@pytest.mark.parametrize("classes", [(3,), (3, 1, 4, 1, 0)], ids=["one picture", "five pictures"])
def test_scores_are_one_row_of_float32_for_each_picture(predictor: Server, classes: tuple[int, ...]) -> None:
    scores = predictor.predict(routed(), pictures(*classes), GENEROUS)
    assert scores.dtype == np.float32
    assert scores.shape == (len(classes), 5)
    assert tuple(scores.argmax(axis=1)) == classes
    assert np.all(scores.max(axis=1) == np.float32(0.9))


def test_a_large_answer_arrives_whole(predictor: Server) -> None:
    many = np.zeros((2000, 28, 28, 1), np.uint8)
    assert predictor.predict(routed(), many, GENEROUS).shape == (2000, 5)


def test_a_version_describes_itself(predictor: Server) -> None:
    assert predictor.manifest_json(routed(), GENEROUS) == scripted_manifest().to_json().encode()


def test_a_pinned_version_that_is_not_there_is_not_found(predictor: Server) -> None:
    with pytest.raises(VersionNotFound, match="'digits' has no version 9"):
        predictor.predict(pinned(9), pictures(0), GENEROUS)
    with pytest.raises(VersionNotFound):
        predictor.manifest_json(pinned(9), GENEROUS)


@pytest.mark.parametrize("reason", ["stable", "weight", "label"])
def test_a_routed_version_that_is_not_there_is_unavailable(predictor: Server, reason: str) -> None:
    route = Route("digits", 9, Arm.STABLE, reason)
    with pytest.raises(ModelUnavailable, match="version 9 of model 'digits' gets traffic but is not loaded"):
        predictor.predict(route, pictures(0), GENEROUS)
    with pytest.raises(ModelUnavailable):
        predictor.manifest_json(route, GENEROUS)


def test_a_version_that_is_not_loaded_yet_is_as_if_it_were_not_there(predictor: Server) -> None:
    loading = STATES.index("LOADING")
    with pytest.raises(ModelUnavailable):
        predictor.predict(routed(loading, "lifetime"), pictures(0), GENEROUS)
    with pytest.raises(VersionNotFound):
        predictor.predict(pinned(loading, "lifetime"), pictures(0), GENEROUS)


def test_no_answer_in_time_is_a_missed_deadline(predictor: Server) -> None:
    with pytest.raises(DeadlineExceeded):
        predictor.predict(faulty(Fault.HANGS), pictures(0), SHORT)
    with pytest.raises(DeadlineExceeded):
        predictor.manifest_json(faulty(Fault.HANGS), SHORT)


def test_a_refused_prediction_has_failed(predictor: Server) -> None:
    with pytest.raises(PredictionFailed, match="INTERNAL: refused"):
        predictor.predict(faulty(Fault.REFUSES), pictures(0), GENEROUS)


@pytest.mark.parametrize("fault", [Fault.REFUSES, Fault.MALFORMED])
def test_a_version_without_a_manifest_is_incompatible(predictor: Server, fault: Fault) -> None:
    with pytest.raises(IncompatibleModel):
        predictor.manifest_json(faulty(fault), GENEROUS)


def test_a_malformed_answer_is_incompatible(predictor: Server) -> None:
    with pytest.raises(IncompatibleModel):
        predictor.predict(faulty(Fault.MALFORMED), pictures(0, 1), GENEROUS)


def test_scores_are_passed_on_as_they_are(predictor: Server) -> None:
    assert np.isnan(predictor.predict(faulty(Fault.NOT_A_NUMBER), pictures(0), GENEROUS)).all()


def test_states_are_told_newest_version_first(predictor: Server) -> None:
    states = predictor.version_states("lifetime", GENEROUS)
    assert list(states.items()) == list(reversed(list(enumerate(STATES))))


def test_a_model_the_server_does_not_know_has_no_states(predictor: Server) -> None:
    assert predictor.version_states("letters", GENEROUS) == {}


def test_why_a_version_could_not_be_loaded_is_passed_on(predictor: Server) -> None:
    assert predictor.load_failures("broken", GENEROUS) == {2: "no such file"}
    assert predictor.load_failures("lifetime", GENEROUS) == {}
    assert predictor.load_failures("letters", GENEROUS) == {}


def test_without_its_server_nothing_is_available(implementation: Implementation) -> None:
    predictor = implementation.predictor
    predictor.predict(routed(), pictures(0), GENEROUS)
    implementation.take_away()
    calls: list[Callable[[], object]] = [
        lambda: predictor.predict(routed(), pictures(0), GENEROUS),
        lambda: predictor.predict(pinned(1), pictures(0), GENEROUS),
        lambda: predictor.manifest_json(routed(), GENEROUS),
        lambda: predictor.version_states("digits", GENEROUS),
        lambda: predictor.load_failures("digits", GENEROUS),
    ]
    for call in calls:
        # What gRPC says of addresses and sockets is not for clients.
        with pytest.raises(ModelUnavailable, match=r"^the model server cannot answer now; try again in a moment$"):
            call()


def test_a_server_that_comes_back_is_found_again() -> None:
    with serving(MODELS, as_content=False) as (target, _):
        predictor = TfServingPredictor(target)
        predictor.predict(routed(), pictures(0), GENEROUS)
    with pytest.raises(ModelUnavailable):
        predictor.predict(routed(), pictures(0), GENEROUS)

    def answers() -> bool:
        try:
            return predictor.predict(routed(), pictures(0), GENEROUS).shape == (1, 5)
        except ModelUnavailable:
            return False

    with serving(MODELS, as_content=False, target=target):
        eventually(answers, "the server is found again")
    predictor.close()
