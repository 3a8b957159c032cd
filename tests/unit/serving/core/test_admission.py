"""Who is let in, in which order traffic is turned away, and how the limit learns from latency."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from headway_serving.core.admission import Admission, Priority
from headway_serving.core.errors import Overloaded


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def admission(clock: Clock) -> Admission:
    return Admission(most=20, least=4, clock=clock)


@contextmanager
def under_way(admission: Admission, count: int, pictures: int = 1) -> Iterator[None]:
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(admission.admitted(Priority.STABLE, "digits", pictures))
        yield


def answer(admission: Admission, clock: Clock, seconds: float, beside: int = 0, pictures: int = 1) -> None:
    with under_way(admission, beside, pictures), admission.admitted(Priority.STABLE, "digits", pictures):
        clock.now += seconds


def is_let_in(admission: Admission, priority: Priority) -> bool:
    try:
        with admission.admitted(priority, "digits", 1):
            return True
    except Overloaded:
        return False


@pytest.mark.parametrize(
    ("busy", "let_in"),
    [
        (9, {Priority.SHADOW, Priority.CANDIDATE, Priority.BATCH, Priority.STABLE}),
        (10, {Priority.CANDIDATE, Priority.BATCH, Priority.STABLE}),
        (14, {Priority.BATCH, Priority.STABLE}),
        (17, {Priority.STABLE}),
        (20, set()),
    ],
)
def test_traffic_is_turned_away_in_order(admission: Admission, busy: int, let_in: set[Priority]) -> None:
    with under_way(admission, busy):
        assert {priority for priority in Priority if is_let_in(admission, priority)} == let_in


def test_whoever_is_done_makes_room_also_after_a_failure(admission: Admission) -> None:
    with pytest.raises(ZeroDivisionError), under_way(admission, 20):
        raise ZeroDivisionError
    assert admission.in_flight == 0
    assert is_let_in(admission, Priority.STABLE)


def test_the_wait_that_is_told_is_what_is_under_way_by_what_is_done_a_second(
    admission: Admission, clock: Clock
) -> None:
    for _ in range(100):
        answer(admission, clock, 0.2)
    with under_way(admission, 20), pytest.raises(Overloaded) as caught:  # noqa: SIM117
        with admission.admitted(Priority.STABLE, "digits", 1):
            pass
    assert caught.value.retry_after == pytest.approx(20 / 5, rel=0.2)


def loaded(admission: Admission, clock: Clock, seconds: float, rounds: int = 400) -> None:
    """Many requests that each meet a full house and take so long."""
    for _ in range(rounds):
        beside = max(0, admission.limit - 1)
        answer(admission, clock, seconds, beside=beside)


def test_the_limit_shrinks_while_answers_are_slow_and_grows_again(admission: Admission, clock: Clock) -> None:
    for _ in range(20):
        answer(admission, clock, 0.040)
    assert admission.limit == 20
    loaded(admission, clock, 0.200)
    assert admission.limit == 4, "as low as it may"
    loaded(admission, clock, 0.048)
    assert admission.limit == 20, "as high as it may"


def test_moderate_slowness_is_what_a_busy_server_looks_like(admission: Admission, clock: Clock) -> None:
    for _ in range(20):
        answer(admission, clock, 0.040)
    loaded(admission, clock, 0.100)
    assert admission.limit == 20


def test_a_slow_kind_of_request_is_measured_by_its_own_unloaded_time(admission: Admission, clock: Clock) -> None:
    for _ in range(20):
        answer(admission, clock, 0.040)
        answer(admission, clock, 0.500, pictures=64)
    for _ in range(400):
        answer(admission, clock, 0.600, beside=15, pictures=64)
    assert admission.limit == 20


def test_failures_teach_nothing(admission: Admission, clock: Clock) -> None:
    for _ in range(20):
        answer(admission, clock, 0.040)
    for _ in range(400):
        with pytest.raises(ZeroDivisionError):
            fail(admission, clock)
    assert admission.limit == 20


def fail(admission: Admission, clock: Clock) -> None:
    with under_way(admission, 1), admission.admitted(Priority.STABLE, "digits", 1):
        clock.now += 1.0
        raise ZeroDivisionError
