"""CORS: off by default, by setting for some origins or for all, on every way that an answer can take."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from headway_serving.settings import GatewaySettings, InvalidSettings
from tests.integration.gateway.gateway_under_test import CLASSIFY, picture
from tests.integration.gateway.live_gateway import LiveGateway, live_gateway

PAGE, OTHER = "https://page.example", "https://other.example:8443"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with live_gateway(tmp_path_factory.mktemp("cors"), CORS_ORIGINS=f"{PAGE}, {OTHER}") as running:
        yield running


def preflight(gateway: LiveGateway, origin: str, path: str = CLASSIFY) -> httpx.Response:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,authorization"}
    return httpx.options(f"{gateway.url}{path}", headers={"Origin": origin, **asked})


def test_a_preflight_is_answered(gateway: LiveGateway) -> None:
    answer = preflight(gateway, PAGE)
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    for name in ("Content-Type", "Authorization", "X-Routing-Key"):
        assert name in answer.headers["Access-Control-Allow-Headers"]
    assert answer.headers["Vary"] == "Origin"


def test_a_page_of_another_origin_is_told_nothing(gateway: LiveGateway) -> None:
    answer = preflight(gateway, "https://evil.example")
    assert not [name for name in answer.headers if name.startswith("access-control")]
    posted = httpx.post(
        f"{gateway.url}{CLASSIFY}",
        content=picture(3),
        headers={"Content-Type": "image/png", "Origin": "https://evil.example"},
    )
    assert "Access-Control-Allow-Origin" not in posted.headers


@pytest.mark.parametrize("origin", [PAGE, OTHER])
def test_every_answer_says_who_may_read_it(gateway: LiveGateway, origin: str) -> None:
    asks = {"Origin": origin}
    answers = [
        httpx.get(f"{gateway.url}/v1/models", headers=asks),
        httpx.post(f"{gateway.url}{CLASSIFY}", content=picture(3), headers={"Content-Type": "image/png", **asks}),
        httpx.post(f"{gateway.url}{CLASSIFY}", content=b"seven", headers={"Content-Type": "image/png", **asks}),
        httpx.post(f"{gateway.url}{CLASSIFY}", content=picture(3), headers=asks),
        httpx.get(f"{gateway.url}/nowhere", headers=asks),
    ]
    assert [each.status_code for each in answers] == [200, 200, 415, 200, 404]
    for each in answers:
        assert each.headers["Access-Control-Allow-Origin"] == origin
        assert "X-Request-Id" in each.headers["Access-Control-Expose-Headers"]


def test_all_origins_may_be_allowed(tmp_path: Path) -> None:
    with live_gateway(tmp_path, CORS_ORIGINS="*") as gateway:
        assert preflight(gateway, PAGE).headers["Access-Control-Allow-Origin"] == "*"


def test_it_is_off_by_default(tmp_path: Path) -> None:
    with live_gateway(tmp_path) as gateway:
        answer = preflight(gateway, PAGE)
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("text", ["page.example", "https://page.example/", "https://*.example", "null"])
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(InvalidSettings, match="HEADWAY_CORS_ORIGINS"):
        GatewaySettings.from_environment({"HEADWAY_CORS_ORIGINS": text})
