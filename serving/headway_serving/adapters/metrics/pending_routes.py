"""Which models wait for versions of new routes that cannot answer yet, read when somebody scrapes."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry


class PendingRoutesCollector(Collector):
    """One series for each routed model; ``states`` gives them, by name, and whether each waits."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.states: Callable[[], Mapping[str, bool]] = dict
        registry.register(self)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The metric."""
        family = GaugeMetricFamily(
            "headway_routes_pending", "1 while new routes of a model wait for versions that cannot answer yet",
            labels=("model",),
        )  # fmt: skip
        for model, waits in self.states().items():
            family.add_metric((model,), float(waits))
        yield family
