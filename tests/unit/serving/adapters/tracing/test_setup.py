"""Traces are recorded where OpenTelemetry's variables say so, and nothing of it is imported otherwise."""

import subprocess
import sys

import pytest

from headway_serving.adapters.tracing.setup import TracingUnavailable, is_configured, open_tracing

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "true"}, False),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_the_variables_say_whether_traces_are_recorded(environment: dict[str, str], expected: bool) -> None:
    assert is_configured(environment) is expected


def test_a_protocol_that_is_not_spoken_is_refused() -> None:
    pytest.importorskip("opentelemetry.sdk", reason="no OpenTelemetry here; pip install 'headway[tracing]'")
    with pytest.raises(TracingUnavailable, match="OTEL_EXPORTER_OTLP_PROTOCOL=grpc: only http/protobuf"):
        open_tracing({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "test")


def test_without_the_sdk_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "headway_serving.adapters.tracing.spans", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(TracingUnavailable, match=r"pip install 'headway\[tracing\]'"):
        open_tracing(ENDPOINT, "test")


def test_a_gateway_without_the_variables_imports_nothing_of_it() -> None:
    program = (
        "import sys; import headway_serving.gateway.composition; "
        "from headway_serving.adapters.tracing.setup import open_tracing; assert open_tracing({}, 'x') is None; "
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0
