"""Simulates whole rollouts of good and bad candidates and counts what ``decide`` does with them.

``python benchmarks/rollout_decisions.py`` prints the table of docs/rollout.md: seeds are fixed, so it comes out alike.
"""

import argparse
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from headway_serving.adapters.metrics.prometheus import REQUEST_SECONDS
from headway_serving.core.rollout.decision import Advance, Promote, RollBack, decide, reference_of
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
_PROOF = Verification(2, "sha256:0", "2026-01-01T00:00:00Z", 8)


@dataclass(frozen=True)
class World:
    """What is true. ``errors``: rates of stable and candidate. ``slower``: the candidate's latency to stable's.

    ``requests``: per interval, both arms. ``spread``: sigma of the lognormal latencies, whose median is 8 ms.
    ``burst``: what every third interval multiplies both arms' error rates with. ``flipped``: share of pictures of each
    class that the candidate labels otherwise.
    """

    name: str
    good: bool = True
    errors: tuple[float, float] = (0.002, 0.002)
    slower: float = 1.0
    requests: int = 10_000
    spread: float = 0.4
    burst: float = 1.0
    flipped: tuple[float, ...] = (0.01,) * 10


WORLDS = (
    World("the same as stable"),
    World("the same, few requests", requests=2000),
    World("the same, heavy latency tail", spread=1.2),
    World("the same, many errors of both", errors=(0.05, 0.05)),
    World("the same, bursts of errors in both", burst=20.0),
    World("errors at the limit (+0.5 %)", errors=(0.002, 0.007)),
    World("p99 at the limit (1.25 times)", slower=1.25),
    World("disagrees at the limit (5 %)", flipped=(0.05,) * 10),
    World("no traffic", requests=0),
    World("errors +1 %", good=False, errors=(0.002, 0.012)),
    World("errors +2 %", good=False, errors=(0.002, 0.022)),
    World("errors 5 %", good=False, errors=(0.002, 0.05)),
    World("errors 5 %, few requests", good=False, errors=(0.002, 0.05), requests=2000),
    World("twice as slow", good=False, slower=2.0),
    World("three times as slow", good=False, slower=3.0),
    World("three times as slow, heavy latency tail", good=False, slower=3.0, spread=1.2),
    World("disagrees on 10 % everywhere", good=False, flipped=(0.1,) * 10),
    World("disagrees on half of one class of ten", good=False, flipped=(0.005,) * 9 + (0.5,)),
)


@dataclass(frozen=True)
class Outcome:
    """How a simulated rollout ended, after how many intervals, and how many of its answers were the candidate's."""

    ended: str
    looks: int
    candidate_requests: int


def simulate(world: World, policy: RolloutPolicy, rng: np.random.Generator) -> Outcome:
    """One rollout from its first stage to its end, or until patience is lost."""
    state = RolloutState(2, 1, RolloutStatus.RUNNING, _PROOF, policy)
    seen, looks, exposed = _nothing(len(world.flipped)), 0, 0
    while True:
        seen = _added(seen, _interval(world, policy, state.stage, looks, rng))
        looks += 1
        decision = decide(policy, state, seen, now=policy.interval_seconds)
        if isinstance(decision, RollBack | Promote):
            return Outcome(decision.name, looks, exposed + round(seen.candidate.requests))
        if isinstance(decision, Advance):
            exposed += round(seen.candidate.requests)
            state = replace(state, stage=state.stage + 1, looks=0, reference=reference_of(policy, state, seen))
            seen = _nothing(len(world.flipped))
        elif state.looks + 1 >= policy.patience:
            return Outcome("Held", looks, exposed + round(seen.candidate.requests))
        else:
            state = replace(state, looks=state.looks + 1)


def outcomes(world: World, runs: int, policy: RolloutPolicy, seed: int = 20260101) -> list[Outcome]:
    """Independent rollouts of one world; equal seeds give equal ones."""
    rng = np.random.default_rng([seed, *world.name.encode()])
    return [simulate(world, policy, rng) for _ in range(runs)]


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000, help="rollouts of each kind (default: 2000)")
    runs = parser.parse_args(argv).runs
    policy = RolloutPolicy(shadow_share=0.1)
    print("| Candidate | Rolled back | Promoted | Held | Intervals (median) | Its answers until rolled back (median) |")
    print("|---|---|---|---|---|---|")
    for world in WORLDS:
        made = outcomes(world, runs, policy)
        counts = Counter(outcome.ended for outcome in made)
        shares = " | ".join(f"{counts[kind] / runs:.2%}" for kind in ("RollBack", "Promote", "Held"))
        back = [outcome.candidate_requests for outcome in made if outcome.ended == "RollBack"]
        exposed = f"{np.median(back):.0f}" if back and not world.good else ""
        looks = np.median([outcome.looks for outcome in made])
        print(f"| {world.name} | {shares} | {looks:.0f} | {exposed} |", flush=True)


def _interval(world: World, policy: RolloutPolicy, stage: int, look: int, rng: np.random.Generator) -> Observation:
    """The traffic of one interval at a stage."""
    weight, share = policy.stages()[stage].weight, policy.stages()[stage].shadow_share
    burst = world.burst if look % 3 == 2 else 1.0
    asked = int(rng.binomial(world.requests, weight))
    stable = _arm(world.requests - asked, world.errors[0] * burst, 1.0, world.spread, rng)
    candidate = _arm(asked, world.errors[1] * burst, world.slower, world.spread, rng)
    return Observation(stable, candidate, _shadow(world, int(rng.binomial(world.requests, share)), rng))


def _arm(requests: int, error_rate: float, slower: float, spread: float, rng: np.random.Generator) -> ArmTraffic:
    below = [_lognormal_cdf(edge, 0.008 * slower, spread) for edge in EDGES]
    in_buckets: NDArray[np.int64] = rng.multinomial(requests, np.diff([0.0, *below]))
    return ArmTraffic(
        requests, float(rng.binomial(requests, error_rate)), Latency(EDGES, tuple(np.cumsum(in_buckets).tolist()))
    )


def _shadow(world: World, mirrored: int, rng: np.random.Generator) -> ShadowTraffic:
    classes = len(world.flipped)
    of_class = rng.multinomial(mirrored, [1 / classes] * classes)
    flipped = rng.binomial(of_class, world.flipped)
    return ShadowTraffic(
        agree=float(np.sum(of_class) - np.sum(flipped)),
        disagree=float(np.sum(flipped)),
        flips={(str(name), "other"): float(count) for name, count in enumerate(flipped)},
        by_class={str(name): float(count) for name, count in enumerate(of_class)},
    )


def _lognormal_cdf(seconds: float, median: float, sigma: float) -> float:
    return 1.0 if math.isinf(seconds) else 0.5 * (1 + math.erf(math.log(seconds / median) / sigma / math.sqrt(2)))


def _nothing(classes: int) -> Observation:
    arm = ArmTraffic(0.0, 0.0, Latency(EDGES, (0.0,) * len(EDGES)))
    names = [str(name) for name in range(classes)]
    return Observation(arm, arm, ShadowTraffic(flips={}, by_class=dict.fromkeys(names, 0.0)))


def _added(before: Observation, more: Observation) -> Observation:
    def arm(side: Callable[[Observation], ArmTraffic]) -> ArmTraffic:
        old, new = side(before), side(more)
        counts = tuple(map(sum, zip(old.latency.counts, new.latency.counts, strict=True)))
        return ArmTraffic(old.requests + new.requests, old.errors + new.errors, Latency(EDGES, counts))

    old, new = before.shadow, more.shadow
    shadow = ShadowTraffic(
        agree=old.agree + new.agree,
        disagree=old.disagree + new.disagree,
        flips={pair: count + old.flips.get(pair, 0.0) for pair, count in new.flips.items()},
        by_class={name: count + old.by_class[name] for name, count in new.by_class.items()},
    )
    return Observation(arm(lambda each: each.stable), arm(lambda each: each.candidate), shadow)


if __name__ == "__main__":
    main()
