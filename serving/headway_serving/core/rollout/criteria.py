"""The criteria that a candidate is judged by, each a pure function of the traffic of one stage.

Every criterion gives one of four verdicts, and the difference between the last three is the point:

* ``WITHIN``  enough data, and what was measured is within the limit.
* ``BEYOND``  enough data, and it is *provably* beyond: the chance of saying so of a candidate that keeps the limit is
  at most the ``alpha`` given.
* ``OPEN``    enough data, beyond the limit as measured, but it may be chance: more data will tell.
* ``UNKNOWN`` too little data, or numbers that cannot be. Neither a pass nor a failure.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from headway_serving.core.rollout.proportions import lower_bound, provably_greater
from headway_serving.core.rollout_state import ArmTraffic, Latency, RolloutPolicy, ShadowTraffic

SLOWEST = 0.01
"""The share of requests that are slower than the 99th percentile."""


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


def errors(stable: ArmTraffic, candidate: ArmTraffic, policy: RolloutPolicy, alpha: float) -> Finding:
    """Is the candidate's error rate more than ``max_error_increase`` above stable's?"""
    if (missing := _missing(stable, candidate, policy)) is not None:
        return Finding("errors", Verdict.UNKNOWN, missing)
    failed, asked = round(candidate.errors), round(candidate.requests)
    failed_stable, asked_stable = round(stable.errors), round(stable.requests)
    limit = failed_stable / asked_stable + policy.max_error_increase
    text = f"{failed} of {asked} failed, stable {failed_stable} of {asked_stable}; limit {limit:.2%}"
    worse = provably_greater(failed, asked, (failed_stable, asked_stable), alpha, policy.max_error_increase)
    return Finding("errors", _verdict(worse, within=failed <= limit * asked), text)


def latency(stable: ArmTraffic, candidate: ArmTraffic, policy: RolloutPolicy, alpha: float) -> Finding:
    """Do the candidate's slowest requests take more than ``max_p99_ratio`` times as long as stable's?

    A histogram knows latencies only at its edges. Of stable's requests at most 1 % took longer than ``edge``, the one
    at or above its p99; of the candidate's no larger share may take longer than ``threshold``, the first edge at or
    above the ratio times ``edge``. So a difference that the buckets cannot show is given to the candidate, and none
    is made up by interpolating. That ``edge`` is an estimate is paid for by the upper bound on stable's share beyond
    it (the tail beyond an order statistic is beta distributed, whatever the distribution).
    """
    for name, arm in (("stable", stable), ("candidate", candidate)):
        if not _is_histogram(arm.latency):
            return Finding("latency", Verdict.UNKNOWN, f"{name}: no latency that can be read")
    if (missing := _missing(stable, candidate, policy)) is not None:
        return Finding("latency", Verdict.UNKNOWN, missing)
    total, total_stable = round(candidate.latency.counts[-1]), round(stable.latency.counts[-1])
    if total < policy.min_samples or total_stable < policy.min_samples:
        return Finding("latency", Verdict.UNKNOWN, "too few requests were timed")
    edge = next(
        edge
        for edge, count in zip(stable.latency.edges, stable.latency.counts, strict=True)
        if count >= (1 - SLOWEST) * stable.latency.counts[-1]
    )
    threshold, below = next(
        (at, count)
        for at, count in zip(candidate.latency.edges, candidate.latency.counts, strict=True)
        if at >= edge * policy.max_p99_ratio
    )
    p99, p99_candidate = quantile(stable.latency, 1 - SLOWEST), quantile(candidate.latency, 1 - SLOWEST)
    text = f"p99 {_ms(p99_candidate)}, stable {_ms(p99)}; "
    if math.isinf(threshold):
        inside = candidate.latency.counts[-2] >= (1 - SLOWEST) * candidate.latency.counts[-1]
        verdict = Verdict.WITHIN if inside else Verdict.UNKNOWN
        return Finding("latency", verdict, f"{text}slower than what is measured, {_ms(candidate.latency.edges[-2])}")
    slow = total - round(below)
    text += f"{slow} of {total} took longer than {_ms(threshold)}"
    worse = provably_greater(slow, total, (math.ceil(SLOWEST * total_stable), total_stable), alpha)
    return Finding("latency", _verdict(worse, within=slow <= math.ceil(SLOWEST * total)), text)


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


def quantile(histogram: Latency, share: float) -> float:
    """Seconds below which ``share`` of the requests are, linear within a bucket; the last finite edge beyond it."""
    rank = share * histogram.counts[-1]
    low_edge = low_count = 0.0
    for edge, count in zip(histogram.edges, histogram.counts, strict=True):
        if count >= rank:
            if math.isinf(edge):
                return low_edge
            inside = count - low_count
            return edge if inside <= 0 else low_edge + (edge - low_edge) * (rank - low_count) / inside
        low_edge, low_count = edge, count
    return low_edge


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


def _is_histogram(histogram: Latency) -> bool:
    edges, counts = histogram.edges, histogram.counts
    return (
        len(edges) == len(counts) > 1
        and math.isinf(edges[-1])
        and counts[-1] > 0
        and all(low < high for low, high in pairwise(edges))
        and all(low <= high for low, high in pairwise(counts))
    )


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"
