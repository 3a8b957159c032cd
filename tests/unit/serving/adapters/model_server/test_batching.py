"""Concurrent requests share calls; each gets its own rows, its own deadline and its own errors."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from headway_serving.adapters.model_server.batching import BatchingPredictor, BatchLimits
from headway_serving.concurrency.event_loop import wait_for
from headway_serving.core.errors import DeadlineExceeded, ModelUnavailable, PredictionFailed
from headway_serving.core.routing import Arm, Route
from tests.support.on_loop import run
from tests.support.waiting import eventually

ROUTE = Route("digits", 1, Arm.STABLE, "stable")
POISON = 255
SECONDS = 20.0


class GatedModel:
    """Answers twice the first value of every row, when the gate is open; refuses a call that has poison in it."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.calls: list[tuple[Route, str, list[int], float]] = []
        self.under_way = 0

    def predict(
        self, route: Route, rows: NDArray[Any], timeout: float, signature: str = "serving_default"
    ) -> NDArray[np.float32]:
        values = [int(row.ravel()[0]) for row in rows]
        self.calls.append((route, signature, values, timeout))
        self.under_way += 1
        assert self.gate.wait(SECONDS)
        self.under_way -= 1
        if POISON in values:
            raise PredictionFailed("the model server answered INVALID_ARGUMENT")
        if route.model == "away":
            raise ModelUnavailable("the model server cannot answer now")
        return np.array([[2 * value] for value in values], np.float32)

    def sizes(self) -> list[int]:
        return [len(values) for _, _, values, _ in self.calls]


def rows(*values: int) -> NDArray[np.uint8]:
    return np.array(values, np.uint8).reshape(-1, 1)


@pytest.fixture
def model() -> GatedModel:
    return GatedModel()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as executor:
        yield executor


@pytest.fixture
def predictor(model: GatedModel, pool: ThreadPoolExecutor) -> BatchingPredictor:
    return BatchingPredictor(model, pool, BatchLimits(max_rows=8, target_seconds=3600, max_calls=1))


Ask = Callable[..., "Future[NDArray[np.float32]]"]


@pytest.fixture
def ask(predictor: BatchingPredictor, pool: ThreadPoolExecutor, model: GatedModel) -> Iterator[Ask]:
    def ask(*values: int, route: Route = ROUTE, seconds: float = SECONDS, signature: str = "serving_default") -> Any:
        return pool.submit(predictor.predict, route, rows(*values), seconds, signature)

    yield ask
    model.gate.set()


def hold(model: GatedModel, ask: Ask) -> "Future[NDArray[np.float32]]":
    """A first call that waits at the gate."""
    model.gate.clear()
    first = ask(0)
    eventually(lambda: model.under_way == 1, "the first call is under way")
    return first


def queued(predictor: BatchingPredictor) -> int:
    return sum(len(queue._waiting) for queue in predictor._queues.values())


def wait_for_queue(predictor: BatchingPredictor, length: int) -> None:
    eventually(lambda: queued(predictor) == length, f"{length} requests wait")


def test_an_idle_model_is_asked_at_once(predictor: BatchingPredictor, model: GatedModel) -> None:
    assert predictor.predict(ROUTE, rows(3, 4), SECONDS).tolist() == [[6], [8]]
    assert model.sizes() == [2]


def test_what_waits_while_a_call_is_under_way_goes_into_the_next_one(
    predictor: BatchingPredictor, model: GatedModel, ask: Ask
) -> None:
    first = hold(model, ask)
    waiting = [ask(value, value + 100) for value in (1, 2, 3)]
    wait_for_queue(predictor, 3)
    model.gate.set()
    assert first.result(SECONDS).tolist() == [[0]]
    assert [future.result(SECONDS).ravel().tolist() for future in waiting] == [[2, 202], [4, 204], [6, 206]]
    assert model.sizes() == [1, 6]


def test_a_batch_has_no_more_rows_than_allowed_and_none_is_lost(
    predictor: BatchingPredictor, model: GatedModel, ask: Ask
) -> None:
    hold(model, ask)
    waiting = [ask(value) for value in range(1, 21)]
    wait_for_queue(predictor, 20)
    model.gate.set()
    assert sorted(float(future.result(SECONDS)[0, 0]) for future in waiting) == [2.0 * value for value in range(1, 21)]
    assert max(model.sizes()) == 8
    assert sum(model.sizes()) == 21


def test_a_request_of_many_rows_lets_others_in_between(
    predictor: BatchingPredictor, model: GatedModel, ask: Ask
) -> None:
    model.gate.clear()
    large = ask(*range(20))
    eventually(lambda: model.under_way == 1, "its first piece is under way")
    small = ask(100)
    wait_for_queue(predictor, 1)
    model.gate.set()
    assert large.result(SECONDS).ravel().tolist() == [2.0 * value for value in range(20)]
    assert small.result(SECONDS).tolist() == [[200]]
    order = [values for _, _, values, _ in model.calls]
    assert order[0] == list(range(8))
    assert 100 in order[1], "it did not wait for the rest of the large one"


def test_batches_shrink_to_the_time_that_a_call_may_take(model: GatedModel, pool: ThreadPoolExecutor) -> None:
    predictor = BatchingPredictor(model, pool, BatchLimits(max_rows=32, target_seconds=0.02, max_calls=1))
    plain = model.predict

    def slow(*arguments: Any) -> NDArray[np.float32]:
        time.sleep(0.01 * len(arguments[1]))
        return plain(*arguments)

    model.predict = slow  # type: ignore[method-assign, assignment]  # a slower one in its place
    for _ in range(20):
        predictor.predict(ROUTE, rows(1), SECONDS)
    model.calls.clear()
    predictor.predict(ROUTE, rows(*range(12)), SECONDS)
    assert max(model.sizes()) <= 3


@pytest.mark.parametrize("other", [{"route": Route("digits", 2, Arm.CANDIDATE, "weight")}, {"signature": "features"}])
def test_versions_and_signatures_have_queues_of_their_own(model: GatedModel, ask: Ask, other: dict[str, Any]) -> None:
    hold(model, ask)
    ask(5, **other)
    eventually(lambda: model.under_way == 2, "it does not wait for the other one's call")


def test_a_request_that_gave_up_is_never_sent(predictor: BatchingPredictor, model: GatedModel, ask: Ask) -> None:
    hold(model, ask)
    hurried, patient = ask(7, seconds=0.05), ask(8)
    with pytest.raises(DeadlineExceeded):
        hurried.result(SECONDS)
    model.gate.set()
    assert patient.result(SECONDS).tolist() == [[16]]
    assert [values for _, _, values, _ in model.calls] == [[0], [8]]


def test_a_hurried_request_does_not_shorten_the_time_of_its_batch(
    predictor: BatchingPredictor, model: GatedModel, ask: Ask
) -> None:
    hold(model, ask)
    ask(7, seconds=5.0)
    ask(8, seconds=15.0)
    wait_for_queue(predictor, 2)
    model.gate.set()
    eventually(lambda: len(model.calls) == 2, "the batch is sent")
    assert 5.0 < model.calls[1][3] <= 15.0


def test_no_time_left_means_no_call(predictor: BatchingPredictor, model: GatedModel) -> None:
    with pytest.raises(DeadlineExceeded):
        predictor.predict(ROUTE, rows(1), 0.0)
    assert model.calls == []


def test_one_refused_request_does_not_spoil_its_batch(
    predictor: BatchingPredictor, model: GatedModel, ask: Ask
) -> None:
    hold(model, ask)
    good, bad = [ask(1), ask(2)], ask(POISON)
    wait_for_queue(predictor, 3)
    model.gate.set()
    assert [future.result(SECONDS).tolist() for future in good] == [[[2]], [[4]]]
    with pytest.raises(PredictionFailed):
        bad.result(SECONDS)


def test_every_request_hears_that_the_model_server_is_away(
    predictor: BatchingPredictor, model: GatedModel, ask: Ask
) -> None:
    away = Route("away", 1, Arm.STABLE, "stable")
    model.gate.clear()
    futures = [ask(0, route=away)]
    eventually(lambda: model.under_way == 1, "the first call is under way")
    futures += [ask(value, route=away) for value in (1, 2, 3)]
    wait_for_queue(predictor, 3)
    model.gate.set()
    for future in futures:
        with pytest.raises(ModelUnavailable):
            future.result(SECONDS)
    assert len(model.calls) == 2, "an absent server is not asked again for each of them"


def test_every_row_comes_back_to_its_request_under_load(model: GatedModel, pool: ThreadPoolExecutor) -> None:
    predictor = BatchingPredictor(model, pool, BatchLimits(max_rows=16, max_calls=2))

    def many(start: int) -> bool:
        return all(
            predictor.predict(ROUTE, rows(start % 200, turn % 50), SECONDS).tolist()
            == [[2 * (start % 200)], [2 * (turn % 50)]]
            for turn in range(100)
        )

    with ThreadPoolExecutor(16) as askers:
        assert all(askers.map(many, range(16)))
    assert sum(model.sizes()) == 16 * 100 * 2


def on_loop(*asks: Callable[[], NDArray[np.float32]]) -> list[NDArray[np.float32] | BaseException]:
    """What each of the requests gets, all at once on one event loop."""

    async def main() -> list[NDArray[np.float32] | BaseException]:
        return await asyncio.gather(*map(run, asks), return_exceptions=True)

    return asyncio.run(main())


def test_requests_that_arrive_together_on_an_event_loop_share_a_call(
    model: GatedModel, pool: ThreadPoolExecutor
) -> None:
    predictor = BatchingPredictor(model, pool, BatchLimits(max_rows=16, target_seconds=3600, max_calls=1))
    answers = on_loop(*(lambda value=value: predictor.predict(ROUTE, rows(value), SECONDS) for value in range(6)))
    assert [answer.tolist() for answer in answers if isinstance(answer, np.ndarray)] == [[[2 * v]] for v in range(6)]
    assert model.sizes() == [6]


class AwaitedModel(GatedModel):
    """Answers after the event loop has had some turns, as a call over a network does."""

    def predict(self, *arguments: Any, **more: Any) -> NDArray[np.float32]:
        self.under_way += 1
        wait_for(asyncio.sleep(0.02))
        self.under_way -= 1
        return super().predict(*arguments, **more)


def test_of_many_that_arrive_together_half_a_batch_goes_ahead_of_the_others(pool: ThreadPoolExecutor) -> None:
    model = AwaitedModel()
    predictor = BatchingPredictor(model, pool, BatchLimits(max_rows=8, target_seconds=3600, max_calls=1))
    answers = on_loop(*(lambda value=value: predictor.predict(ROUTE, rows(value), SECONDS) for value in range(20)))
    assert [answer.tolist() for answer in answers if isinstance(answer, np.ndarray)] == [[[2 * v]] for v in range(20)]
    assert model.sizes() == [4, 8, 8]


def test_on_an_event_loop_each_has_its_own_deadline_and_its_own_error(
    predictor: BatchingPredictor, model: GatedModel, ask: Ask
) -> None:
    first = hold(model, ask)
    opening = threading.Timer(0.5, model.gate.set)
    opening.start()
    hurried, poisoned, good = on_loop(
        lambda: predictor.predict(ROUTE, rows(7), 0.05),
        lambda: predictor.predict(ROUTE, rows(POISON), SECONDS),
        lambda: predictor.predict(ROUTE, rows(8), SECONDS),
    )
    assert isinstance(hurried, DeadlineExceeded)
    assert isinstance(poisoned, PredictionFailed)
    assert isinstance(good, np.ndarray)
    assert good.tolist() == [[16]]
    assert first.result(SECONDS).tolist() == [[0]]
    assert all(7 not in values for _, _, values, _ in model.calls), "it is never sent"


def test_a_thread_and_an_event_loop_share_calls(predictor: BatchingPredictor, model: GatedModel, ask: Ask) -> None:
    hold(model, ask)
    in_thread = ask(1)
    wait_for_queue(predictor, 1)
    opening = threading.Timer(0.2, model.gate.set)
    opening.start()
    (on_the_loop,) = on_loop(lambda: predictor.predict(ROUTE, rows(2), SECONDS))
    assert isinstance(on_the_loop, np.ndarray)
    assert on_the_loop.tolist() == [[4]]
    assert in_thread.result(SECONDS).tolist() == [[2]]
    assert model.sizes() == [1, 2]
