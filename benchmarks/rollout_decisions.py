"""Simulates whole rollouts of good and bad candidates and counts what ``decide`` does with them.

``python benchmarks/rollout_decisions.py`` prints the table of docs/rollout.md: seeds are fixed, so it comes out alike.
"""

import argparse
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headway_serving.core.duration_steps import MOST_STEPS, edge
from headway_serving.core.rollout.decision import Advance, Promote, RollBack, decide, reference_of
from headway_serving.core.rollout_state import RolloutPolicy, RolloutState, RolloutStatus, Verification
from headway_serving.core.rollout_traffic import SCORE_BINS, ArmTraffic, KeySample, Observation, ShadowTraffic

_PROOF = Verification(2, "sha256:0", "2026-01-01T00:00:00Z", 8)
CLASSES = 10
_EVEN = (1 / CLASSES,) * CLASSES
_SURE = tuple(np.diff(np.linspace(0, 1, SCORE_BINS + 1) ** 3))
"""Shares of answers by the score of their label: most are sure."""


@dataclass(frozen=True)
class Delay:
    """How long an answer takes: lognormal around ``median`` seconds with ``sigma``, after a constant ``shift``.

    ``slow_share`` of the answers take ``slow_times`` as long: a second mode.
    """

    median: float = 0.008
    sigma: float = 0.4
    shift: float = 0.0
    slow_share: float = 0.0
    slow_times: float = 10.0


@dataclass(frozen=True)
class Arm:
    """What is true of a version. ``refused``: share turned away for overload; ``wrong``: of its answers, as told."""

    errors: float = 0.002
    delay: Delay = Delay()
    work: Delay = Delay(median=0.004)
    refused: float = 0.0
    labels: tuple[float, ...] = _EVEN
    scores: tuple[float, ...] = _SURE
    wrong: float = 0.0


@dataclass(frozen=True)
class World:
    """What is true. ``candidate``: how it differs from ``stable``.

    ``requests``: per interval, both arms. ``burst``: what every third interval multiplies both arms' error rates with.
    ``flipped``: share of pictures of each class that the candidate labels otherwise. ``heavy``: share of the traffic
    that three keys make, each with a class of its own and its own latency; the rest has no keys. ``drift``: whether the
    mix of classes moves during the rollout. ``hour``: what the last stage's hour multiplies the latency of all with.
    ``feedback``: share of the answers whose truth is told.
    """

    name: str
    good: bool = True
    stable: Arm = Arm()
    candidate: Mapping[str, Any] = field(default_factory=dict)
    requests: int = 10_000
    burst: float = 1.0
    flipped: tuple[float, ...] = (0.01,) * CLASSES
    heavy: float = 0.0
    drift: bool = False
    hour: float = 1.0
    feedback: float = 0.0


_TAIL = Arm(delay=Delay(sigma=1.2))
_QUICK = Arm(delay=Delay(median=0.005, sigma=0.2))
_AT_50 = 3000
"""Requests in a minute at 50 a second."""

WORLDS = (
    World("the same as stable"),
    World("the same, few requests", requests=2000),
    World("the same, heavy latency tail", stable=_TAIL),
    World("the same, many errors of both", stable=Arm(errors=0.05)),
    World("the same, bursts of errors in both", burst=20.0),
    World("the same, classes drift", drift=True),
    World("the same, three keys make 90 %", heavy=0.9),
    World("the same, the last stage in an hour twice as slow", hour=2.0),
    World("the same, everything at once", stable=replace(_TAIL, wrong=0.1), burst=20.0, heavy=0.9, drift=True, hour=2.0,
          feedback=0.1),
    World("errors at the limit (+0.5 %)", candidate={"errors": 0.007}),
    World("latency at the limit (1.25 times)", candidate={"delay": Delay(median=0.010)}),
    World("disagrees at the limit (5 %)", flipped=(0.05,) * CLASSES),
    World("refused first, at no more cost", candidate={"refused": 0.05}),
    World("no traffic", requests=0),
    World("one request a minute", requests=1),
    World("errors +1 %", good=False, candidate={"errors": 0.012}),
    World("errors +2 %", good=False, candidate={"errors": 0.022}),
    World("errors 5 %, few requests", good=False, candidate={"errors": 0.05}, requests=2000),
    World("30 ms more than 5 ms, 50 requests/s", good=False, stable=_QUICK, requests=_AT_50,
          candidate={"delay": Delay(median=0.005, sigma=0.2, shift=0.030)}),
    World("60 ms more, 50 requests/s", good=False, requests=_AT_50, candidate={"delay": Delay(shift=0.060)}),
    World("twice as slow, 50 requests/s", good=False, requests=_AT_50, candidate={"delay": Delay(median=0.016)}),
    World("twice as slow, heavy tail, 50 requests/s", good=False, requests=_AT_50, stable=_TAIL,
          candidate={"delay": Delay(median=0.016, sigma=1.2)}),
    World("every fifth answer ten times as slow, 50 requests/s", good=False, requests=_AT_50,
          candidate={"delay": Delay(slow_share=0.2)}),
    World("median five times as slow", good=False, candidate={"delay": Delay(median=0.040)}),
    World("three times the work, hidden by a queue", good=False, stable=Arm(delay=Delay(median=0.3)),
          candidate={"work": Delay(median=0.012), "delay": Delay(median=0.308)}),
    World("refused for what it costs", good=False, candidate={"work": Delay(median=0.007), "refused": 0.05}),
    World("disagrees on 10 % everywhere", good=False, flipped=(0.1,) * CLASSES),
    World("disagrees on half of one class of ten", good=False, flipped=(0.005,) * 9 + (0.5,)),
    World("never answers one class of ten", good=False, candidate={"labels": (0.2, *_EVEN[1:-1], 0.0)}),
    World("unsure of everything", good=False, candidate={"scores": (1 / SCORE_BINS,) * SCORE_BINS}),
    World("wrong 10 % more often, as told of one in ten", good=False, feedback=0.1, candidate={"wrong": 0.1}),
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """How a simulated rollout ended, after how many intervals, how many of its answers were the candidate's, and why.

    ``with_users``: intervals in which the candidate had any.
    """

    ended: str
    looks: int
    with_users: int
    candidate_requests: int
    reason: str


def simulate(world: World, policy: RolloutPolicy, rng: np.random.Generator) -> Outcome:
    """One rollout from its first stage to its end, or until patience is lost."""
    state = RolloutState(2, 1, RolloutStatus.RUNNING, _PROOF, policy)
    traffic = _Traffic(world, policy, rng)
    seen, looks, with_users, exposed = traffic.interval(0, 0, first=True), 1, 0, 0
    while True:
        with_users += policy.stages()[state.stage].weight > 0
        decision = decide(policy, state, seen, now=policy.interval_seconds)
        asked = round(seen.candidate.requests)
        if isinstance(decision, RollBack | Promote):
            return Outcome(decision.name, looks, with_users, exposed + asked, decision.reason)
        if isinstance(decision, Advance):
            exposed += asked
            state = replace(state, stage=state.stage + 1, looks=0, reference=reference_of(policy, state, seen))
            seen = traffic.interval(state.stage, looks, first=True)
        elif state.looks + 1 >= policy.patience:
            return Outcome("Held", looks, with_users, exposed + asked, decision.reason)
        else:
            state = replace(state, looks=state.looks + 1)
            seen = _added(seen, traffic.interval(state.stage, looks, first=False))
        looks += 1


def outcomes(world: World, runs: int, policy: RolloutPolicy, seed: int = 20260101) -> list[Outcome]:
    """Independent rollouts of one world; equal seeds give equal ones."""
    rng = np.random.default_rng([seed, *world.name.encode()])
    return [simulate(world, policy, rng) for _ in range(runs)]


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000, help="rollouts of each kind (default: 2000)")
    parser.add_argument("--only", default="", help="worlds whose name contains this")
    arguments = parser.parse_args(argv)
    runs, policy = arguments.runs, RolloutPolicy(shadow_share=0.1)
    print(
        "| Candidate | Rolled back | Promoted | Held | Intervals, with users (median) | Its answers until rolled back |"
    )
    print("|---|---|---|---|---|---|")
    for world in (world for world in WORLDS if arguments.only in world.name):
        made = outcomes(world, runs, policy)
        counts = Counter(outcome.ended for outcome in made)
        shares = " | ".join(f"{counts[kind] / runs:.2%}" for kind in ("RollBack", "Promote", "Held"))
        back = [outcome.candidate_requests for outcome in made if outcome.ended == "RollBack"]
        exposed = f"{np.median(back):.0f}" if back and not world.good else ""
        looks, users = (np.median([getattr(each, name) for each in made]) for name in ("looks", "with_users"))
        print(f"| {world.name} | {shares} | {looks:.0f}, {users:.0f} | {exposed} |", flush=True)


class _Traffic:
    """Draws the traffic of one rollout, interval by interval."""

    def __init__(self, world: World, policy: RolloutPolicy, rng: np.random.Generator) -> None:
        self._world, self._policy, self._rng = world, policy, rng
        self._arms = world.stable, replace(world.stable, **world.candidate)
        # Where the three keys stand between the arms, how slow their pictures are, and of which class.
        self._places, self._slower = rng.random(3), np.exp(rng.normal(0, 1, 3))
        self._classes = rng.integers(0, CLASSES, 3)

    def interval(self, stage: int, look: int, *, first: bool) -> Observation:
        """What happens in one interval of a stage; ``first``: its first, in which each key is sampled."""
        world, at = self._world, self._policy.stages()[stage]
        heavy = self._rng.multinomial(round(world.requests * world.heavy), [1 / 3] * 3)
        light = int(self._rng.binomial(world.requests - int(heavy.sum()), at.weight))
        hour = world.hour if at.weight >= 1 else 1.0
        arms = []
        for which, asked in ((0, world.requests - int(heavy.sum()) - light), (1, light)):
            mine = [key for key in range(3) if world.heavy and (self._places[key] < at.weight) == bool(which)]
            arms.append(self._arm(which, asked, mine if at.weight > 0 or not which else [], heavy, look, hour, first))
        mirrored = int(self._rng.binomial(world.requests, at.shadow_share))
        return Observation(arms[0], arms[1], _shadow(world, mirrored, self._rng))

    def _arm(
        self, which: int, light: int, keys: Sequence[int], heavy: NDArray[np.int64], look: int, hour: float, first: bool
    ) -> ArmTraffic:
        world, arm, rng = self._world, self._arms[which], self._rng
        rate = min(arm.errors * (world.burst if look % 3 == 2 else 1.0), 1.0)
        came = light + int(sum(heavy[key] for key in keys))
        refused = int(rng.binomial(came, arm.refused))
        sampled = min(light, came - refused)
        failed = int(rng.binomial(sampled, rate))
        errors = failed + int(rng.binomial(came - refused - sampled, rate))
        told = int(rng.binomial(sampled, world.feedback))
        wrong = int(rng.binomial(told, arm.wrong))
        sample = _drawn(arm, sampled, failed, hour, _mix(arm.labels, look if world.drift else 0), rng)
        sample = replace(sample, right=float(told - wrong), wrong=float(wrong))
        if first:
            for key in keys:
                own = np.eye(CLASSES)[self._classes[key]]
                sample = _sum(sample, _drawn(arm, 1, 0, hour * self._slower[key], own, rng))
                # Of three users one has pictures that are hard for every version.
                told = world.feedback > 0
                sample = replace(sample, right=sample.right + told * (key > 0), wrong=sample.wrong + told * (key == 0))
        return ArmTraffic(came - refused, errors, refused, sample)


def _mix(labels: Sequence[float], look: int) -> NDArray[np.float64]:
    moved = np.roll(np.linspace(1, 3, CLASSES), look) if look else np.ones(CLASSES)
    mixed = np.asarray(labels) * moved
    return np.asarray(mixed / mixed.sum())


def _drawn(
    arm: Arm, asked: int, errors: int, slower: float, labels: NDArray[np.float64], rng: np.random.Generator
) -> KeySample:
    answered = asked - errors

    def counted(shares: NDArray[np.float64]) -> dict[int, float]:
        counts = rng.multinomial(answered, shares)
        return {int(index): float(counts[index]) for index in np.flatnonzero(counts)}

    def timed(delay: Delay) -> dict[int, float]:
        if answered == 1:
            slow = Delay(delay.median * slower, delay.sigma, delay.shift * slower, delay.slow_share, delay.slow_times)
            return counted(_step_shares.__wrapped__(slow, 1.0))
        return counted(_step_shares(delay, slower))

    by_label = {str(name): count for name, count in counted(labels).items()}
    return KeySample(asked, errors, timed(arm.delay), timed(arm.work), by_label, counted(np.asarray(arm.scores)))


@cache
def _step_shares(delay: Delay, slower: float) -> NDArray[np.float64]:
    """The share of durations in each step."""
    below = [0.0]
    for step in range(MOST_STEPS + 1):
        seconds = math.inf if step == MOST_STEPS else edge(step) / slower
        quick = _lognormal_cdf(seconds - delay.shift, delay.median, delay.sigma)
        slow = _lognormal_cdf(seconds - delay.shift, delay.median * delay.slow_times, delay.sigma)
        below.append((1 - delay.slow_share) * quick + delay.slow_share * slow)
    shares = np.maximum(np.diff(below), 0.0)
    return np.asarray(shares / shares.sum())


def _shadow(world: World, mirrored: int, rng: np.random.Generator) -> ShadowTraffic:
    of_class = rng.multinomial(mirrored, [1 / CLASSES] * CLASSES)
    flipped = rng.binomial(of_class, world.flipped)
    return ShadowTraffic(
        agree=float(np.sum(of_class) - np.sum(flipped)),
        disagree=float(np.sum(flipped)),
        flips={(str(name), "other"): float(count) for name, count in enumerate(flipped)},
        by_class={str(name): float(count) for name, count in enumerate(of_class)},
    )


def _lognormal_cdf(seconds: float, median: float, sigma: float) -> float:
    if seconds <= 0:
        return 0.0
    return 1.0 if math.isinf(seconds) else 0.5 * (1 + math.erf(math.log(seconds / median) / sigma / math.sqrt(2)))


def _added(before: Observation, more: Observation) -> Observation:
    return Observation(
        _sum(before.stable, more.stable), _sum(before.candidate, more.candidate), _sum(before.shadow, more.shadow)
    )


def _sum(old: Any, new: Any) -> Any:
    """Numbers, counts by key, and records of them, added up."""
    if old is None or isinstance(old, int | float):
        return None if old is None else old + new
    if isinstance(old, Mapping):
        return {key: old.get(key, 0.0) + new.get(key, 0.0) for key in {**old, **new}}
    return type(old)(**{each.name: _sum(getattr(old, each.name), getattr(new, each.name)) for each in fields(old)})


if __name__ == "__main__":
    main()
