"""A whole run as JSON: load, refusals, a rollout, a kill; every line on standard error is one object."""

import json
import signal
import time
from pathlib import Path

import httpx

from tests.e2e.changed_versions import publish_changed
from tests.e2e.conftest import Trained
from tests.e2e.running import headway, serving
from tests.e2e.test_serving_line import HEAD, copied
from tests.support.waiting import eventually

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_a_run_with_load_refusals_a_rollout_and_a_kill_leaves_nothing_but_json(
    trained: Trained, tmp_path: Path
) -> None:
    repository, errors = copied(trained, tmp_path), tmp_path / "errors"
    pictures = [path.read_bytes() for path in trained.samples[HEAD]]
    environment = {"HEADWAY_LOG_FORMAT": "json", "HEADWAY_ACCESS_LOG": "true", "HEADWAY_TREADS": "4"}
    with serving(repository.root, tmp_path / "log", environment=environment, errors=errors) as served:
        for number in range(40):
            assert served.classify(HEAD, pictures[number % len(pictures)]).status_code == 200
        assert served.classify(HEAD, b'no "picture"\n{}').status_code == 415
        assert served.classify("no%0Asuch%E2%80%A8model", pictures[0]).status_code == 404
        sent = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "Content-Type": "image/png"}
        httpx.post(f"{served.url}/v1/models/{HEAD}:classify", content=pictures[0], headers=sent)
        publish_changed(repository, HEAD)
        target = ["--gateway", served.url, "--model-server", f"127.0.0.1:{served.grpc_port}"]
        added = headway("models", "add", f"{HEAD}/2", "--repository", repository.root, *target)
        assert added.returncode == 0, added.stderr
        (repository.root / "routes.json").write_text("broken")
        time.sleep(1.5)
        served.child("headway_serving.modelserver").send_signal(signal.SIGKILL)
        eventually(lambda: "starting it again" in errors.read_text(), "the supervisor says so")
        eventually(lambda: served.classify(HEAD, pictures[0]).status_code == 200, "it answers again")
        page = httpx.get(f"{served.url}/metrics").text
        assert 'headway_child_restarts_total{child="model server"} 1.0' in page
        assert "headway_routes_valid 0.0" in page
    text = errors.read_text()
    assert text.isascii()
    lines = [json.loads(line) for line in text.splitlines()]
    assert all(isinstance(line, dict) and line["time"].endswith("Z") and line["process"] for line in lines)
    assert {line["process"] for line in lines} == {"gateway", "model server", "serve"}
    answered = [line for line in lines if line["logger"] == "headway.access" and line["code"] == "ok"]
    assert len(answered) >= 41
    assert answered[0]["label"]
    assert set(answered[0]["stages_ms"]) >= {"read", "queue", "decode", "batch", "predict", "rank"}
    assert [line for line in answered if line["trace_id"] == TRACE]
    assert any("HEADWAY_TREADS is no setting and is ignored; is HEADWAY_THREADS meant?" in str(line) for line in lines)
