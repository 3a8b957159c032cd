"""The gateway's application over a model server in memory and a real routes file."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headway_serving.core.routing import ModelRoutes
from headway_serving.gateway.tfserving_rest.endpoints import RestModelServer
from headway_serving.settings import GatewaySettings
from tests.integration.gateway.gateway_under_test import GatewayUnderTest

StartGateway = Callable[..., GatewayUnderTest]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartGateway]:
    """Compose a gateway; keyword arguments are routes by model name and, as ``settings`` and ``rest``, its parts."""
    started: list[GatewayUnderTest] = []

    def start(
        settings: GatewaySettings | None = None, rest: RestModelServer | None = None, **routes: ModelRoutes
    ) -> GatewayUnderTest:
        gateway = GatewayUnderTest(tmp_path / "routes.json", settings, routes, rest=rest)
        started.append(gateway)
        return gateway

    yield start
    for gateway in started:
        gateway.routes.close()


@pytest.fixture
def gateway(start: StartGateway) -> GatewayUnderTest:
    """A gateway with small limits; model ``digits`` has versions 1 (stable), 2 and 3, label ``old`` means 3."""
    return start()
