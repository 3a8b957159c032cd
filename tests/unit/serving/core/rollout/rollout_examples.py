"""Traffic of two arms and rollouts in the middle, for the tests of rollouts."""

from typing import Any

import numpy as np

from headway_serving.core.duration_steps import step_of
from headway_serving.core.rollout.changes import Author
from headway_serving.core.rollout_state import RolloutPolicy, RolloutState, RolloutStatus, Verification
from headway_serving.core.rollout_traffic import ArmTraffic, KeySample, Observation, ShadowTraffic

ME = Author("2026-01-02T03:04:05Z", "tester")
PROOF = Verification(2, "sha256:0", "2026-01-02T03:04:05Z", 8)


def timed(requests: int, seconds: float = 0.008) -> dict[int, float]:
    """Requests that all took about that long: spread evenly over half to one and a half of it."""
    steps: dict[int, float] = {}
    for each in np.linspace(seconds / 2, seconds * 1.5, max(requests, 1))[:requests]:
        steps[step_of(float(each))] = steps.get(step_of(float(each)), 0.0) + 1
    return steps


def sample(keys: int = 1000, errors: int = 0, seconds: float = 0.008, **changes: Any) -> KeySample:
    """One request of each key: half of the answers are cats and half dogs, all of a score of 0.9."""
    answered = max(keys - errors, 0)
    fields: dict[str, Any] = {
        "latency": timed(answered, seconds), "work": timed(answered, seconds / 2),
        "labels": {"cat": answered / 2, "dog": answered / 2}, "scores": {17: float(answered)},
    }  # fmt: skip
    return KeySample(keys, errors, **{**fields, **changes})


def arm(requests: int = 1000, errors: int = 0, seconds: float = 0.008, **changes: Any) -> ArmTraffic:
    """Traffic without routing keys: each request is a sample of its own. ``changes``: of the sample."""
    return ArmTraffic(requests, errors, sample=sample(min(requests, 20_000), min(errors, 20_000), seconds, **changes))


def seen(
    candidate: ArmTraffic | None = None, stable: ArmTraffic | None = None, shadow: ShadowTraffic | None = None
) -> Observation:
    """An observation in which everything that is not given is well and plenty."""
    return Observation(stable or arm(10_000), candidate or arm(), shadow or ShadowTraffic())


def state(**changes: Any) -> RolloutState:
    """Version 2 against stable 1, at the first stage since Unix time 1000."""
    fields: dict[str, Any] = {
        "candidate": 2, "previous": 1, "status": RolloutStatus.RUNNING, "verification": PROOF,
        "policy": RolloutPolicy(), "since": 1000.0,
    }  # fmt: skip
    return RolloutState(**{**fields, **changes})
