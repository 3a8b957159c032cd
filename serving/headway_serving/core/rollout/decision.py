"""Decides what a rollout does next: one pure function over a table.

Theory of operation
===================
A rollout is a row of stages: optionally a shadow (the candidate gets copies, nobody gets its answers), then rising
weights. In a stage the weight is constant and both arms are asked at the same time by keys that a hash has dealt out,
so whatever else happens (a busy hour, a slow disk) happens to both: a difference is the candidate's. That is why only
the traffic of the stage counts, never sums over stages: a share of 5 % in a quiet hour and of 50 % in a bad one would
make a good candidate look bad.

Every interval the whole of the stage's traffic is looked at. The first row that fits decides:

======================================================  ==============  ===============================================
What is seen                                            Decision        What the controller does
======================================================  ==============  ===============================================
the rollout is paused, held or over                     Hold            nothing
the interval has not passed                             Hold            nothing
no data, NaN, impossible numbers                        Inconclusive    nothing; after ``patience`` looks it gives up
a criterion is provably beyond its limit                RollBack        stable gets everything: one file write
a criterion has too little data                         Inconclusive    as above
a criterion is beyond its limit, perhaps by chance      Hold            waits for more data, as above
all criteria are within, and stages are left            Advance         the next stage
all criteria are within, and this was the last          Promote         the candidate becomes stable
======================================================  ==============  ===============================================

*Inconclusive* is a value of its own: silence is neither a pass (a candidate that nobody asked would be promoted) nor a
failure (a night without traffic would roll everything back). A criterion with too little data cannot fail either.

**False alarms.** Looking again and again finds an accident sooner or later, so every look must be paid for. A rollout
may roll back a candidate that keeps all limits with probability ``false_alarm`` at most. The stages share it equally,
so do the criteria of a stage, and the k-th look at a stage gets the part 1 / (k (k + 1)), which sum to 1 however often
one looks (alpha spending: Lan and DeMets, "Discrete sequential boundaries for clinical trials", Biometrika 70 (1983),
here with Bonferroni's inequality, so that no assumption about the dependence between looks is needed). The tests
themselves are exact (:mod:`headway_serving.core.rollout.proportions`). What it costs in power is little: the bounds
move with the logarithm of 1 / alpha.

**One key, one witness.** A hash deals routing keys to the arms. All requests of a key meet the same version, and they
are alike: one user's pictures, one slow line. Were each of them a sample, three keys that make most of the traffic
would prove anything, of whichever version they happened to meet. So what is proved of two arms is proved by one request
of each key, the first in the stage (:class:`~headway_serving.core.rollout_traffic.KeySample`): keys are dealt
independently. Without keys every request is one of its own. Few keys prove little, and a rollout is then decided by
what all requests show within the limits, by the shadow, where both versions get the same picture, and by what is
grossly wrong.

**The last stage** leaves stable no traffic of its own. So the candidate is compared with ``reference``, stable's
traffic in the last stage that had enough. That is another hour, and what the hour did looks as if the candidate had
done it: no test can tell. So there only :data:`GROSS` limits roll back; errors beyond the plain limit hold, and an
hour that is slower for everybody does not, as it is an everyday thing: the candidate has kept the limits beside stable
in every stage before. Labels and scores are not compared there: another hour brings other pictures.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from headway_serving.core.rollout import criteria
from headway_serving.core.rollout.criteria import Finding, Verdict
from headway_serving.core.rollout_state import RolloutPolicy, RolloutState, RolloutStatus
from headway_serving.core.rollout_traffic import ArmTraffic, KeySample, Observation, ShadowTraffic

GROSS = {"max_error_increase": 10.0, "max_latency_ratio": 2.0, "max_work_ratio": 2.0}
"""What a limit is multiplied with where there is only another hour to compare with."""


@dataclass(frozen=True)
class Decision:
    """What to do, why, and what each criterion found. The subclasses say what."""

    reason: str
    findings: tuple[Finding, ...] = ()

    @property
    def name(self) -> str:
        """The decision in a word, for people and logs."""
        return type(self).__name__


class Advance(Decision):
    """Go on to the next stage."""


class Hold(Decision):
    """Leave everything as it is: it is not time, or a difference may be chance."""


class Inconclusive(Decision):
    """There is not enough data to say anything."""


class Promote(Decision):
    """Make the candidate stable."""


class RollBack(Decision):
    """Give all traffic back to stable."""


def decide(policy: RolloutPolicy, state: RolloutState, observation: Observation | None, now: float) -> Decision:
    """What to do at Unix time ``now``, by the table above. ``observation``: the stage's traffic, None if unknown.

    Pure: equal arguments give equal decisions. A look at data (anything but the first two rows) has to be counted in
    ``state.looks`` before the next.
    """
    if state.status is not RolloutStatus.RUNNING:
        return Hold(f"the rollout is {state.status}")
    if now < state.since + policy.interval_seconds:
        return Hold(f"{state.since + policy.interval_seconds - now:.0f} s until the next look")
    if observation is None or (impossible := _impossible(observation)) is not None:
        return Inconclusive("no data" if observation is None else f"data that cannot be: {impossible}")
    findings = tuple(_findings(policy, state, observation))
    for verdict, decision in ((Verdict.BEYOND, RollBack), (Verdict.UNKNOWN, Inconclusive), (Verdict.OPEN, Hold)):
        # What several criteria say alike, such as that there were too few requests, is said once.
        found: dict[str, list[str]] = {}
        for finding in findings:
            if finding.verdict is verdict:
                found.setdefault(finding.text, []).append(finding.criterion)
        if found:
            return decision("; ".join(f"{', '.join(names)}: {text}" for text, names in found.items()), findings)
    last = state.stage + 1 == len(policy.stages())
    return (Promote if last else Advance)(f"all within limits at {policy.stages()[state.stage]}", findings)


def reference_of(policy: RolloutPolicy, state: RolloutState, observation: Observation) -> ArmTraffic | None:
    """Stable's traffic to compare a stage without any with: this stage's if there is enough, else the one kept."""
    return observation.stable if observation.stable.requests >= policy.min_samples else state.reference


def look_alpha(policy: RolloutPolicy, looks_before: int, criteria_count: int) -> float:
    """The false-alarm probability that one criterion may spend at the look after ``looks_before`` others."""
    look = looks_before + 1
    return policy.false_alarm / len(policy.stages()) / criteria_count / (look * (look + 1))


def _findings(policy: RolloutPolicy, state: RolloutState, observation: Observation) -> Iterable[Finding]:
    if policy.stages()[state.stage].shadow_share > 0:
        alpha = look_alpha(policy, state.looks, 3)
        for criterion in (criteria.shadow_errors, criteria.disagreement, criteria.class_disagreement):
            yield criterion(observation.shadow, policy, alpha)
        return
    stable, candidate = observation.stable, observation.candidate
    alpha = look_alpha(policy, state.looks, len(criteria.OF_ARMS) + len(criteria.OF_ANSWERS))
    # At full weight stable gets only what names it and what fell back to it: no sample of anything.
    alone = policy.stages()[state.stage].weight >= 1 and stable.sample.asked < policy.min_samples
    if alone:
        stable = state.reference or stable
    for compare in criteria.OF_ARMS:
        finding = compare(stable, candidate, policy, alpha)
        if alone and finding.verdict in (Verdict.BEYOND, Verdict.OPEN):
            gross = compare(stable, candidate, _grossly(policy), alpha)
            if compare is criteria.errors:
                beyond = gross.verdict is Verdict.BEYOND
                finding = finding if beyond else replace(finding, verdict=Verdict.OPEN)
            else:
                finding = gross
        yield finding
    if not alone:
        yield from (compare(stable, candidate, policy, alpha) for compare in criteria.OF_ANSWERS)


def _grossly(policy: RolloutPolicy) -> RolloutPolicy:
    looser = {name: getattr(policy, name) * times for name, times in GROSS.items()}
    return replace(policy, **{**looser, "max_error_increase": min(looser["max_error_increase"], 0.5)})


def _impossible(observation: Observation) -> str | None:
    """What about the numbers cannot be; None if nothing."""
    for name, arm in (("stable", observation.stable), ("candidate", observation.candidate)):
        if not _counts((*_of_requests(arm), *_of_keys(arm.sample))):
            return f"{name} has a count that is no number of 0 or more"
        if arm.errors > arm.requests or arm.sample.errors > arm.sample.asked:
            return f"{name} failed more requests than it was asked"
    shadow: ShadowTraffic = observation.shadow
    plain = (shadow.agree, shadow.disagree, shadow.error, shadow.dropped)
    if not _counts((*plain, *shadow.flips.values(), *shadow.by_class.values())):
        return "the shadow has a count that is no number of 0 or more"
    return None


def _of_requests(arm: ArmTraffic) -> tuple[float, ...]:
    return arm.requests, arm.errors, arm.overloaded


def _of_keys(sample: KeySample) -> tuple[float, ...]:
    by = (sample.latency, sample.work, sample.labels, sample.scores)
    plain = (sample.asked, sample.errors, sample.right, sample.wrong)
    return (*plain, *(count for counts in by for count in counts.values()))


def _counts(values: Iterable[float]) -> bool:
    # A window with more than a million million requests is a broken counter. NaN compares as false.
    return all(0 <= value <= 1e12 for value in values)
