"""``/v1/models``, health, readiness and metrics."""

from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from headway_serving.adapters.files.routes import write_routes
from headway_serving.core.routing import Candidate, ModelRoutes, RouteTable
from tests.fakes.scripted_models import ScriptedVersion, scripted_manifest, scripted_version
from tests.integration.gateway.gateway_under_test import GatewayUnderTest, as_body, as_parts, check_problem, picture
from tests.support.waiting import eventually

Start = Callable[..., GatewayUnderTest]
ROUTED = {"name": "digits", "stable": 1, "candidate": None, "shadow": None, "labels": {"old": 3}, "rollout": None}
DESCRIBED: dict[str, Any] = {
    "abstention": None,
    "familiarity": None,
    **ROUTED,
    "pending": None,
    "ready": True,
    "versions": [1, 2, 3],
    "states": {"1": "AVAILABLE", "2": "AVAILABLE", "3": "AVAILABLE"},
    "classes": ["0", "1", "2", "3", "4"],
    "kind": "head",
    "base": {"model": "digits-5to9", "version": 1},
    "image": scripted_manifest().image.to_mapping(),
    "test_accuracy": {"value": 0.98, "low": 0.96, "high": 0.99},
}


def test_a_model_describes_itself(gateway: GatewayUnderTest) -> None:
    assert gateway.get("/v1/models/digits").get_json() == DESCRIBED


def test_every_model_is_listed_by_name(start: Start) -> None:
    gateway = start(letters=ModelRoutes(1), digits=ModelRoutes(1, Candidate(2, 0.25)))
    manifest = scripted_manifest("letters", head=False).to_json().encode()
    gateway.server.models = {**gateway.versions, "letters": {1: ScriptedVersion(manifest)}}
    listed = gateway.get("/v1/models").get_json()["models"]
    assert [model["name"] for model in listed] == ["digits", "letters"]
    assert listed[0]["candidate"] == {"version": 2, "weight": 0.25}
    assert (listed[1]["kind"], listed[1]["base"]) == ("base", None)


def test_versions_that_cannot_answer_are_shown_by_state_only(gateway: GatewayUnderTest) -> None:
    gateway.versions["digits"][4] = scripted_version(state="LOADING")
    described = gateway.get("/v1/models/digits").get_json()
    assert described["versions"] == [1, 2, 3]
    assert described["states"]["4"] == "LOADING"


def test_while_the_model_server_is_away_the_routes_are_still_told(gateway: GatewayUnderTest) -> None:
    gateway.server.away = True
    described = gateway.get("/v1/models/digits").get_json()
    assert "cannot answer now" in described.pop("unavailable")
    assert described == {**ROUTED, "pending": None, "ready": False, "versions": [], "states": {}, "classes": []}


def test_while_the_stable_version_is_not_loaded_the_states_are_still_told(gateway: GatewayUnderTest) -> None:
    gateway.versions["digits"][1] = scripted_version(state="LOADING")
    described = gateway.get("/v1/models/digits").get_json()
    assert described["versions"] == [2, 3]
    assert described["states"]["1"] == "LOADING"
    assert described["ready"] is False
    assert described["classes"] == []
    assert "version 1" in described["unavailable"]


def test_an_unknown_model_is_not_found(gateway: GatewayUnderTest) -> None:
    check_problem(gateway.get("/v1/models/letters"), 404, "model_not_found")


def test_the_route_of_a_key_is_the_one_it_gets_and_is_explained(start: Start) -> None:
    gateway = start(digits=ModelRoutes(1, Candidate(2, 0.5), salt="2-1760000000"))
    arms = set()
    for number in range(20):
        told = gateway.get("/v1/models/digits/route", query_string={"key": f"user-{number}"}).get_json()
        answered = gateway.classify(headers={"X-Routing-Key": f"user-{number}"})
        assert (told["version"], told["arm"]) == (answered.get_json()["version"], answered.get_json()["arm"])
        assert told["reason"] == answered.headers["X-Route-Reason"] == "weight"
        below = "below" if told["arm"] == "candidate" else "not below"
        assert told["why"] == f"the key's position {told['position']:.6f} is {below} 0.5, the weight of version 2"
        arms.add(told["arm"])
    assert arms == {"stable", "candidate"}
    assert told["candidate"] == {"version": 2, "weight": 0.5}


def test_without_a_candidate_every_key_is_told_stable(gateway: GatewayUnderTest) -> None:
    told = gateway.get("/v1/models/digits/route?key=anyone").get_json()
    assert (told["version"], told["arm"], told["reason"]) == (1, "stable", "stable")
    assert told["why"] == "there is no candidate, so every key gets stable version 1"


def test_a_route_needs_a_key_and_a_model(gateway: GatewayUnderTest) -> None:
    problem = check_problem(gateway.get("/v1/models/digits/route"), 400, "invalid_request")
    assert problem["detail"] == "key is missing; write ?key=VALUE, what the request would send as X-Routing-Key"
    check_problem(gateway.get("/v1/models/letters/route?key=anyone"), 404, "model_not_found")


def test_a_change_of_the_routes_is_followed(gateway: GatewayUnderTest) -> None:
    gateway.routes.watch()
    assert gateway.classify().get_json()["version"] == 1
    write_routes(gateway.routes_file, RouteTable({"digits": ModelRoutes(stable=2)}))
    eventually(lambda: gateway.classify().get_json()["version"] == 2, "the new stable version answers")


def test_the_gateway_lives_without_its_model_server(gateway: GatewayUnderTest) -> None:
    gateway.server.away = True
    response = gateway.get("/livez")
    assert (response.status_code, response.text) == (200, "ok\n")
    assert gateway.server.timeouts == []


def test_it_is_ready_when_every_stable_version_can_answer(gateway: GatewayUnderTest) -> None:
    response = gateway.get("/readyz")
    assert (response.status_code, response.get_json()) == (200, {"status": "ready"})


def test_readiness_reads_the_manifests_ahead(gateway: GatewayUnderTest) -> None:
    gateway.get("/readyz")
    asked = len(gateway.server.described)
    gateway.classify()
    assert len(gateway.server.described) == asked == 1


def server_away(gateway: GatewayUnderTest) -> None:
    gateway.server.away = True


def still_loading(gateway: GatewayUnderTest) -> None:
    gateway.versions["digits"][1] = scripted_version(state="LOADING")


def not_loaded(gateway: GatewayUnderTest) -> None:
    del gateway.versions["digits"][1]


def incompatible(gateway: GatewayUnderTest) -> None:
    gateway.versions["digits"][1] = ScriptedVersion(b'{"schema": 99}')


@pytest.mark.parametrize(
    ("obstacle", "detail"),
    [
        (server_away, "digits: the model server cannot answer now; try again in a moment"),
        (still_loading, "digits: version 1 is LOADING"),
        (not_loaded, "digits: version 1 is not loaded"),
        (incompatible, "digits: digits version 1 cannot be served: manifest: schema 99 is unknown"),
    ],
)
def test_it_is_not_ready_while_a_stable_version_cannot_answer(
    gateway: GatewayUnderTest, obstacle: Callable[[GatewayUnderTest], None], detail: str
) -> None:
    obstacle(gateway)
    response = gateway.get("/readyz")
    assert check_problem(response, 503, "not_ready")["detail"] == detail
    assert response.headers["Retry-After"] == "1"
    gateway.server.away = False
    gateway.versions["digits"][1] = scripted_version()
    assert gateway.get("/readyz").status_code == 200


def test_readiness_in_words_says_that_a_broken_routes_file_is_refused(gateway: GatewayUnderTest) -> None:
    """The last good routes answer on, so it is ready; who looks is told."""
    assert gateway.get("/readyz?verbose").get_json() == {
        "status": "ready",
        "routes": {
            "valid": True,
            "problem": None,
            "source": {"from": str(gateway.routes_file), "followed": True, "trouble": None},
            "in_force": {"digits": {"stable": 1, "candidate": None, "shadow": None}},
            "pending": {},
        },
        "models": {"digits": "ready"},
    }
    gateway.routes.watch()
    gateway.routes_file.write_text('{"schema": 2, "models": {"digits": {"stabel": 1}}}')
    eventually(lambda: gateway.sample("headway_routes_valid") == 0, "the file is refused")
    told = gateway.get("/readyz?verbose")
    assert (told.status_code, told.get_json()["routes"]["valid"]) == (200, False)
    assert "models.digits: missing stable" in told.get_json()["routes"]["problem"]
    assert gateway.classify().get_json()["version"] == 1


def test_a_stable_version_that_nobody_serves_harms_one_model_and_is_told(start: Start) -> None:
    gateway = start(digits=ModelRoutes(1), letters=ModelRoutes(1))
    gateway.server.models = {**gateway.versions, "letters": {1: scripted_version("letters")}}
    assert gateway.get("/readyz").status_code == 200
    gateway.routes.watch()
    write_routes(gateway.routes_file, RouteTable({"digits": ModelRoutes(9), "letters": ModelRoutes(1)}))
    eventually(lambda: gateway.sample("headway_routes_pending", model="digits") == 1, "the metric says so")
    assert gateway.sample("headway_routes_pending", model="letters") == 0
    eventually(lambda: "asked" not in gateway.get("/v1/models/digits").get_json()["pending"]["reason"], "the reason")
    waits = {"stable": 9, "candidate": None, "shadow": None, "waits_for": [9], "reason": "version 9 is not loaded"}
    told = gateway.get("/readyz?verbose")
    assert told.status_code == 200
    assert told.get_json()["models"] == {"digits": "ready", "letters": "ready"}
    assert told.get_json()["routes"]["pending"] == {"digits": waits}
    assert told.get_json()["routes"]["in_force"]["digits"]["stable"] == 1
    assert gateway.get("/v1/models/digits").get_json()["pending"] == waits
    assert gateway.classify().get_json()["version"] == 1, "the last routes answer"
    gateway.versions["digits"][9] = scripted_version()
    eventually(lambda: gateway.classify().get_json()["version"] == 9, "the new routes answer once they can")
    assert gateway.sample("headway_routes_pending", model="digits") == 0


def test_a_rollback_waits_for_nobody(start: Start) -> None:
    gateway = start(digits=ModelRoutes(1, Candidate(2, 1.0)))
    gateway.routes.watch()
    assert gateway.classify().get_json()["version"] == 2
    gateway.server.away = True
    write_routes(gateway.routes_file, RouteTable({"digits": ModelRoutes(1)}))
    eventually(lambda: gateway.get("/v1/models/digits").get_json()["candidate"] is None, "the candidate is gone")
    assert gateway.get("/v1/models/digits").get_json()["pending"] is None


def test_once_ready_a_new_model_that_cannot_answer_is_its_own_trouble(gateway: GatewayUnderTest) -> None:
    assert gateway.get("/readyz").status_code == 200
    gateway.routes.watch()
    write_routes(gateway.routes_file, RouteTable({"digits": ModelRoutes(1), "letters": ModelRoutes(1)}))
    eventually(lambda: gateway.get("/v1/models/letters").status_code == 200, "the new model is routed")
    told = gateway.get("/readyz?verbose")
    assert (told.status_code, told.get_json()["models"]["letters"]) == (200, "version 1 is not loaded")
    assert gateway.get("/v2/health/ready").status_code == 200
    assert gateway.get("/v2/models/letters/ready").status_code == 503
    check_problem(gateway.post("/v1/models/letters:classify", **as_body(picture(1))), 503, "model_unavailable")
    gateway.classify()


def test_not_ready_in_words_names_every_model(start: Start) -> None:
    told = start(digits=ModelRoutes(1), letters=ModelRoutes(1)).get("/readyz?verbose")
    assert (told.status_code, told.get_json()["code"]) == (503, "not_ready")
    assert told.get_json()["models"] == {"digits": "ready", "letters": "version 1 is not loaded"}


def test_every_model_that_is_not_ready_is_named(start: Start) -> None:
    gateway = start(digits=ModelRoutes(1), letters=ModelRoutes(1), faces=ModelRoutes(1))
    problem = check_problem(gateway.get("/readyz"), 503, "not_ready")
    assert problem["detail"] == "faces: version 1 is not loaded; letters: version 1 is not loaded"


def test_the_metrics_are_counted_by_model_version_arm_and_stage(gateway: GatewayUnderTest) -> None:
    gateway.classify()
    gateway.post(**as_parts(picture(1), picture(2)))
    gateway.classify(path="/v1/models/digits/versions/2:classify")
    response = gateway.get("/metrics")
    assert response.content_type.startswith("text/plain")
    samples = {
        (sample.name, tuple(sorted(sample.labels.values()))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }
    assert samples["headway_requests_total", ("1", "digits", "ok", "stable")] == 2
    assert samples["headway_images_total", ("1", "digits", "stable")] == 3
    assert samples["headway_requests_total", ("2", "digits", "ok", "pinned")] == 1
    for stage in ("read", "queue", "decode", "preprocess", "batch", "predict"):
        assert samples["headway_stage_seconds_count", tuple(sorted(("1", "digits", "stable", stage)))] == 2
    assert samples["headway_requests_in_flight", ()] == 0
    assert samples["headway_routes_valid", ()] == 1


def test_failures_are_counted_by_code_for_the_version_they_happened_on(gateway: GatewayUnderTest) -> None:
    gateway.classify()
    gateway.server.away = True
    gateway.post(**as_body(picture(1)))
    gateway.post(**as_body(b"text"))
    labels = {"model": "digits", "version": "1", "arm": "stable"}
    assert gateway.sample("headway_requests_total", **labels, code="model_unavailable") == 1
    unknown = {"model": "digits", "version": "unknown", "arm": "unknown"}
    assert gateway.sample("headway_requests_total", **unknown, code="unsupported_image") == 1


def test_a_scan_of_names_and_versions_makes_no_series_of_its_own(gateway: GatewayUnderTest) -> None:
    paths = [f"/v1/models/guess-{number}:classify" for number in range(20)]
    paths += [f"/v1/models/digits/versions/{number}:classify" for number in range(10, 30)]
    paths += [f"/v1/models/digits/labels/guess-{number}:classify" for number in range(20)]
    for path in paths:
        gateway.post(path, **as_body(picture(1)))
    nothing = {"version": "unknown", "arm": "unknown"}
    assert gateway.sample("headway_requests_total", model="unknown", **nothing, code="model_not_found") == 20
    assert gateway.sample("headway_requests_total", model="digits", **nothing, code="version_not_found") == 20
    assert gateway.sample("headway_requests_total", model="digits", **nothing, code="label_not_found") == 20
    assert "guess" not in gateway.get("/metrics").text


def test_pages_and_probes_are_no_traffic(gateway: GatewayUnderTest) -> None:
    for path in ("/livez", "/readyz", "/v1/models", "/metrics", "/nothing"):
        gateway.get(path)
    assert "headway_requests_total{" not in gateway.get("/metrics").text
