"""Whether traces are recorded, by OpenTelemetry's own variables; without them nothing of it is imported."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headway_serving.adapters.tracing.spans import Spans

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_EXPORTER = "OTEL_TRACES_EXPORTER"


class TracingUnavailable(Exception):
    """Traces are asked for and cannot be recorded; the text says why and what to do."""


def is_configured(environment: Mapping[str, str]) -> bool:
    """Whether the variables say where spans go: an OTLP endpoint, or ``OTEL_TRACES_EXPORTER=otlp``."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get(_EXPORTER) == "none":
        return False
    return environment.get(_EXPORTER) == "otlp" or any(environment.get(name) for name in _ENDPOINTS)


def open_tracing(environment: Mapping[str, str], service: str) -> "Spans | None":
    """Where spans go, or None if nobody asks for them. ``service``: the name unless ``OTEL_SERVICE_NAME`` has another.

    Raises :class:`TracingUnavailable`.
    """
    if not is_configured(environment):
        return None
    try:
        from headway_serving.adapters.tracing.spans import Spans  # noqa: PLC0415  # it costs 0.2 s and 15 MB
    except ImportError as error:
        raise TracingUnavailable(
            f"OTEL_* variables ask for traces, and {error.name} is not installed: pip install 'headway[tracing]'"
        ) from error
    protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol not in (None, "", "http/protobuf"):
        raise TracingUnavailable(f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol}: only http/protobuf is spoken here")
    return Spans.to_collector(service)
