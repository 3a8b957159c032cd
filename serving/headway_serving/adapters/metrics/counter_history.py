"""What counters did in a window, from samples of them: restarts, new series and new gateways counted right.

A counter's value says nothing by itself; what counts is by how much it rose since the window began. Four things make
that more than a subtraction:

* A gateway that was started again begins at 0: a value below the one before is the rise since then.
* A series that appears in the window on a gateway that was seen before has risen from 0. Taking its first sample for
  its beginning would lose it: the first error of a kind would never be seen.
* The same holds for a gateway whose process was started in the window.
* A gateway that was running before the window but was never seen then has an unknown beginning: what it counts is
  taken from the first sample on.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from headway_serving.core.rollout_state import ArmTraffic, Latency, Observation, ShadowTraffic

REQUESTS = "headway_requests_total"
FALLBACKS = "headway_fallbacks_total"
SECONDS = "headway_request_seconds_bucket"
COMPARED = "headway_shadow_compared_total"
BY_CLASS = "headway_shadow_class_compared_total"
FLIPS = "headway_shadow_flips_total"
SHIFT_SUM, SHIFT_COUNT = "headway_shadow_score_shift_sum", "headway_shadow_score_shift_count"
COUNTERS = (REQUESTS, FALLBACKS, SECONDS, COMPARED, BY_CLASS, FLIPS, SHIFT_SUM, SHIFT_COUNT)
"""Every metric of a gateway that a rollout is judged by; each has the labels ``model`` and ``version``."""

PROCESS_START = "process_start_time_seconds"

_NO_FAULT = frozenset({"ok", "overloaded", "invalid_request", "empty_body", "invalid_image", "unsupported_image",
                       "image_too_large"})  # fmt: skip
"""Codes that are no fault of the version: the answer was good, the request was bad, or it was turned away unasked.
Every other code counts against it, also one that this release does not know."""

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
    """A gateway: when it was first seen, and when its process was started if that is known (Unix time)."""

    first_seen: float
    started: float | None = None


def increase(points: Points, since: float, instance: Instance) -> float:
    """By how much a counter rose from ``since`` to its last point; NaN if one of the values is."""
    before = [value for at, value in points if at <= since]
    after = [value for at, value in points if at > since]
    born_inside = instance.first_seen <= since or (instance.started is not None and instance.started > since)
    if before:
        value = before[-1]
    elif born_inside or not after:
        value = 0.0
    else:
        value = after[0]
    risen = 0.0
    for following in after:
        risen += following if following < value else following - value
        value = following
    return risen


def observed(
    series: Iterable[Series], instances: Mapping[str, Instance], stable: int, candidate: int, since: float
) -> Observation:
    """Both arms and the shadow since Unix time ``since``, summed over the gateways. The series are of one model."""
    unseen = Instance(math.inf)
    rises = [
        (each.name, each.labels, increase(each.points, since, instances.get(each.instance, unseen))) for each in series
    ]
    return Observation(_arm(rises, str(stable)), _arm(rises, str(candidate)), _shadow(rises, str(candidate)))


Rises = Sequence[tuple[str, Mapping[str, str], float]]


def _arm(rises: Rises, version: str) -> ArmTraffic:
    requests = errors = 0.0
    below: dict[float, float] = defaultdict(float)
    for name, labels, rise in rises:
        if labels.get("version") != version:
            continue
        if name == REQUESTS:
            code = labels.get("code", "")
            # A request that was turned away or was bad says nothing of the version, for or against it.
            asked = code == "ok" or code not in _NO_FAULT
            requests += rise if asked else 0.0
            errors += 0.0 if code in _NO_FAULT else rise
        elif name == FALLBACKS and labels.get("code") not in _NO_FAULT:
            # Stable answered in its place, and was counted for that; the candidate was asked and failed.
            requests += rise
            errors += rise
        elif name == SECONDS:
            below[_edge(labels.get("le", ""))] += rise
    edges = tuple(sorted(below))
    return ArmTraffic(requests, errors, Latency(edges, tuple(below[edge] for edge in edges)))


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


def _edge(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
