"""Admission and batching together, under hours of load in seconds: the code itself on a loop with virtual time.

Seeds are fixed, so that every run is the same. What the model costs is a fixed time for each call and a time for each
row, of which the processor can work on a few calls' at once.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from headway_serving.adapters.model_server.batching import BatchingPredictor, BatchLimits
from headway_serving.concurrency import event_loop
from headway_serving.concurrency.event_loop import wait_for
from headway_serving.concurrency.signal import Signal
from headway_serving.core.admission import Admission, Priority
from headway_serving.core.errors import DeadlineExceeded, Overloaded, ServingError
from headway_serving.core.request_queue import QueueLimits
from headway_serving.core.routing import Arm, Route
from tests.support.virtual_time import VirtualTimeLoop, run

ROUTE = Route("digits", 1, Arm.STABLE, "stable")
ROW = np.zeros((1, 2), np.uint8)
TIME = 10.0
RETRY_SECONDS = 0.005


@dataclass
class Model:
    """Answers rows; ``fixed`` and ``row``: seconds of a call, and of each row on one of the processor's cores."""

    loop: VirtualTimeLoop
    fixed: float
    row: float
    cores: int = 1
    free_at: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.free_at = [0.0] * self.cores

    def predict(
        self, route: Route, rows: NDArray[Any], timeout: float, signature: str = "serving_default"
    ) -> NDArray[np.float32]:
        assert (route, signature) == (ROUTE, "serving_default")
        assert timeout > 0
        now, core = self.loop.time(), self.free_at.index(min(self.free_at))
        ends = self.free_at[core] = max(now, self.free_at[core]) + self.row * len(rows)
        wait_for(asyncio.sleep(ends - now + self.fixed))
        return np.zeros((len(rows), 2), np.float32)


@dataclass
class Asked:
    """A request: when it came, on the clock of the load, how long it took, and how it ended."""

    at: float
    seconds: float
    outcome: str


@dataclass
class Gateway:
    """The parts of a gateway that decide who waits for whom, and everything that they were asked."""

    loop: VirtualTimeLoop
    model: Model
    limits: BatchLimits
    asked: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.began = self.loop.time()
        self.admission = Admission(QueueLimits(), Signal, self.loop.time)
        self.predictor = BatchingPredictor(self.model, ThreadPoolExecutor(1), self.limits, clock=self.loop.time)

    def ask(self, then: Callable[[str], None] = lambda _: None) -> None:
        """One picture comes; ``then`` gets how it ended."""
        came = self.loop.time()

        def left() -> float:
            seconds = came + TIME - self.loop.time()
            if seconds <= 0:
                raise DeadlineExceeded("too late")
            return seconds

        def work() -> str:
            outcome = "ok"
            try:
                with self.admission.admitted(Priority.STABLE, "digits", 1, left) as admitted:
                    self.predictor.predict(ROUTE, ROW, left())
                    admitted.wanted = self.predictor.rows_wanted(ROUTE, "serving_default")
            except ServingError as error:
                outcome = error.code
            self.asked.append(Asked(came - self.began, self.loop.time() - came, outcome))
            return outcome

        event_loop.start(self.loop, work, then)

    async def open_load(self, phases: Sequence[tuple[float, float]]) -> None:
        """Poisson arrivals: so many a second, for so many seconds; ends when all are answered."""
        seeded = random.Random(1)
        for rate, seconds in phases:
            due, ends = self.loop.time(), self.loop.time() + seconds
            while (due := due + seeded.expovariate(rate)) < ends:
                await asyncio.sleep(due - self.loop.time())
                self.ask()
            await asyncio.sleep(ends - self.loop.time())
        await asyncio.sleep(2 * TIME)

    async def closed_load(self, clients: int, seconds: float, change: Callable[[], None] | None = None) -> None:
        """So many clients, who each ask again when they have their answer; ``change``: what happens after a third."""
        ends = self.loop.time() + seconds

        def again(outcome: str) -> None:
            if self.loop.time() < ends:
                self.loop.call_later(0.0 if outcome == "ok" else RETRY_SECONDS, self.ask, again)

        for _ in range(clients):
            self.ask(again)
        await asyncio.sleep(seconds / 3)
        if change is not None:
            change()
        await asyncio.sleep(seconds * 2 / 3 + 2 * TIME)

    def outcomes(self) -> Counter[str]:
        """How many ended how."""
        return Counter(each.outcome for each in self.asked)

    def answered(self, since: float, until: float) -> list[Asked]:
        """The right answers that were given in a part of the time."""
        return [each for each in self.asked if each.outcome == "ok" and since <= each.at + each.seconds < until]

    def p99(self) -> float:
        """Seconds, of all right answers."""
        seconds = sorted(each.seconds for each in self.asked if each.outcome == "ok")
        return seconds[int(0.99 * (len(seconds) - 1))]


def gateway_under(
    load: Callable[[Gateway], Any], fixed: float, row: float, cores: int = 1, limits: BatchLimits | None = None
) -> Gateway:
    """A gateway after a load."""

    async def main(loop: VirtualTimeLoop) -> Gateway:
        gateway = Gateway(loop, Model(loop, fixed, row, cores), limits or BatchLimits())
        await load(gateway)
        return gateway

    return run(main)


MODELS = {"digits": (0.0003, 0.0008, 1), "photos": (0.001, 0.010, 1), "large photos": (0.001, 0.037, 2)}


def saturating(model: tuple[float, float, int]) -> float:
    return model[2] / model[1]


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_three_times_too_much_leaves_goodput_and_latency_whole(model: tuple[float, float, int]) -> None:
    most, seconds = saturating(model), 30
    gateway = gateway_under(lambda g: g.open_load([(3 * most, seconds)]), *model)
    assert len(gateway.answered(0, seconds)) >= 0.95 * seconds * most
    assert gateway.p99() <= 0.5
    assert set(gateway.outcomes()) == {"ok", "overloaded"}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_burst_of_five_seconds_is_answered_whole(model: tuple[float, float, int]) -> None:
    most = saturating(model)
    gateway = gateway_under(lambda g: g.open_load([(0.6 * most, 5), (2 * most, 5), (0.6 * most, 20)]), *model)
    assert set(gateway.outcomes()) == {"ok"}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_many_at_once_are_all_answered(model: tuple[float, float, int]) -> None:
    async def at_once(gateway: Gateway) -> None:
        for _ in range(200):
            gateway.ask()
        await asyncio.sleep(2 * TIME)

    assert gateway_under(at_once, *model).outcomes() == {"ok": 200}


@pytest.mark.parametrize(("model", "clients"), [("digits", 64), ("digits", 256), ("photos", 32), ("large photos", 32)])
def test_clients_who_wait_for_their_answers_are_all_served(model: str, clients: int) -> None:
    gateway = gateway_under(lambda g: g.closed_load(clients, 30), *MODELS[model])
    assert set(gateway.outcomes()) == {"ok"}
    most = saturating(MODELS[model])
    assert len(gateway.answered(10, 30)) >= 0.95 * 20 * most
    assert gateway.p99() < 2 * clients / most + 0.2


FIXED = (0.0003, 0.003, 0.020, 0.060, 0.200)
ROW_SECONDS = 0.0002


@cache
def best_rate(fixed: float, clients: int) -> float:
    """Answers a second with the best of all settings that do not change."""
    rates = []
    for rows in (2, 4, 8, 16, 32):
        gateway = gateway_under(
            lambda g: g.closed_load(clients, 2), fixed, ROW_SECONDS, limits=BatchLimits(rows, target_seconds=60.0)
        )
        rates.append(len(gateway.answered(1, 2)))
    return max(rates)


@pytest.mark.parametrize("clients", [8, 64])
@pytest.mark.parametrize("fixed", FIXED)
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "after single pictures"])
def test_what_is_fixed_in_a_call_is_no_trap(fixed: float, clients: int, warm: bool) -> None:
    async def load(gateway: Gateway) -> None:
        for _ in range(20 if warm else 0):
            answered: asyncio.Future[str] = gateway.loop.create_future()
            gateway.ask(answered.set_result)
            await answered
        gateway.began = gateway.loop.time()
        await gateway.closed_load(clients, 6)

    gateway = gateway_under(load, fixed, ROW_SECONDS)
    assert set(gateway.outcomes()) == {"ok"}
    assert len(gateway.answered(5, 6)) >= 0.9 * best_rate(fixed, clients)


@pytest.mark.parametrize(("before", "after"), [(0.0003, 0.2), (0.2, 0.0003), (0.003, 0.06), (0.06, 0.02)])
def test_what_is_fixed_may_change_while_it_runs(before: float, after: float) -> None:
    def change(gateway: Gateway) -> None:
        gateway.model.fixed = after

    gateway = gateway_under(lambda g: g.closed_load(64, 9, partial(change, g)), before, ROW_SECONDS)
    assert set(gateway.outcomes()) == {"ok"}
    assert len(gateway.answered(8, 9)) >= 0.9 * best_rate(after, 64)


def test_a_refusal_says_when_to_come_back() -> None:
    async def load(gateway: Gateway) -> None:
        for _ in range(2000):
            gateway.ask()
            refusals.append(gateway.admission.refusal("digits"))
            await asyncio.sleep(0.003)
        assert gateway.admission.states()["digits"].shedding
        await asyncio.sleep(2 * TIME)

    refusals: list[Overloaded | None] = []
    gateway_under(load, 0.001, 0.010)
    told = [each.retry_after for each in refusals if each is not None]
    assert told
    assert all(0 < seconds < 1 for seconds in told)
