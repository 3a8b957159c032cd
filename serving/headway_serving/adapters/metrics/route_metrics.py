"""The routes and rollouts that are in force, as metrics: read from the route table when somebody scrapes."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from headway_serving.adapters.metrics import names
from headway_serving.core.routing import ModelRoutes, RouteTable

ROUTE_WEIGHT = names.ROUTE_WEIGHT.name

_FAMILIES = (names.ROUTE_WEIGHT, names.ROLLOUT_STATE, names.ROLLOUT_STAGE, names.ROLLOUT_STAGE_SINCE)
_MOST_REASON_CHARACTERS = 120


class RouteMetrics(Collector):
    """Which version gets what share of a model's traffic, and how its rollout stands."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.routes: Callable[[], RouteTable] = lambda: RouteTable({})
        registry.register(self)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """A few series for each model."""
        models = sorted(self.routes().models.items())
        weight, state, stage, since = (
            GaugeMetricFamily(each.name, each.help, labels=each.labels) for each in _FAMILIES
        )
        for model, routes in models:
            for version, arm, share in _shares(routes):
                weight.add_metric((model, str(version), arm), share)
            rollout = routes.rollout
            if rollout is not None:
                candidate = str(rollout.candidate)
                reason = " ".join(rollout.reason.split())[:_MOST_REASON_CHARACTERS]
                state.add_metric((model, candidate, rollout.status.value, reason), 1.0)
                stage.add_metric((model, candidate), rollout.stage)
                since.add_metric((model, candidate), rollout.since)
        yield from (weight, state, stage, since)

    def describe(self) -> list[GaugeMetricFamily]:
        """Their names, for the registry to refuse others of the same name."""
        return [GaugeMetricFamily(each.name, each.help) for each in _FAMILIES]


def _shares(routes: ModelRoutes) -> Iterator[tuple[int, str, float]]:
    weight = 0.0 if routes.candidate is None else routes.candidate.weight
    yield routes.stable, "stable", 1.0 - weight
    if routes.candidate is not None:
        yield routes.candidate.version, "candidate", weight
    if routes.shadow is not None:
        yield routes.shadow.version, "shadow", routes.shadow.share
