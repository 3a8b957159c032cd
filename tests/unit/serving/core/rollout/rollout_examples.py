"""Traffic of two arms and rollouts in the middle, for the tests of rollouts."""

import math
from typing import Any

import numpy as np

from headway_serving.adapters.metrics.prometheus import REQUEST_SECONDS
from headway_serving.core.rollout.changes import Author
from headway_serving.core.rollout_state import (
    ArmTraffic,
    Latency,
    Observation,
    RolloutPolicy,
    RolloutState,
    RolloutStatus,
    ShadowTraffic,
    Verification,
)

EDGES = (*REQUEST_SECONDS, math.inf)
ME = Author("2026-01-02T03:04:05Z", "tester")
PROOF = Verification(2, "sha256:0", "2026-01-02T03:04:05Z", 8)


def timed(requests: int, seconds: float = 0.008) -> Latency:
    """A histogram of requests that all took about that long: spread evenly over half to one and a half of it."""
    times = np.linspace(seconds / 2, seconds * 1.5, max(requests, 1))[:requests]
    return Latency(EDGES, tuple(float(np.sum(times <= edge)) for edge in EDGES))


def arm(requests: int = 1000, errors: int = 0, seconds: float = 0.008) -> ArmTraffic:
    return ArmTraffic(requests, errors, timed(requests, seconds))


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
