"""One ``/metrics`` page of a gateway, read into values."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from headway_serving.adapters.metrics.counter_history import BUILD_INFO

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Page:
    """What a gateway process said at Unix time ``at``; ``process``: its own name."""

    at: float
    process: str
    samples: Mapping[tuple[str, Labels], float]

    def of(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        """The labels and the value of each sample of that name."""
        for (found, labels), value in self.samples.items():
            if found == name:
                yield dict(labels), value


def read_page(text: str, at: float) -> Page:
    """Parse a page. Raises :class:`ValueError` if it is none, or none of a gateway."""
    samples = {
        (sample.name, frozenset(sample.labels.items())): float(sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("headway_")
    }
    process = next((dict(labels).get("process", "") for name, labels in samples if name == BUILD_INFO), None)
    if process is None:
        raise ValueError("what answers there is no gateway of Headway")
    return Page(at, process, samples)
