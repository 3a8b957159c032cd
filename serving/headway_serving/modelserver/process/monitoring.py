"""The MonitoringConfig text file: whether, and at which path of the REST port, the metrics can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from headway_serving.modelserver.process import text_config

METRICS_PATH = "/monitoring/prometheus/metrics"
"""Where the metrics are unless the file names another path."""

_PACKAGE = text_config.PACKAGE


def read_metrics_path(path: Path) -> str | None:
    """Return the metrics' path, None if they are not enabled.

    Raises StatusError: NOT_FOUND if the file cannot be read, INVALID_ARGUMENT if it is no MonitoringConfig.
    """
    config = text_config.read(path, _message_class()()).prometheus_config
    return (config.path or METRICS_PATH) if config.enable else None


def _message_class() -> type[Any]:
    file = descriptor_pb2.FileDescriptorProto(name="headway/monitoring.proto", package=_PACKAGE, syntax="proto3")
    prometheus = file.message_type.add(name="PrometheusConfig")
    prometheus.field.add(name="enable", number=1, type="TYPE_BOOL", label="LABEL_OPTIONAL")
    prometheus.field.add(name="path", number=2, type="TYPE_STRING", label="LABEL_OPTIONAL")
    monitoring = file.message_type.add(name="MonitoringConfig")
    monitoring.field.add(
        name="prometheus_config",
        number=1,
        type="TYPE_MESSAGE",
        type_name=f".{_PACKAGE}.PrometheusConfig",
        label="LABEL_OPTIONAL",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.MonitoringConfig"))
