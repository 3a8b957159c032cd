"""Requests that wait for their turn in threads and on an event loop, by model and arm."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import pytest

from headway_serving.concurrency.signal import Signal
from headway_serving.core.admission import Admission, Priority, priority_of
from headway_serving.core.errors import DeadlineExceeded, Overloaded
from headway_serving.core.request_queue import QueueLimits
from headway_serving.core.routing import Arm, Route
from tests.support.on_loop import run
from tests.support.waiting import eventually


def left(seconds: float) -> Callable[[], float]:
    return lambda: seconds


@pytest.fixture
def admission() -> Admission:
    return Admission(QueueLimits(most=8), Signal)


def fill(admission: Admission, stack: ExitStack, count: int = 8, priority: Priority = Priority.STABLE) -> None:
    for _ in range(count):
        stack.enter_context(admission.admitted(priority, "digits", 1, left(5)))


def waiting(admission: Admission) -> int:
    return admission.states()["digits"].waiting


def test_a_thread_waits_for_its_turn(admission: Admission) -> None:
    done = threading.Event()

    def work() -> None:
        with admission.admitted(Priority.STABLE, "digits", 1, left(5)):
            done.set()

    with ThreadPoolExecutor(1) as threads, ExitStack() as stack:
        fill(admission, stack)
        asked = threads.submit(work)
        eventually(lambda: waiting(admission) == 1, "it waits")
        assert not done.is_set()
        stack.close()
        asked.result(5)
    assert admission.states()["digits"].serving == 0


def test_on_a_loop_others_are_served_meanwhile(admission: Admission) -> None:
    order = []

    def work(name: str) -> None:
        with admission.admitted(Priority.STABLE, "digits", 1, left(5)):
            order.append(name)

    async def main(stack: ExitStack) -> None:
        fill(admission, stack)
        asked = [asyncio.ensure_future(run(partial(work, name))) for name in ("first", "second")]
        await asyncio.sleep(0.01)
        order.append("others")
        stack.close()
        await asyncio.gather(*asked)

    with ExitStack() as stack:
        asyncio.run(main(stack))
    assert order == ["others", "first", "second"]


def test_whose_time_ends_before_its_turn_is_told_so_and_takes_no_turn(admission: Admission) -> None:
    with ExitStack() as stack:
        fill(admission, stack)
        with pytest.raises(Overloaded), admission.admitted(Priority.STABLE, "digits", 1, left(0.05)):
            pass
        assert waiting(admission) == 0
    assert admission.states()["digits"].serving == 0


def test_a_request_without_time_takes_no_turn_either(admission: Admission) -> None:
    def none() -> float:
        raise DeadlineExceeded("too late")

    with pytest.raises(DeadlineExceeded), admission.admitted(Priority.STABLE, "digits", 1, none):
        pass
    with ExitStack() as stack:
        fill(admission, stack)


def test_a_failure_gives_its_turn_back(admission: Admission) -> None:
    with pytest.raises(ZeroDivisionError), admission.admitted(Priority.STABLE, "digits", 1, left(5)):
        raise ZeroDivisionError
    assert admission.states()["digits"].serving == 0


def test_neither_another_model_nor_a_candidate_takes_the_turns_of_a_model(admission: Admission) -> None:
    """One that hangs would else be everybody's end."""
    with ExitStack() as stack:
        fill(admission, stack, priority=Priority.CANDIDATE)
        fill(admission, stack)
        with admission.admitted(Priority.STABLE, "letters", 1, left(5)):
            pass
    with ExitStack() as stack:
        fill(admission, stack, priority=Priority.CANDIDATE)
        with admission.admitted(Priority.STABLE, "digits", 1, left(5)):
            pass


def test_shadow_traffic_never_waits(admission: Admission) -> None:
    with ExitStack() as stack:
        fill(admission, stack, 4)
        with pytest.raises(Overloaded), admission.admitted(Priority.SHADOW, "digits", 1, left(5)):
            pass
    with admission.admitted(Priority.SHADOW, "digits", 1, left(5)):
        pass


def test_what_a_request_has_learned_changes_how_many_are_worked_on() -> None:
    admission = Admission(QueueLimits(most=50), Signal)
    with admission.admitted(Priority.STABLE, "digits", 1, left(5)) as admitted:
        admitted.wanted = 20
    assert admission.states()["digits"].limit == 20


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_queue_that_sheds_refuses_from_the_head_and_candidates_first() -> None:
    clock = Clock()
    admission = Admission(QueueLimits(most=8, target_seconds=0.01, usual_seconds=0.1), Signal, clock)
    assert admission.refusal("digits") is None
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                with admission.admitted(Priority.STABLE, "digits", 1, left(5)):
                    clock.now += 0.002
            except Overloaded:
                stop.wait(0.001)

    with ThreadPoolExecutor(40) as threads:
        for _ in range(40):
            threads.submit(ask)
        try:
            eventually(lambda: admission.refusal("digits") is not None, "the queue stands")
            assert admission.states()["digits"].shedding

            def candidate_is_refused() -> bool:
                try:
                    with admission.admitted(Priority.CANDIDATE, "digits", 1, left(5)):
                        return False
                except Overloaded:
                    return True

            eventually(candidate_is_refused, "a candidate's requests are turned away while stable ones wait")
            assert admission.refusal("letters") is None
        finally:
            stop.set()


@pytest.mark.parametrize(
    ("route", "pictures", "priority"),
    [
        (Route("digits", 1, Arm.STABLE, "stable"), 1, Priority.STABLE),
        (Route("digits", 1, Arm.STABLE, "stable"), 2, Priority.BATCH),
        (Route("digits", 2, Arm.CANDIDATE, "weight"), 1, Priority.CANDIDATE),
    ],
)
def test_the_kind_of_traffic(route: Route, pictures: int, priority: Priority) -> None:
    assert priority_of(route, pictures) is priority
