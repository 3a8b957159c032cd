"""The gateway that the client's tests talk to."""

from collections.abc import Iterator

import pytest

from tests.unit.client.client_fake_gateway import FakeGateway, running


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGateway]:
    """A gateway with one model, `digits`, versions 1 and 2. No proxy of the environment gets in between."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HEADWAY_URL", raising=False)
    with running({"digits": [1, 2]}) as gateway:
        yield gateway
