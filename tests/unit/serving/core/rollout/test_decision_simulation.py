"""Whole simulated rollouts: false alarms stay as rare as promised, bad candidates are found, silence decides nothing.

A small sample of ``benchmarks/rollout_decisions.py``, whose table stands in docs/rollout.md; seeds are fixed.
"""

from collections import Counter

import pytest

from benchmarks.rollout_decisions import WORLDS, World, outcomes
from headway_serving.core.rollout_state import RolloutPolicy

RUNS = 40
POLICY = RolloutPolicy(shadow_share=0.1)
BY_NAME = {world.name: world for world in WORLDS}


def endings(world: World) -> Counter[str]:
    return Counter(outcome.ended for outcome in outcomes(world, RUNS, POLICY))


@pytest.mark.parametrize("world", [world for world in WORLDS if world.good], ids=lambda world: world.name)
def test_a_candidate_that_keeps_the_limits_is_not_rolled_back(world: World) -> None:
    """At the rate allowed, 1 %, two of forty would be a chance of 1 in 16; three are one in 130."""
    assert endings(world)["RollBack"] <= 2


@pytest.mark.parametrize(
    "name",
    [
        "30 ms more than 5 ms, 50 requests/s", "60 ms more, 50 requests/s", "twice as slow, heavy tail, 50 requests/s",
        "every fifth answer ten times as slow, 50 requests/s", "median five times as slow",
        "three times the work, hidden by a queue", "refused for what it costs",
    ],
)  # fmt: skip
def test_a_slow_or_costly_candidate_is_found_within_three_intervals(name: str) -> None:
    made = outcomes(BY_NAME[name], RUNS, POLICY)
    assert [outcome.ended for outcome in made] == ["RollBack"] * RUNS
    assert max(outcome.with_users for outcome in made) <= 3


@pytest.mark.parametrize(
    "name",
    [
        "errors +2 %", "errors 5 %, few requests", "disagrees on 10 % everywhere",
        "disagrees on half of one class of ten", "never answers one class of ten", "unsure of everything",
        "wrong 10 % more often, as told of one in ten",
    ],
)  # fmt: skip
def test_a_bad_candidate_is_always_found(name: str) -> None:
    assert endings(BY_NAME[name])["RollBack"] == RUNS


@pytest.mark.parametrize("world", [world for world in WORLDS if not world.good], ids=lambda world: world.name)
def test_a_bad_candidate_is_never_promoted(world: World) -> None:
    assert endings(world)["Promote"] == 0


def test_an_equal_candidate_is_promoted() -> None:
    assert endings(BY_NAME["the same as stable"])["Promote"] >= RUNS - 1


@pytest.mark.parametrize("name", ["no traffic", "one request a minute"])
def test_without_traffic_everything_is_held(name: str) -> None:
    assert endings(BY_NAME[name]) == {"Held": RUNS}
