"""What is counted of every request, later.

An observation is put on a list; the list is counted when somebody scrapes, or when it is long, all of it at once: a
request pays for one append, and a batch of them for the looking up of their series.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from headway_contract.errors import InvalidImage
from headway_serving.adapters.metrics import names
from headway_serving.adapters.metrics.families import (
    Distribution,
    Distributions,
    IsRouted,
    Retirement,
    Values,
    family_of,
)
from headway_serving.adapters.metrics.observations import Observation, VersionTotals
from headway_serving.core.classification import PictureAnswer

UNKNOWN = "unknown"
OTHER = "other"
MOST_LABELS = 20
"""Labels of a version that have a series of their own; the further ones are counted together."""

REQUEST_EDGES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
"""Of every version and arm, beside the SLO's: few, because there are many versions."""

OUTCOME_EDGES = (
    0.001, 0.0015, 0.002, 0.003, 0.004, 0.006, 0.008, 0.012, 0.016, 0.025, 0.035, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3,
    0.4, 0.6, 0.8, 1.2, 1.6, 2.5, 3.5, 5.0, 7.0, 10.0,
)  # fmt: skip
"""Of all requests together: fine enough for quantiles, half as far apart as usual."""

SCORE_EDGES = (0.5, 0.8, 0.95)
_BYTES = (1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216)
_BATCH_WAITS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_PICTURES = (1, 2, 4, 8, 16, 32, 64)
_LONG = 64

_UNSEEN_STAGES = frozenset({"manifest", "rank"})
"""Stages that never take a time worth two series of every version; ``Server-Timing`` and the log line have them."""

_FAMILIES = (
    names.REQUESTS, names.IMAGES, names.REQUEST_SECONDS, names.STAGE_SECONDS, names.ANSWERS, names.ANSWER_SCORE,
    names.ABSTENTIONS, names.OUTCOME_SECONDS, names.BODY_BYTES, names.REQUEST_PICTURES, names.FALLBACKS,
    names.BAD_PICTURES, names.SHED, names.TOKEN_REQUESTS, names.BATCH_WAIT_SECONDS,
)  # fmt: skip


class _ArmCounts:
    """Of one model, version and arm."""

    __slots__ = ("codes", "images", "seconds", "stages")

    def __init__(self, edges: Sequence[float]) -> None:
        self.codes: dict[str, int] = {}
        self.images = 0
        self.seconds = Distribution(edges)
        self.stages: dict[str, list[float]] = {}


class _AnswerCounts:
    """Of one model and version: what its answers say."""

    __slots__ = ("abstentions", "labels", "scores")

    def __init__(self) -> None:
        self.abstentions = 0
        self.labels: dict[str, int] = {}
        self.scores = Distribution(SCORE_EDGES)

    def count(self, label: str, number: int) -> None:
        known = label if label in self.labels or len(self.labels) < MOST_LABELS else OTHER
        self.labels[known] = self.labels.get(known, 0) + number


class RequestCounts(Collector):
    """Counts requests. Safe for use by many threads."""

    def __init__(self, registry: CollectorRegistry, slo_seconds: float) -> None:
        self._edges = tuple(sorted({*REQUEST_EDGES, slo_seconds}))
        self._waiting: list[Observation] = []
        self._lock = threading.Lock()
        self._arms: dict[tuple[str, str, str], _ArmCounts] = {}
        self._answers: dict[tuple[str, str], _AnswerCounts] = {}
        self._sums: dict[str, dict[Values, int]] = {
            each.name: {} for each in (names.FALLBACKS, names.BAD_PICTURES, names.SHED, names.TOKEN_REQUESTS)
        }
        self._outcomes = Distributions(names.OUTCOME_SECONDS, OUTCOME_EDGES, None)
        self._bytes = Distributions(names.BODY_BYTES, _BYTES, None)
        self._pictures = Distributions(names.REQUEST_PICTURES, _PICTURES, None)
        self._batch_waits = Distributions(names.BATCH_WAIT_SECONDS, _BATCH_WAITS, None)
        self._retirement = Retirement(("model", "version", "arm"))
        registry.register(self)

    def observe(self, observation: Observation) -> None:
        """Count one request, soon."""
        self._waiting.append(observation)
        # Whoever holds the lock may be making a page: nobody waits for that, and the list may grow meanwhile.
        if len(self._waiting) >= _LONG and self._lock.acquire(blocking=False):
            try:
                self._count_waiting()
            finally:
                self._lock.release()

    def shed(self, reason: str) -> None:
        """Count somebody who was turned away before it was known what was asked."""
        with self._lock:
            self._add(names.SHED, UNKNOWN, UNKNOWN, reason)

    def totals(self, model: str, version: int) -> VersionTotals:
        """What was counted for a version, whatever its arm was."""
        with self._lock:
            self._count_waiting()
            ours = [counts for labels, counts in self._arms.items() if labels[:2] == (model, str(version))]
            answered = sum(counts.codes.get("ok", 0) for counts in ours)
            return VersionTotals(
                answered=answered,
                failed=sum(sum(counts.codes.values()) for counts in ours) - answered,
                seconds=sum(counts.seconds.total for counts in ours),
                pictures=sum(counts.images for counts in ours),
            )

    def retire(self, is_routed: IsRouted, now: float) -> None:
        """Forget versions that nobody uses any more; ``now``: on a monotonic clock."""
        with self._lock:
            self._count_waiting()
            counts = ((labels, float(counts.seconds.count)) for labels, counts in self._arms.items())
            for labels in self._retirement.retired(counts, is_routed, now):
                model, version, arm = labels
                del self._arms[model, version, arm]
                if not any(left[:2] == (model, version) for left in self._arms):
                    self._answers.pop((model, version), None)
                    fallbacks = self._sums[names.FALLBACKS.name]
                    for values in [each for each in fallbacks if each[:2] == (model, version)]:
                        del fallbacks[values]

    def _count_waiting(self) -> None:
        # What other threads append meanwhile comes after these, and stays.
        observations = self._waiting[:]
        del self._waiting[: len(observations)]
        by_arm: dict[tuple[str, str, str], list[Observation]] = {}
        for each in observations:
            by_arm.setdefault(_labels_of(each), []).append(each)
        for labels, group in by_arm.items():
            self._count_arm(labels, group)
            self._count_rare(labels, group)
        self._count_together(observations)

    def _count_arm(self, labels: tuple[str, str, str], group: Sequence[Observation]) -> None:
        """Count requests of one model, version and arm."""
        counts = self._arms.get(labels)
        if counts is None:
            counts = self._arms[labels] = _ArmCounts(self._edges)
        for code, number in Counter([seen.code for seen in group]).items():
            counts.codes[code] = counts.codes.get(code, 0) + number
        counts.seconds.add_many([seen.seconds for seen in group if seen.trace_id is None])
        for seen in group:
            if seen.trace_id is not None:
                counts.seconds.add(seen.seconds, seen.trace_id)
        timed = [seen.stage_seconds for seen in group if seen.stage_seconds]
        for stage in set().union(*timed) - _UNSEEN_STAGES:
            spent = counts.stages.setdefault(stage, [0.0, 0.0])
            seconds = [each[stage] for each in timed if stage in each]
            spent[0] += len(seconds)
            spent[1] += sum(seconds)
        counts.images += sum([seen.images for seen in group if seen.code == "ok"])
        answered = [result for seen in group if seen.code == "ok" for result in seen.results]
        if answered:
            self._count_answers(labels[:2], answered)

    def _count_together(self, observations: Sequence[Observation]) -> None:
        """Count what is not told apart by model."""
        by_outcome: dict[str, list[float]] = {}
        for seen in observations:
            by_outcome.setdefault(outcome_class(seen.code, seen.status), []).append(seen.seconds)
        for outcome, seconds in by_outcome.items():
            self._outcomes.observe_many(seconds, outcome)
        with_body = [seen for seen in observations if seen.body_bytes is not None]
        if with_body:
            self._bytes.observe_many([seen.body_bytes or 0 for seen in with_body])
            self._pictures.observe_many([max(seen.images, 1) for seen in with_body])
        waits = [seen.stage_seconds["batch"] for seen in observations if "batch" in seen.stage_seconds]
        if waits:
            self._batch_waits.observe_many(waits)

    def _count_rare(self, labels: tuple[str, str, str], group: Sequence[Observation]) -> None:
        """Count what few requests have."""
        for seen in group:
            if seen.fallback is not None:
                failed = seen.fallback.route
                self._add(names.FALLBACKS, failed.model, str(failed.version), seen.fallback.code)
            for code in seen.bad_picture_codes:
                self._add(names.BAD_PICTURES, code)
            if seen.shed is not None:
                self._add(names.SHED, labels[0], labels[2], seen.shed)
            if seen.token is not None:
                self._add(names.TOKEN_REQUESTS, seen.token)

    def _count_answers(self, version: tuple[str, str], results: Sequence[PictureAnswer]) -> None:
        answers = self._answers.get(version)
        if answers is None:
            answers = self._answers[version] = _AnswerCounts()
        read = [result for result in results if not isinstance(result, InvalidImage)]
        best = [result[0] for result in read if result]
        answers.abstentions += len(read) - len(best)
        for label, number in Counter([each.label for each in best]).items():
            answers.count(label, number)
        if best:
            answers.scores.add_many([each.score for each in best])

    def _add(self, metric: names.Metric, *values: str) -> None:
        counts = self._sums[metric.name]
        counts[values] = counts.get(values, 0) + 1

    def collect(self) -> Iterator[Metric]:
        """What a scrape shows."""
        with self._lock:
            self._count_waiting()
            families = [*self._of_arms(), *self._of_answers()]
            for metric in (names.FALLBACKS, names.BAD_PICTURES, names.SHED, names.TOKEN_REQUESTS):
                family = CounterMetricFamily(metric.stem, metric.help, labels=metric.labels)
                for values, count in self._sums[metric.name].items():
                    family.add_metric(values, count)
                families.append(family)
        yield from families
        for distributions in (self._outcomes, self._bytes, self._pictures, self._batch_waits):
            yield from distributions.collect()

    def _of_arms(self) -> list[Metric]:
        requests, images, seconds, stages = (
            family_of(each) for each in (names.REQUESTS, names.IMAGES, names.REQUEST_SECONDS, names.STAGE_SECONDS)
        )
        assert isinstance(requests, CounterMetricFamily)
        assert isinstance(images, CounterMetricFamily)
        assert isinstance(seconds, HistogramMetricFamily)
        assert isinstance(stages, SummaryMetricFamily)
        for labels, counts in self._arms.items():
            for code, count in counts.codes.items():
                requests.add_metric((*labels, code), count)
            if counts.images:
                images.add_metric(labels, counts.images)
            counts.seconds.show(seconds, labels)
            for stage, (times, spent) in counts.stages.items():
                stages.add_metric((*labels, stage), count_value=int(times), sum_value=spent)
        return [requests, images, seconds, stages]

    def _of_answers(self) -> list[Metric]:
        answers, scores, abstentions = (
            family_of(each) for each in (names.ANSWERS, names.ANSWER_SCORE, names.ABSTENTIONS)
        )
        assert isinstance(answers, CounterMetricFamily)
        assert isinstance(scores, HistogramMetricFamily)
        assert isinstance(abstentions, CounterMetricFamily)
        for version, counts in self._answers.items():
            for label, count in counts.labels.items():
                answers.add_metric((*version, label), count)
            counts.scores.show(scores, version)
            if counts.abstentions:
                abstentions.add_metric(version, counts.abstentions)
        return [answers, scores, abstentions]

    def describe(self) -> list[Metric]:
        """The names, for the registry to refuse others of the same name."""
        return [family_of(each) for each in _FAMILIES]


def _labels_of(seen: Observation) -> tuple[str, str, str]:
    route = seen.route
    if route is None:
        return seen.model or UNKNOWN, UNKNOWN, UNKNOWN
    return route.model, str(route.version), route.arm.value


def outcome_class(code: str, status: int) -> str:
    """The class of an outcome: ``ok``, ``refused``, ``overloaded``, ``late`` or ``failed``."""
    if code == "ok":
        return "ok"
    if code == "overloaded":
        return "overloaded"
    if status == 504:
        return "late"
    return "refused" if status < 500 else "failed"
