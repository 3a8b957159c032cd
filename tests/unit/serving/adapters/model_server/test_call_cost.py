"""What is fixed in a call and what its rows add, from calls of different sizes."""

from collections.abc import Callable

import pytest

from headway_serving.adapters.model_server.call_cost import MEMORY_SECONDS, CallCost


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cost(clock: Clock) -> CallCost:
    return CallCost(32, 0.1, clock)


def calls(cost: CallCost, clock: Clock, seconds_of: Callable[[int], float], count: int = 30, wanted: int = 32) -> None:
    """So many calls, each as large as it may be while ``wanted`` rows wait."""
    for _ in range(count):
        rows = min(wanted, cost.max_rows)
        clock.now += seconds_of(rows)
        cost.measured(rows, seconds_of(rows))


@pytest.mark.parametrize("fixed", [0.0003, 0.003, 0.02, 0.06, 0.2, 2.0])
def test_what_is_fixed_bounds_nothing(cost: CallCost, clock: Clock, fixed: float) -> None:
    calls(cost, clock, lambda rows: fixed + 0.0002 * rows, wanted=1)
    calls(cost, clock, lambda rows: fixed + 0.0002 * rows, count=10)
    assert cost.max_rows == 32


@pytest.mark.parametrize(("row", "most"), [(0.010, 10), (0.025, 4), (0.074, 2), (0.5, 1)])
def test_rows_that_take_long_bound_a_call(cost: CallCost, clock: Clock, row: float, most: int) -> None:
    bounds = []
    for _ in range(50):
        calls(cost, clock, lambda rows: 0.005 + row * rows, count=1)
        bounds.append(cost.max_rows)
    # Now and then a larger one is tried: servers get faster too.
    assert sorted(bounds)[len(bounds) // 2] in (most - 1, most)


def test_a_model_that_gets_slower_is_noticed_and_forgotten_when_it_is_fast_again(cost: CallCost, clock: Clock) -> None:
    calls(cost, clock, lambda rows: 0.003 + 0.0002 * rows)
    assert cost.max_rows == 32
    calls(cost, clock, lambda rows: 0.003 + 0.02 * rows)
    assert cost.max_rows <= 6
    calls(cost, clock, lambda rows: 0.003 + 0.0002 * rows)
    clock.now += MEMORY_SECONDS + 1
    calls(cost, clock, lambda rows: 0.003 + 0.0002 * rows)
    assert cost.max_rows == 32


def test_noise_that_says_larger_calls_are_quicker_is_no_reason_for_small_ones(cost: CallCost, clock: Clock) -> None:
    for rows, seconds in ((1, 0.02), (4, 0.015), (16, 0.018)):
        clock.now += seconds
        cost.measured(rows, seconds)
    assert cost.max_rows == 32
    assert cost.row_seconds == 0


def test_a_call_larger_than_any_may_be_teaches_nothing(cost: CallCost) -> None:
    cost.measured(100, 5.0)
    assert cost.max_rows == 32
