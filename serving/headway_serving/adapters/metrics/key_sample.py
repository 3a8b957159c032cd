"""What a rollout proves anything by: one request of each routing key in each stage, counted where it is answered.

See :class:`headway_serving.core.rollout_traffic.KeySample` for why. Durations are counted in fine steps
(:mod:`headway_serving.core.duration_steps`), of which only those that occur are series; and only models whose traffic
is split between two versions have any.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector

from headway_serving.adapters.metrics import names
from headway_serving.core.duration_steps import edge_text, step_of
from headway_serving.core.rollout_traffic import NO_FAULT, SCORE_BINS
from headway_serving.core.routing import Route, RouteTable

KEYS = names.KEY_REQUESTS.stem
LATENCY = names.KEY_LATENCY.stem
WORK = names.KEY_WORK.stem
LABELS = names.KEY_LABELS.stem
SCORES = names.KEY_SCORES.stem
FEEDBACK = names.KEY_FEEDBACK.stem

OTHER = "other"
"""The label of all answers beyond the first :data:`_MOST_LABELS` labels."""

_MOST_LABELS = 200
_SLOTS = 2**20
"""Keys are told apart by where they stand between the arms, to one millionth.

128 KiB a model, twice that with feedback, and only in a rollout.
"""

_FAMILIES = (
    names.KEY_REQUESTS, names.KEY_LATENCY, names.KEY_WORK, names.KEY_LABELS, names.KEY_SCORES, names.KEY_FEEDBACK,
)  # fmt: skip


@dataclass(frozen=True)
class KeyedRequest:
    """A request whose version the split chose. ``route``: that version, though another may have answered.

    ``stage``: equal as long as a key counts once. ``code``: of the version, ``ok`` or the problem's. ``seconds``, and
    ``work`` for a picture: of an answer. ``best``: the first picture's label and score, if it has been ranked.
    """

    route: Route
    stage: Hashable
    code: str
    seconds: float
    work: float
    best: tuple[str, float] | None


class _Model:
    """The counts of one model, by metric, version and label value; and the keys that were seen in this stage."""

    def __init__(self) -> None:
        self.stage: Hashable = None
        self.seen: dict[str, bytearray] = {}
        self.counts: dict[tuple[str, int, str], int] = defaultdict(int)
        self.labels: set[str] = set()

    def is_first(self, kind: str, stage: Hashable, position: float) -> bool:
        if stage != self.stage:
            self.stage, self.seen = stage, {}
        seen = self.seen.get(kind)
        if seen is None:
            seen = self.seen[kind] = bytearray(_SLOTS // 8)
        slot = min(int(position * _SLOTS), _SLOTS - 1)
        byte, bit = slot >> 3, 1 << (slot & 7)
        if seen[byte] & bit:
            return False
        seen[byte] |= bit
        return True

    def known_label(self, label: str) -> str:
        if len(self.labels) < _MOST_LABELS:
            self.labels.add(label)
        return label if label in self.labels else OTHER


class KeySamples(Collector):
    """Counts the first request of each key. Safe for use by many threads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.routes: Callable[[], RouteTable] = lambda: RouteTable({})
        self._models: dict[str, _Model] = defaultdict(_Model)
        self._lock = threading.Lock()
        registry.register(self)

    def observe(self, request: KeyedRequest) -> None:
        """Count a request if it is the first of its key that says something of the version."""
        position = request.route.position
        if position is None or (request.code in NO_FAULT and request.code != "ok"):
            return
        with self._lock:
            model = self._models[request.route.model]
            if not model.is_first(KEYS, request.stage, position):
                return
            version, counts = request.route.version, model.counts
            counts[KEYS, version, request.code] += 1
            if request.code != "ok":
                return
            counts[LATENCY, version, edge_text(step_of(request.seconds))] += 1
            counts[WORK, version, edge_text(step_of(request.work))] += 1
            if request.best is not None:
                label, score = request.best
                counts[LABELS, version, model.known_label(label)] += 1
                bin_ = min(max(int(score * SCORE_BINS), 0), SCORE_BINS - 1)
                counts[SCORES, version, f"{(bin_ + 1) / SCORE_BINS:.2f}"] += 1

    def observe_feedback(self, route: Route, stage: Hashable, outcome: str) -> None:
        """Count ``right`` or ``wrong`` if it is the first of its key."""
        if route.position is None:
            return
        with self._lock:
            model = self._models[route.model]
            if model.is_first(FEEDBACK, stage, route.position):
                model.counts[FEEDBACK, route.version, outcome] += 1

    def collect(self) -> Iterator[CounterMetricFamily]:
        """The series of the models whose traffic is split now; what was counted of others is forgotten."""
        split = {name for name, routes in self.routes().models.items() if routes.candidate is not None}
        with self._lock:
            for name in set(self._models) - split:
                del self._models[name]
            counts = {name: dict(model.counts) for name, model in self._models.items()}
        for metric in _FAMILIES:
            family = CounterMetricFamily(metric.stem, metric.help, labels=metric.labels)
            for name, counted in counts.items():
                for (kind, version, value), count in counted.items():
                    if kind == metric.stem:
                        family.add_metric((name, str(version), value), count)
            yield family

    def describe(self) -> list[CounterMetricFamily]:
        """Their names, for the registry to refuse others of the same name."""
        return [CounterMetricFamily(each.stem, each.help) for each in _FAMILIES]
