"""The routes and rollouts that are in force, as metrics: read from the route table when somebody scrapes."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from headway_serving.core.routing import ModelRoutes, RouteTable

ROUTE_WEIGHT = "headway_route_weight"

_MOST_REASON_CHARACTERS = 120


class RouteMetrics(Collector):
    """Which version gets what share of a model's traffic, and how its rollout stands."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.routes: Callable[[], RouteTable] = lambda: RouteTable({})
        registry.register(self)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """A few series for each model."""
        models = sorted(self.routes().models.items())
        weight = GaugeMetricFamily(
            ROUTE_WEIGHT, "Share of a model's traffic that a version gets, 0 to 1; of a shadow: that it gets copies of",
            labels=("model", "version", "arm"),
        )  # fmt: skip
        state = GaugeMetricFamily(
            "headway_rollout_state", "1 for the state that a model's rollout is in, with the reason it last gave",
            labels=("model", "candidate", "state", "reason"),
        )  # fmt: skip
        stage = GaugeMetricFamily(
            "headway_rollout_stage", "The stage that a rollout is at: 0 is the first", labels=("model", "candidate")
        )
        since = GaugeMetricFamily(
            "headway_rollout_stage_since_seconds", "Unix time from which the traffic of the stage counts",
            labels=("model", "candidate"),
        )  # fmt: skip
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
        """One name, for the registry to refuse a second collector of this kind."""
        return [GaugeMetricFamily(ROUTE_WEIGHT, "")]


def _shares(routes: ModelRoutes) -> Iterator[tuple[int, str, float]]:
    weight = 0.0 if routes.candidate is None else routes.candidate.weight
    yield routes.stable, "stable", 1.0 - weight
    if routes.candidate is not None:
        yield routes.candidate.version, "candidate", weight
    if routes.shadow is not None:
        yield routes.shadow.version, "shadow", routes.shadow.share
