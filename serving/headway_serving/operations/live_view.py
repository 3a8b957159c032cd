"""What gateways do now, by version and arm, from two pages of each: rates, latencies, errors, queues, agreement."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from headway_serving.adapters.metrics.page_reading import Page
from headway_serving.core.rollout_traffic import NO_FAULT

_CALLERS_FAULT = NO_FAULT - {"overloaded"}
_UNKNOWN = "unknown"
_SHADOW = "shadow"

Key = tuple[str, str, str]
"""Model, version, arm."""

Pair = tuple[Page, Page]
"""The page before and the page now, of one address."""


@dataclass(frozen=True)
class VersionNow:
    """A version in one arm, in the time between the pages, over all gateways.

    ``traffic``: its share of the routing keys, 0 to 1; of a shadow: of the copies; None of a pinned version.
    ``requests``: a second. ``p50``, ``p99``: seconds, None without requests. ``errors``: share of the requests that
    failed by a fault of the service, None without requests. ``agreement``: of a shadow, the share of the compared
    pictures that it labels as stable does since the gateways began; None if none was compared.
    """

    model: str
    version: str
    arm: str
    traffic: float | None
    requests: float
    p50: float | None
    p99: float | None
    errors: float | None
    agreement: float | None


@dataclass(frozen=True)
class QueueNow:
    """A model's queues: pictures that wait, are worked on and may be, and the longest wait in seconds of a newcomer."""

    waiting: int
    serving: int
    limit: int
    wait_seconds: float
    shedding: bool


def versions_now(pairs: Sequence[Pair]) -> list[VersionNow]:
    """Every version with traffic, or that a route gives some, by model, version and arm."""
    pages = [now for _, now in pairs]
    requests: dict[Key, float] = defaultdict(float)
    failed: dict[Key, float] = defaultdict(float)
    for key, code, rate in _rates(pairs, "headway_requests_total", "code"):
        requests[key] += rate
        failed[key] += 0.0 if code in _CALLERS_FAULT else rate
    buckets: dict[Key, dict[float, float]] = defaultdict(lambda: defaultdict(float))
    for key, edge, rate in _rates(pairs, "headway_request_seconds_bucket", "le"):
        buckets[key][float(edge)] += rate
    traffic = {_key(labels): value for page in pages for labels, value in page.of("headway_route_weight")}
    agreement = _agreement(pages)
    keys = {key for key in {*requests, *traffic} if _UNKNOWN not in key[:2]}
    return [
        VersionNow(
            *key,
            traffic=traffic.get(key),
            requests=requests[key],
            p50=quantile(buckets[key], 0.5),
            p99=quantile(buckets[key], 0.99),
            errors=failed[key] / requests[key] if requests[key] else None,
            agreement=agreement.get(key[:2]) if key[2] == _SHADOW else None,
        )
        for key in sorted(keys, key=lambda key: (key[0], int(key[1]), key[2]))
        if requests[key] or key in traffic
    ]


def queues_now(pages: Iterable[Page]) -> dict[str, QueueNow]:
    """The queue of each model, summed over the gateways."""
    sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for page in pages:
        for name in ("pictures", "serving_pictures", "limit"):
            for labels, value in page.of(f"headway_queue_{name}"):
                sums[labels["model"]][name] += value
        for name in ("wait_seconds", "shedding"):
            for labels, value in page.of(f"headway_queue_{name}"):
                of_model = sums[labels["model"]]
                of_model[name] = max(of_model[name], value)
    return {
        model: QueueNow(
            int(found["pictures"]), int(found["serving_pictures"]), int(found["limit"]), found["wait_seconds"],
            found["shedding"] > 0,
        )
        for model, found in sums.items()
    }  # fmt: skip


def quantile(buckets: Mapping[float, float], share: float) -> float | None:
    """The value below which that share lies, by lines within a bucket, as Prometheus' ``histogram_quantile``.

    ``buckets``: counts up to each edge, infinity included. None without counts; the last finite edge if it lies beyond.
    """
    total = buckets.get(math.inf, 0.0)
    if total <= 0:
        return None
    rank = share * total
    for (below, before), (edge, count) in pairwise([(0.0, 0.0), *sorted(buckets.items())]):
        if count >= rank and count > before:
            return below if math.isinf(edge) else below + (edge - below) * (rank - before) / (count - before)
    return None


def _rates(pairs: Iterable[Pair], name: str, label: str) -> Iterable[tuple[Key, str, float]]:
    for before, now in pairs:
        seconds = max(now.at - before.at, 1e-9)
        # A process that was started since has counted all that it shows since.
        known = before.samples if before.process == now.process else {}
        for (found, labels), value in now.samples.items():
            if found == name:
                texts = dict(labels)
                yield _key(texts), texts[label], max(value - known.get((found, labels), 0.0), 0.0) / seconds


def _key(labels: Mapping[str, str]) -> Key:
    return labels["model"], labels["version"], labels["arm"]


def _agreement(pages: Iterable[Page]) -> dict[tuple[str, str], float]:
    counts: dict[tuple[str, str], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for page in pages:
        for labels, value in page.of("headway_shadow_compared_total"):
            counts[labels["model"], labels["version"]][labels["outcome"]] += value
    return {
        key: found["agree"] / (found["agree"] + found["disagree"])
        for key, found in counts.items()
        if found["agree"] + found["disagree"]
    }
