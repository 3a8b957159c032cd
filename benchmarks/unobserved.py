"""``headway serve`` whose gateway counts and logs no request: ``python -m benchmarks observability`` compares with it.

``python -m benchmarks.unobserved [flags of headway serve]``.
"""

import sys
from typing import Any

_GATEWAY = "gateway"


def _nothing(*_: Any, **__: Any) -> None:
    """Count nothing."""


def _serve() -> int:
    from headway_serving.commands import serve  # noqa: PLC0415  # of the process that runs it alone

    command = [sys.executable, "-m", "benchmarks.unobserved", _GATEWAY]
    vars(serve)["gateway_command"] = lambda: command
    return serve.main(sys.argv[1:])


def _gateway() -> int:
    from headway_serving.adapters.metrics.prometheus import PrometheusMetrics  # noqa: PLC0415
    from headway_serving.adapters.model_server.version_watch import VersionWatch  # noqa: PLC0415
    from headway_serving.gateway import __main__ as gateway  # noqa: PLC0415
    from headway_serving.gateway.requests.observation import Observer  # noqa: PLC0415
    from headway_serving.gateway.server.intake import GatewayIntake  # noqa: PLC0415

    for kind, method in (
        (Observer, "count"),
        (PrometheusMetrics, "observe_batch"),
        (PrometheusMetrics, "observe_call"),
        (GatewayIntake, "count_answer"),
        (VersionWatch, "start"),
    ):
        setattr(kind, method, _nothing)
    return gateway.main()


if __name__ == "__main__":
    sys.exit(_gateway() if sys.argv[1:] == [_GATEWAY] else _serve())
