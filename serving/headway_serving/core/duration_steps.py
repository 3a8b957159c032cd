"""Durations in steps of a fixed ratio: fine enough to compare two versions, few enough to count.

Step ``i`` holds what took more than ``edge(i - 1)`` and at most ``edge(i)`` seconds. A limit of 1.25 is exactly
:data:`STEPS_OF_A_QUARTER` steps, so comparing with it rounds once, by less than 5 %, and not twice.
"""

import math
from collections.abc import Mapping

STEPS_OF_A_QUARTER = 5
"""Steps by which a duration grows 1.25 times."""

_RATIO = 1.25 ** (1 / STEPS_OF_A_QUARTER)
_FIRST_EDGE = 0.0001
MOST_STEPS = 320
"""Steps up to more than two minutes; what takes longer is counted in the last."""

Steps = Mapping[int, float]
"""How many durations fell into each step; steps without any may be left out."""


def step_of(seconds: float) -> int:
    """The step of a duration of 0 or more seconds."""
    if seconds <= _FIRST_EDGE:
        return 0
    # The edge itself belongs to its step, whatever the logarithm's last digit says.
    return min(math.ceil(math.log(seconds / _FIRST_EDGE) / math.log(_RATIO) - 1e-9), MOST_STEPS)


def edge(step: int) -> float:
    """The longest duration of a step, seconds."""
    return float(_FIRST_EDGE * _RATIO**step)


def edge_text(step: int) -> str:
    """The edge as a metric's label says it."""
    return f"{edge(step):.4g}"


def step_of_text(text: str) -> int:
    """The step whose edge a label says. Raises ValueError."""
    seconds = float(text)
    if not 0 < seconds < math.inf:
        raise ValueError(f"{text!r} is no edge of a step")
    return max(0, round(math.log(seconds / _FIRST_EDGE) / math.log(_RATIO)))


def steps_of_ratio(ratio: float) -> int:
    """Steps by which a duration grows ``ratio`` times (1 or more), rounded up."""
    return math.ceil(math.log(ratio) / math.log(_RATIO) - 1e-9)


def total(steps: Steps) -> float:
    """How many durations there are."""
    return sum(steps.values())


def count_beyond(steps: Steps, step: int) -> float:
    """How many durations were longer than the edge of ``step``."""
    return sum(count for at, count in steps.items() if at > step)


def quantile_step(steps: Steps, share: float) -> int:
    """The first step up to which at least ``share`` (0 to 1) of the durations lie; 0 without any."""
    needed, found = share * total(steps), 0.0
    for step in sorted(steps):
        found += steps[step]
        if found >= needed:
            return step
    return 0
