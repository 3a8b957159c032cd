"""How long a decision would need, said when none could be made."""

import pytest

from headway_serving.core.rollout.outlook import outlook, seconds_needed
from headway_serving.core.rollout_traffic import Observation
from tests.unit.serving.core.rollout.rollout_examples import arm, seen, state

STATE = state()
NOW = STATE.since + 600


def needed(observation: Observation | None) -> float | None:
    return seconds_needed(STATE.policy, STATE, observation, NOW)


def test_few_requests_need_the_time_that_brings_enough() -> None:
    """Of 200 needed 20 came in ten minutes."""
    seconds = needed(seen(arm(20), arm(380)))
    assert seconds is not None
    assert 6000 <= seconds <= 6000 * 1.25
    text = outlook(STATE.policy, STATE, seen(arm(20), arm(380)), NOW)
    assert text == "at this traffic a decision needs about 116 minutes at this stage"


def test_a_difference_that_may_be_chance_needs_what_proves_it() -> None:
    seconds = needed(seen(arm(1000, errors=9), arm(10_000)))
    assert seconds is not None
    assert seconds > 600


@pytest.mark.parametrize("observation", [None, seen(arm(0), arm(0)), seen(arm(0), arm(500))])
def test_without_traffic_no_time_is_enough(observation: Observation | None) -> None:
    assert needed(observation) is None
    assert "would not be decided" in outlook(STATE.policy, STATE, observation, NOW)
