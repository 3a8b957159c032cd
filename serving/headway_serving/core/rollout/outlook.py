"""How long a rollout that is undecided would take to be decided, if its traffic stays as it was seen."""

from dataclasses import fields, replace
from typing import Any

from headway_serving.core.rollout.decision import Advance, Promote, RollBack, decide
from headway_serving.core.rollout_state import RolloutPolicy, RolloutState
from headway_serving.core.rollout_traffic import ArmTraffic, Observation, ShadowTraffic

_GROWTH = 1.25
_MOST_TIMES = 10_000.0


def seconds_needed(
    policy: RolloutPolicy, state: RolloutState, observation: Observation | None, now: float
) -> float | None:
    """Seconds that the stage would have to last in all until something is decided, to within a quarter.

    The traffic seen is multiplied until the table decides: the same shares, of more requests. None if no multiple of it
    would be decided, as without any traffic.
    """
    elapsed = now - state.since
    if observation is None or elapsed <= 0:
        return None
    times = 1.0
    while times <= _MOST_TIMES:
        decision = decide(
            policy, state, _multiplied(observation, times), max(now, state.since + policy.interval_seconds)
        )
        if isinstance(decision, Advance | Promote | RollBack):
            return elapsed * times
        times *= _GROWTH
    return None


def outlook(policy: RolloutPolicy, state: RolloutState, observation: Observation | None, now: float) -> str:
    """The same as half a sentence for people."""
    seconds = seconds_needed(policy, state, observation, now)
    if seconds is None:
        return "at this traffic it would not be decided however long it lasts"
    return f"at this traffic a decision needs about {_duration(seconds)} at this stage"


def _duration(seconds: float) -> str:
    for length, name in ((86_400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {name}"
    return f"{seconds:.0f} seconds"


def _multiplied(observation: Observation, times: float) -> Observation:
    def arm(traffic: ArmTraffic) -> ArmTraffic:
        plain = {each.name: getattr(traffic, each.name) * times for each in fields(traffic) if each.name != "sample"}
        sample = traffic.sample
        counts: dict[str, Any] = {
            name: {key: count * times for key, count in getattr(sample, name).items()}
            for name in ("latency", "work", "labels", "scores")
        }
        numbers = {name: getattr(sample, name) * times for name in ("asked", "errors", "right", "wrong")}
        return ArmTraffic(**plain, sample=replace(sample, **numbers, **counts))

    shadow: ShadowTraffic = replace(
        observation.shadow,
        agree=observation.shadow.agree * times,
        disagree=observation.shadow.disagree * times,
        error=observation.shadow.error * times,
        flips={pair: count * times for pair, count in observation.shadow.flips.items()},
        by_class={label: count * times for label, count in observation.shadow.by_class.items()},
    )
    return Observation(arm(observation.stable), arm(observation.candidate), shadow)
