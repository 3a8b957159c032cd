"""The criteria that a candidate is judged by, each a pure function of the traffic of one stage.

Every criterion gives one of four verdicts, and the difference between the last three is the point:

* ``WITHIN``  enough data, and what was measured is within the limit.
* ``BEYOND``  enough data, and it is *provably* beyond: the chance of saying so of a candidate that keeps the limit is
  at most the ``alpha`` given.
* ``OPEN``    enough data, beyond the limit as measured, but it may be chance: more data will tell.
* ``UNKNOWN`` too little data, or numbers that cannot be. Neither a pass nor a failure.

Whether there is enough data is a matter of requests. What is *proved* of two arms rests on one request of each routing
key (:class:`~headway_serving.core.rollout_traffic.KeySample`): a hash deals keys to the arms, not requests.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from headway_serving.core import duration_steps as steps
from headway_serving.core.duration_steps import Steps
from headway_serving.core.rollout.proportions import chance_of_greater, lower_bound, provably_greater
from headway_serving.core.rollout_state import RolloutPolicy
from headway_serving.core.rollout_traffic import SCORE_BINS, ArmTraffic, ShadowTraffic

QUANTILES = (0.5, 0.9, 0.99)
"""Shares of requests up to whose latency two versions are compared: the typical, the slow and the slowest."""

LATENCY_ALLOWANCE_SECONDS = 0.001
"""What a candidate may always take longer than stable: it is less than a network's own whims."""

SUSPICIOUS = 0.1
"""A candidate is held for being slower only where chance alone would make it look so less often than this."""

GROSS_ERRORS = 10.0
"""From so many times the error increase allowed, requests count though they may all be of few keys."""


class Verdict(StrEnum):
    """What a criterion says."""

    WITHIN = "within"
    BEYOND = "beyond"
    OPEN = "open"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """A criterion's verdict and the figures that it rests on."""

    criterion: str
    verdict: Verdict
    text: str


Compare = Callable[[ArmTraffic, ArmTraffic, RolloutPolicy, float], Finding]
"""Stable's traffic, the candidate's, the limits, and how often the verdict may be BEYOND by chance."""


def errors(stable: ArmTraffic, candidate: ArmTraffic, policy: RolloutPolicy, alpha: float) -> Finding:
    """Is the candidate's error rate more than ``max_error_increase`` above stable's?

    Proved by keys; or by requests, where they fail :data:`GROSS_ERRORS` times as much more: a version that begins to
    fail in the middle of a stage is not excused by the first request of each key.
    """
    if (missing := _missing(stable, candidate, policy)) is not None:
        return Finding("errors", Verdict.UNKNOWN, missing)
    failed, asked = round(candidate.errors), round(candidate.requests)
    failed_stable, asked_stable = round(stable.errors), round(stable.requests)
    margin = policy.max_error_increase
    limit = failed_stable / asked_stable + margin
    text = f"{failed} of {asked} failed, stable {failed_stable} of {asked_stable}; limit {limit:.2%}"
    keys, keys_stable = candidate.sample, stable.sample
    of_stable = (round(keys_stable.errors), round(keys_stable.asked))
    worse = provably_greater(round(keys.errors), round(keys.asked), of_stable, alpha / 2, margin)
    grossly = provably_greater(failed, asked, (failed_stable, asked_stable), alpha / 2, min(GROSS_ERRORS * margin, 0.5))
    return Finding("errors", _verdict(worse or grossly, within=failed <= limit * asked), text)


def overload(stable: ArmTraffic, candidate: ArmTraffic, policy: RolloutPolicy, alpha: float) -> Finding:
    """Is the candidate turned away more often than stable, because of what it costs?

    When a gateway sheds load it sheds candidates first, so being turned away more often is no fault by itself. It is
    one where the candidate provably works longer for an answer than stable does, by more than ``max_latency_ratio``:
    then the queue is of its making.
    """
    refused, refused_stable = round(candidate.overloaded), round(stable.overloaded)
    total, total_stable = (round(arm.requests + arm.overloaded) for arm in (candidate, stable))
    text = f"{refused} of {total} refused for overload, stable {refused_stable} of {total_stable}"
    margin = policy.max_error_increase
    if not provably_greater(refused, total, (refused_stable, total_stable), alpha / 2, margin):
        return Finding("overload", Verdict.WITHIN, text)
    works = stable.sample.work, candidate.sample.work
    costly = _slower("work", *works, 0.5, policy.max_latency_ratio, alpha / 2)
    if costly.verdict is not Verdict.BEYOND:
        return Finding("overload", Verdict.WITHIN, f"{text}: candidates are shed first, and it costs no more")
    return Finding("overload", Verdict.BEYOND, f"{text}; work for an answer: {costly.text}")


def latency(share: float, stable: ArmTraffic, candidate: ArmTraffic, policy: RolloutPolicy, alpha: float) -> Finding:
    """Does the candidate's latency up to which ``share`` of the requests lie exceed stable's ``max_latency_ratio``?"""
    name = f"latency p{100 * share:g}"
    if (missing := _missing(stable, candidate, policy)) is not None:
        return Finding(name, Verdict.UNKNOWN, missing)
    return _slower(name, stable.sample.latency, candidate.sample.latency, share, policy.max_latency_ratio, alpha)


def work(stable: ArmTraffic, candidate: ArmTraffic, policy: RolloutPolicy, alpha: float) -> Finding:
    """Does an answer of the candidate take more than ``max_work_ratio`` times stable's work, in the median?

    Work is what the stages took for each picture, without waiting for a turn: where both arms wait in the same queue
    their latencies come closer, and their work does not.
    """
    if (missing := _missing(stable, candidate, policy)) is not None:
        return Finding("work", Verdict.UNKNOWN, missing)
    return _slower("work", stable.sample.work, candidate.sample.work, 0.5, policy.max_work_ratio, alpha)


def label_shares(stable: ArmTraffic, candidate: ArmTraffic, policy: RolloutPolicy, alpha: float) -> Finding:
    """Does any label get more than ``max_label_shift`` more, or fewer, of the candidate's answers than of stable's?

    Both arms see the same mix of pictures, so the shares differ by no more than the share of pictures on which the
    versions disagree. An alarm only: it is beyond or within, never open.
    """
    ours, theirs = candidate.sample.labels, stable.sample.labels
    names = sorted({*ours, *theirs})
    margin = policy.max_label_shift
    found = [(name, ours.get(name, 0.0), theirs.get(name, 0.0)) for name in names]
    return _shifted("label shares", found, (sum(ours.values()), sum(theirs.values())), margin, alpha)


def score_distribution(stable: ArmTraffic, candidate: ArmTraffic, policy: RolloutPolicy, alpha: float) -> Finding:
    """Is the candidate surer, or less sure, of its answers: do more than ``max_score_shift`` of them cross any score?

    The scores of the best labels, at each edge of their bins; beyond or within, never open.
    """
    ours, theirs = candidate.sample.scores, stable.sample.scores
    found = [
        (f"score up to {(at + 1) / SCORE_BINS:.2f}", _up_to(ours, at), _up_to(theirs, at))
        for at in range(SCORE_BINS - 1)
    ]
    margin = policy.max_score_shift
    return _shifted("scores", found, (sum(ours.values()), sum(theirs.values())), margin, alpha)


def feedback(stable: ArmTraffic, candidate: ArmTraffic, policy: RolloutPolicy, alpha: float) -> Finding:
    """Where applications say what was true: is the candidate wrong more than ``max_accuracy_loss`` more often?

    Judged by the first feedback of each key: one user's pictures may be hard for any version. Without feedback it is
    within: nobody has to give any.
    """
    keys, keys_stable = candidate.sample, stable.sample
    total, total_stable = (round(sample.right + sample.wrong) for sample in (keys, keys_stable))
    if not (total and total_stable):
        return Finding("feedback", Verdict.WITHIN, "none of both arms")
    wrong, wrong_stable = round(keys.wrong), round(keys_stable.wrong)
    text = f"{wrong} of {total} keys wrong, stable {wrong_stable} of {total_stable}"
    margin = policy.max_accuracy_loss
    worse = provably_greater(wrong, total, (wrong_stable, total_stable), alpha, margin)
    few = total < policy.min_samples / 10
    within = few or wrong / total <= wrong_stable / total_stable + margin
    return Finding("feedback", _verdict(worse, within=within), text)


OF_ARMS: tuple[Compare, ...] = (errors, overload, *(partial(latency, share) for share in QUANTILES), work)
"""What two arms are compared by, also where they had their traffic in different hours."""

OF_ANSWERS: tuple[Compare, ...] = (label_shares, score_distribution, feedback)
"""What two arms of the same hour are compared by besides: another hour brings other pictures."""


def shadow_errors(shadow: ShadowTraffic, policy: RolloutPolicy, alpha: float) -> Finding:
    """Does the shadow fail more than ``max_error_increase`` of what stable answered?"""
    total = round(shadow.agree + shadow.disagree + shadow.error)
    return _limited("shadow errors", round(shadow.error), total, policy.max_error_increase, policy.min_samples, alpha)


def disagreement(shadow: ShadowTraffic, policy: RolloutPolicy, alpha: float) -> Finding:
    """Does the shadow label more than ``max_disagreement`` of the pictures otherwise than stable?"""
    total = round(shadow.agree + shadow.disagree)
    limit = policy.max_disagreement
    return _limited("disagreement", round(shadow.disagree), total, limit, policy.min_samples, alpha)


def class_disagreement(shadow: ShadowTraffic, policy: RolloutPolicy, alpha: float) -> Finding:
    """The same for each class as stable labels it: a class that is never right hides in the average of many.

    The classes share ``alpha``. A class of less than a tenth of ``min_samples`` can be beyond, but never open: rare
    classes do not hold a rollout back by chance.
    """
    criterion, classes = "class disagreement", len(shadow.by_class)
    if not classes:
        return Finding(criterion, Verdict.UNKNOWN, "no picture was compared by class")
    limit, findings = policy.max_class_disagreement, []
    for label, compared in sorted(shadow.by_class.items()):
        total = round(compared)
        flipped = min(total, round(sum(count for (source, _), count in shadow.flips.items() if source == label)))
        text = f"{label!r}: {flipped} of {total} differ; limit {limit:.2%}"
        worse = lower_bound(flipped, total, alpha / classes) > limit
        few = total < policy.min_samples / 10
        findings.append(Finding(criterion, _verdict(worse, within=few or flipped <= limit * total), text))
    worst = (Verdict.BEYOND, Verdict.OPEN, Verdict.WITHIN)
    chosen = min(findings, key=lambda finding: worst.index(finding.verdict))
    if chosen.verdict is Verdict.WITHIN:
        return Finding(criterion, Verdict.WITHIN, f"{classes} classes within {limit:.2%}")
    return chosen


def _limited(criterion: str, count: int, total: int, limit: float, needed: int, alpha: float) -> Finding:
    if total < needed:
        return Finding(criterion, Verdict.UNKNOWN, f"{total} pictures compared, {needed} needed")
    text = f"{count} of {total}; limit {limit:.2%}"
    return Finding(criterion, _verdict(lower_bound(count, total, alpha) > limit, within=count <= limit * total), text)


def _verdict(beyond: bool, *, within: bool) -> Verdict:
    if beyond:
        return Verdict.BEYOND
    return Verdict.WITHIN if within else Verdict.OPEN


def _missing(stable: ArmTraffic, candidate: ArmTraffic, policy: RolloutPolicy) -> str | None:
    short = [
        f"{name} was asked {arm.requests:.0f} times"
        for name, arm in (("candidate", candidate), ("stable", stable))
        if arm.requests < policy.min_samples
    ]
    return f"{', '.join(short)}; {policy.min_samples} needed" if short else None


def _slower(criterion: str, stable: Steps, candidate: Steps, share: float, ratio: float, alpha: float) -> Finding:
    """Is the duration up to which ``share`` of them lie more than ``ratio`` times as long as stable's?

    Of stable's durations at most ``1 - share`` are longer than ``edge``; of the candidate's, if they are at most
    ``ratio`` times as long, no more are longer than ``threshold``, ``ratio`` steps further. The test is exact for any
    distribution: how many of one sample lie beyond an order statistic of another depends on ranks alone (the
    precedence test: Nelson, "Tables for a precedence life test", Technometrics 5 (1963)), and its distribution is
    that of Fisher's exact test.
    """
    total, total_stable = round(steps.total(candidate)), round(steps.total(stable))
    if not (total and total_stable):
        return Finding(criterion, Verdict.UNKNOWN, "no answer was timed; are the gateways of this release?")
    edge = steps.quantile_step(stable, share)
    allowed = max(steps.edge(edge) * ratio, steps.edge(edge) + LATENCY_ALLOWANCE_SECONDS)
    threshold = max(edge + steps.steps_of_ratio(ratio), steps.step_of(allowed))
    slow = round(steps.count_beyond(candidate, threshold))
    above = total_stable - math.ceil(share * total_stable)
    text = (
        f"{_ms(steps.edge(steps.quantile_step(candidate, share)))}, stable {_ms(steps.edge(edge))}; "
        f"{slow} of {total} took longer than {_ms(steps.edge(threshold))}"
    )
    if threshold >= steps.MOST_STEPS:
        return Finding(criterion, Verdict.UNKNOWN, f"{text}: slower than what is measured")
    chance = 1.0 if slow <= (1 - share) * total else chance_of_greater(slow, total, (above, total_stable))
    return Finding(criterion, _verdict(chance <= alpha, within=chance > SUSPICIOUS), text)


def _shifted(
    criterion: str, found: list[tuple[str, float, float]], totals: tuple[float, float], margin: float, alpha: float
) -> Finding:
    """Does any share differ by more than ``margin``, either way? ``found``: name, and count of each arm."""
    total, total_stable = round(totals[0]), round(totals[1])
    if not (total and total_stable and found):
        return Finding(criterion, Verdict.WITHIN, "nothing to compare yet")
    worst = max(found, key=lambda each: abs(each[1] / total - each[2] / total_stable))
    for name, ours, theirs in (worst, *found):
        mine, other = (min(round(ours), total), total), (min(round(theirs), total_stable), total_stable)
        each = alpha / 2 / len(found)
        if provably_greater(*mine, other, each, margin) or provably_greater(*other, mine, each, margin):
            text = f"{name}: {mine[0] / total:.1%} of {total}, stable {other[0] / total_stable:.1%} of {total_stable}"
            return Finding(criterion, Verdict.BEYOND, f"{text}; limit {margin:.1%} apart")
    apart = abs(worst[1] / total - worst[2] / total_stable)
    return Finding(criterion, Verdict.WITHIN, f"{len(found)} compared, at most {apart:.1%} apart ({worst[0]})")


def _up_to(scores: Mapping[int, float], at: int) -> float:
    return sum(count for bin_, count in scores.items() if bin_ <= at)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"
