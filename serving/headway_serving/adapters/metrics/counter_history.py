"""What counters did in a window, from samples of them: restarts, new series and new gateways counted right.

A counter's value says nothing by itself; what counts is by how much it rose since the window began. Five things make
that more than a subtraction:

* What a gateway counted before the window does not count, not even what it counted between its last scrape before the
  window and the window's beginning: its window begins at its first scrape that is not earlier.
* A gateway process that was started in the window begins at 0.
* A series that appears in the window has risen from 0. Taking its first sample for its beginning would lose it: the
  first error of a kind would never be seen.
* A gateway that was running before the window but was never seen then has an unknown beginning: what it counts is
  taken from the first sample on.
* A process that is scraped by two names, by two jobs or two Prometheus servers, is one process: whoever makes the
  series knows processes by their own names (``headway_build_info``) and leaves the second out.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from headway_serving.adapters.metrics.key_sample import FEEDBACK, KEYS, LABELS, LATENCY, SCORES, WORK
from headway_serving.core.duration_steps import step_of_text
from headway_serving.core.rollout_traffic import (
    NO_FAULT,
    SCORE_BINS,
    ArmTraffic,
    KeySample,
    Observation,
    ShadowTraffic,
)

REQUESTS = "headway_requests_total"
FALLBACKS = "headway_fallbacks_total"
KEY_REQUESTS, KEY_LATENCY, KEY_WORK, KEY_LABELS, KEY_SCORES, KEY_FEEDBACK = (
    f"{name}_total" for name in (KEYS, LATENCY, WORK, LABELS, SCORES, FEEDBACK)
)
COMPARED = "headway_shadow_compared_total"
BY_CLASS = "headway_shadow_class_compared_total"
FLIPS = "headway_shadow_flips_total"
SHIFT_SUM, SHIFT_COUNT = "headway_shadow_score_shift_sum", "headway_shadow_score_shift_count"
COUNTERS = (
    REQUESTS, FALLBACKS, KEY_REQUESTS, KEY_LATENCY, KEY_WORK, KEY_LABELS, KEY_SCORES, KEY_FEEDBACK, COMPARED,
    BY_CLASS, FLIPS, SHIFT_SUM, SHIFT_COUNT,
)  # fmt: skip
"""Every metric of a gateway that a rollout is judged by; each has the labels ``model`` and ``version``."""

BUILD_INFO = "headway_build_info"
PROCESS_START = "process_start_time_seconds"

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Series:
    """One counter of one gateway: ``points`` are (Unix time, value), oldest first."""

    name: str
    labels: Mapping[str, str]
    instance: str
    points: Points


@dataclass(frozen=True)
class Instance:
    """A gateway process: when it was scraped, oldest first, and when it was started if that is known (Unix time)."""

    scrapes: Sequence[float] = ()
    started: float | None = None

    def is_new(self, since: float) -> bool:
        """Whether it was started in the window that begins at ``since``: its counters began at 0 there."""
        return self.started is not None and self.started > since

    def known_from(self, since: float) -> float:
        """From when on its counters are known in the window that begins at ``since``; infinity: not yet."""
        first = next((at for at in self.scrapes if at >= since), math.inf)
        return min(first, self.started) if self.started is not None and self.is_new(since) else first


def increase(points: Points, since: float, instance: Instance) -> float:
    """By how much a counter rose in the window that began at ``since``; NaN if one of the values is."""
    begins = since
    value = 0.0
    if not instance.is_new(since):
        begins = instance.known_from(since)
        value = next((value for at, value in reversed(points) if at <= begins), 0.0)
    risen = 0.0
    for at, following in points:
        if at > begins:
            # Of a process that was never known by a name, a smaller value is a new start.
            risen += following if following < value else following - value
            value = following
    return risen


def observed(
    series: Iterable[Series], instances: Mapping[str, Instance], stable: int, candidate: int, since: float
) -> Observation:
    """Both arms and the shadow since Unix time ``since``, summed over the gateways. The series are of one model."""
    unseen = Instance()
    rises = [
        (each.name, each.labels, increase(each.points, since, instances.get(each.instance, unseen))) for each in series
    ]
    return Observation(_arm(rises, str(stable)), _arm(rises, str(candidate)), _shadow(rises, str(candidate)))


Rises = Sequence[tuple[str, Mapping[str, str], float]]


def _arm(rises: Rises, version: str) -> ArmTraffic:
    requests = errors = overloaded = 0.0
    ours = [(name, labels, rise) for name, labels, rise in rises if labels.get("version") == version]
    for name, labels, rise in ours:
        code = labels.get("code", "")
        if name == REQUESTS:
            # A request that was bad says nothing of the version, for or against it.
            requests += rise if code == "ok" or code not in NO_FAULT else 0.0
            errors += 0.0 if code in NO_FAULT else rise
            overloaded += rise if code == "overloaded" else 0.0
        elif name == FALLBACKS and code not in NO_FAULT:
            # Stable answered in its place, and was counted for that; the candidate was asked and failed.
            requests += rise
            errors += rise
    return ArmTraffic(requests, errors, overloaded, _key_sample(ours))


def _key_sample(rises: Rises) -> KeySample:
    asked = errors = 0.0
    latency: dict[int, float] = defaultdict(float)
    work: dict[int, float] = defaultdict(float)
    by_label: dict[str, float] = defaultdict(float)
    scores: dict[int, float] = defaultdict(float)
    told: dict[str, float] = defaultdict(float)
    for name, labels, rise in rises:
        up_to = labels.get("up_to", "")
        if name == KEY_REQUESTS:
            asked += rise
            errors += 0.0 if labels.get("code") in NO_FAULT else rise
        elif name == KEY_LATENCY:
            latency[step_of_text(up_to)] += rise
        elif name == KEY_WORK:
            work[step_of_text(up_to)] += rise
        elif name == KEY_LABELS:
            by_label[labels.get("label", "")] += rise
        elif name == KEY_FEEDBACK:
            told[labels.get("outcome", "")] += rise
        elif name == KEY_SCORES:
            scores[round(float(up_to) * SCORE_BINS) - 1] += rise
    answers = dict(latency), dict(work), dict(by_label), dict(scores)
    return KeySample(asked, errors, *answers, told["right"], told["wrong"])


def _shadow(rises: Rises, version: str) -> ShadowTraffic:
    outcomes: dict[str, float] = defaultdict(float)
    flips: dict[tuple[str, str], float] = defaultdict(float)
    by_class: dict[str, float] = defaultdict(float)
    shift_sum = shifts = 0.0
    for name, labels, rise in rises:
        if labels.get("version") != version:
            continue
        if name == COMPARED:
            outcomes[labels.get("outcome", "")] += rise
        elif name == FLIPS:
            flips[labels.get("from_label", ""), labels.get("to_label", "")] += rise
        elif name == BY_CLASS:
            by_class[labels.get("label", "")] += rise
        elif name == SHIFT_SUM:
            shift_sum += rise
        elif name == SHIFT_COUNT:
            shifts += rise
    return ShadowTraffic(
        agree=outcomes["agree"],
        disagree=outcomes["disagree"],
        error=outcomes["error"],
        dropped=outcomes["dropped"],
        flips={pair: count for pair, count in flips.items() if count},
        by_class={label: count for label, count in by_class.items() if count},
        mean_shift=shift_sum / shifts if shifts else None,
    )
