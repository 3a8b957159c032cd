"""Bearer tokens: who gets in where, what the others are told, and that nothing of the body is read before."""

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headway_serving.adapters.files.tokens import TokenFile
from headway_serving.core.routing import Candidate, ModelRoutes, position
from headway_serving.gateway.app import create_admin_app
from headway_serving.gateway.requests.operations import operation_of, routes_of
from headway_serving.settings import GatewaySettings
from tests.integration.gateway.gateway_under_test import (
    CLASSIFY,
    GatewayUnderTest,
    as_body,
    check_error_object,
    check_problem,
    picture,
)

SECRETS = {"camera": "c4mera.to-ken_~+/==", "prometheus": "scrap3", "both": "b0th"}
SCOPES = {"camera": ["classify"], "prometheus": ["admin"], "both": ["classify", "admin"]}
OPEN = ["/livez", "/readyz", "/openapi.json", "/docs", "/v2", "/v2/health/live", "/v2/health/ready"]


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[GatewayUnderTest]:
    path = tmp_path / "tokens.json"
    tokens = [
        {"name": name, "scopes": SCOPES[name], "sha256": hashlib.sha256(secret.encode()).hexdigest()}
        for name, secret in SECRETS.items()
    ]
    path.write_text(json.dumps({"schema": 1, "tokens": tokens}))
    gateway = GatewayUnderTest(tmp_path / "routes.json", None, {}, tokens=TokenFile(path, 1.0))
    yield gateway
    gateway.routes.close()


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {SECRETS[name]}"}


def test_each_scope_opens_its_routes_and_no_others(guarded: GatewayUnderTest) -> None:
    assert guarded.post(**as_body(picture(3)), headers=bearer("camera")).status_code == 200
    assert guarded.get("/v1/models", headers=bearer("camera")).status_code == 200
    assert guarded.get("/metrics", headers=bearer("prometheus")).status_code == 200
    for path in ("/v1/models", "/metrics"):
        assert guarded.get(path, headers=bearer("both")).status_code == 200
    for name, path, scope in (("camera", "/metrics", "admin"), ("prometheus", "/v1/models/digits", "classify")):
        response = guarded.get(path, headers=bearer(name))
        assert f"token {name} does not have the scope {scope}" in check_problem(response, 403, "forbidden")["detail"]
        assert response.headers["WWW-Authenticate"] == (
            f'Bearer realm="headway", error="insufficient_scope", scope="{scope}"'
        )


def test_the_scope_classify_opens_the_other_protocols(guarded: GatewayUnderTest) -> None:
    ways = [("GET", "/v2/models/digits", 200), ("GET", "/v2/models/digits/ready", 200),
            ("POST", "/v2/models/digits/infer", 400), ("POST", "/v1/models/digits:predict", 501)]  # fmt: skip
    for method, path, status in ways:
        client = guarded.app.test_client()
        assert client.open(path, method=method, headers=bearer("camera")).status_code == status
        response = client.open(path, method=method, headers=bearer("prometheus"))
        assert "does not have the scope classify" in check_error_object(response, 403)
        assert 'scope="classify"' in response.headers["WWW-Authenticate"]


def test_the_open_routes_ask_for_nothing(guarded: GatewayUnderTest) -> None:
    for path in OPEN:
        assert guarded.get(path).status_code == 200
        assert guarded.get(path, headers={"Authorization": "Bearer nobody"}).status_code == 200


def test_every_route_but_the_open_ones_asks_for_a_token(guarded: GatewayUnderTest) -> None:
    closed = [(method, rule) for method, rule, _ in routes_of(guarded.app) if rule not in OPEN]
    assert len(closed) >= 16
    for method, rule in closed:
        path = rule.replace("<name:model>", "digits").replace("<name:version>", "1").replace("<name:label>", "old")
        response = guarded.app.test_client().open(path, method=method)
        if path.startswith("/v2") or path.endswith(":predict"):
            detail = check_error_object(response, 401)
        else:
            detail = check_problem(response, 401, "unauthorized")["detail"]
        assert "Authorization: Bearer TOKEN" in detail
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="headway"'


BAD_HEADERS = [
    "", "Bearer", "Bearer ", "Bearer nobody", f"Basic {SECRETS['both']}", SECRETS["both"], f"Bearer{SECRETS['both']}",
    f"Bearer {SECRETS['both']} x", f"Bearer {SECRETS['both']}x", f"Bearer {hashlib.sha256(b'b0th').hexdigest()}",
    "Bearer " + "a" * 100_000, "Bearer \xff\xfe", "Bearer b0th, Bearer b0th",
]  # fmt: skip


@pytest.mark.parametrize("header", BAD_HEADERS, ids=lambda text: text[:20])
def test_a_header_that_is_no_known_token_is_refused(guarded: GatewayUnderTest, header: str) -> None:
    response = guarded.get("/v1/models", environ_overrides={"HTTP_AUTHORIZATION": header})
    detail = check_problem(response, 401, "unauthorized")["detail"]
    assert header[7:] not in detail or len(header) < 10
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="headway", error="invalid_token"'


def test_the_name_of_the_scheme_may_be_written_in_any_letters(guarded: GatewayUnderTest) -> None:
    for scheme in ("bearer", "BEARER"):
        assert guarded.get("/v1/models", headers={"Authorization": f"{scheme} {SECRETS['both']}"}).status_code == 200


class Unreadable:
    """A body that must not be read."""

    def read(self, *_: Any) -> bytes:
        raise AssertionError("the body was read")

    readline = readinto = read


def test_nothing_of_the_body_is_read_before_the_token(guarded: GatewayUnderTest) -> None:
    for headers, status, code in (({}, 401, "unauthorized"), (bearer("prometheus"), 403, "forbidden")):
        body = {"wsgi.input": Unreadable(), "CONTENT_LENGTH": "50", "CONTENT_TYPE": "image/png"}
        check_problem(guarded.post(headers=headers, environ_overrides=body), status, code)
    assert guarded.server.predicted == []


def test_refusals_are_counted_and_no_token_is_logged(
    guarded: GatewayUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        guarded.get("/metrics")
        guarded.get("/metrics", headers={"Authorization": "Bearer wr0ng"})
        guarded.get("/metrics", headers=bearer("camera"))
        guarded.get("/metrics", headers=bearer("both"))
    assert guarded.sample("headway_refused_callers_total", code="unauthorized") == 2
    assert guarded.sample("headway_refused_callers_total", code="forbidden") == 1
    page = guarded.get("/metrics", headers=bearer("both")).text
    for secret in (*SECRETS.values(), "wr0ng"):
        assert secret not in caplog.text
        assert secret not in page


def test_a_wrong_path_is_not_found_for_everyone(guarded: GatewayUnderTest) -> None:
    check_problem(guarded.get("/v1/nothing"), 404, "not_found")
    check_problem(guarded.get(CLASSIFY), 405, "method_not_allowed")


def test_a_caller_stays_with_its_arm(tmp_path: Path, guarded: GatewayUnderTest) -> None:
    """The token's name is the routing key of requests without one."""
    place = position("digits", "", "camera")
    for weight, version in ((place - 1e-6, 1), (place + 1e-6, 2)):
        table = {"digits": ModelRoutes(stable=1, candidate=Candidate(2, weight))}
        tokens = guarded.parts.tokens
        gateway = GatewayUnderTest(tmp_path / f"routes-{version}.json", None, table, tokens=tokens)
        answered = {gateway.classify(headers=bearer("camera")).get_json()["version"] for _ in range(20)}
        assert answered == {version}
        keyed = {gateway.classify(headers={**bearer("camera"), "X-Routing-Key": str(key)}).get_json()["version"]
                 for key in range(60)}  # fmt: skip
        assert keyed == {1, 2}
        gateway.routes.close()


def test_without_a_tokens_file_everyone_may_call(gateway: GatewayUnderTest) -> None:
    gateway.classify()
    assert gateway.get("/metrics").status_code == 200


def test_a_route_that_describes_nothing_is_for_admins(guarded: GatewayUnderTest) -> None:
    guarded.app.add_url_rule("/forgotten", view_func=lambda: "open")
    assert operation_of(guarded.app, "<lambda>") is None
    check_problem(guarded.get("/forgotten", headers=bearer("camera")), 403, "forbidden")
    assert guarded.get("/forgotten", headers=bearer("both")).text == "open"


def test_the_admin_port_has_the_admin_routes_and_the_main_port_then_has_none(
    tmp_path: Path, guarded: GatewayUnderTest
) -> None:
    gateway = GatewayUnderTest(tmp_path / "r.json", GatewaySettings(admin_port=9999), {}, tokens=guarded.parts.tokens)
    check_problem(gateway.get("/metrics", headers=bearer("both")), 404, "not_found")
    admin = create_admin_app(gateway.parts).test_client()
    assert "headway_build_info" in admin.get("/metrics", headers=bearer("both")).text
    check_problem(admin.get("/metrics"), 401, "unauthorized")
    check_problem(admin.get("/metrics", headers=bearer("camera")), 403, "forbidden")
    check_problem(admin.get("/v1/models", headers=bearer("both")), 404, "not_found")
    gateway.routes.close()
