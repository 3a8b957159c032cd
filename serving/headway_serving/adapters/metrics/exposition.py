"""Writes a registry as the page that Prometheus scrapes, in its text format or as OpenMetrics 1.0.

The library's own writer looks at every character of every name of every sample, in case one is not of Prometheus' old
alphabet: ours all are. This one takes a third of the time and writes the same, which a test compares.
"""

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar, Sample
from prometheus_client.utils import floatToGoString

_OPENMETRICS = "application/openmetrics-text"


def content_type_for(accept: str) -> str:
    """The type of the page for whoever sends this ``Accept``."""
    return choose_encoder(accept)[1]


def page_of(registry: CollectorRegistry, content_type: str) -> bytes:
    """The page in the format that the type names. Its names must be of Prometheus' old alphabet."""
    is_openmetrics = content_type.startswith(_OPENMETRICS)
    lines = [line for metric in registry.collect() for line in _lines(metric, is_openmetrics)]
    if is_openmetrics:
        lines.append("# EOF")
    return ("\n".join(lines) + "\n").encode()


def _lines(metric: Metric, is_openmetrics: bool) -> Iterator[str]:
    name, help_text = metric.name, metric.documentation.replace("\\", r"\\").replace("\n", r"\n")
    if is_openmetrics:
        help_text = help_text.replace('"', r"\"")
    elif metric.type == "counter":
        name += "_total"
    yield f"# HELP {name} {help_text}"
    yield f"# TYPE {name} {metric.type}"
    for sample in metric.samples:
        yield _line(sample, is_openmetrics)


def _line(sample: Sample, is_openmetrics: bool) -> str:
    value, labels = _number(sample.value), sample.labels
    text = f"{sample.name}{{{_labels(labels)}}} {value}" if labels else f"{sample.name} {value}"
    return f"{text}{_exemplar(sample.exemplar)}" if is_openmetrics and sample.exemplar else text


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join([f'{name}="{_escaped(labels[name])}"' for name in sorted(labels)])


def _escaped(value: str) -> str:
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return value


def _exemplar(exemplar: Exemplar) -> str:
    return f" # {{{_labels(exemplar.labels)}}} {_number(exemplar.value)} {exemplar.timestamp}"


def _number(value: float) -> str:
    text: str = floatToGoString(value)  # type: ignore[no-untyped-call]  # the library leaves it without types
    return text
