"""A real Prometheus scrapes a real gateway; a dashboard's latency query gets an answer, and a rollout its data."""

import math
import subprocess
from pathlib import Path

import httpx

from tests.e2e.changed_versions import publish_changed
from tests.e2e.conftest import Trained
from tests.e2e.prometheus import needs_prometheus, scraping
from tests.e2e.rollout_line import QUICK, Users, line_of
from tests.e2e.running import serving
from tests.e2e.test_serving_line import HEAD, copied
from tests.support.ports import free_port
from tests.support.waiting import eventually

P99 = "histogram_quantile(0.99, sum by (le, model, version, arm) (rate(headway_request_seconds_bucket[1m])))"


@needs_prometheus
def test_a_dashboard_reads_latency_by_model_version_and_arm(trained: Trained, tmp_path: Path) -> None:
    picture = trained.samples[HEAD][0].read_bytes()
    with serving(copied(trained, tmp_path).root, tmp_path / "log") as gateway:
        page = httpx.get(f"{gateway.url}/metrics").content
        linted = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, check=False)
        assert linted.returncode == 0, linted.stderr

        with scraping([gateway.url], tmp_path) as prometheus:

            def answered() -> dict[str, float]:
                """Finite p99 seconds by model; every look is one more request to measure."""
                assert gateway.classify(HEAD, picture).status_code == 200
                try:
                    found = httpx.get(f"{prometheus}/api/v1/query", params={"query": P99}).json()
                except httpx.TransportError:
                    return {}
                series = found.get("data", {}).get("result", [])
                values = {
                    "/".join(each["metric"][label] for label in ("model", "version", "arm")): float(each["value"][1])
                    for each in series
                }
                return {name: seconds for name, seconds in values.items() if math.isfinite(seconds)}

            eventually(lambda: f"{HEAD}/1/stable" in answered(), "Prometheus has latency of the head's stable version")
            assert 0 < answered()[f"{HEAD}/1/stable"] <= 10


@needs_prometheus
def test_a_rollout_is_decided_by_what_prometheus_has_scraped(trained: Trained, tmp_path: Path) -> None:
    """Users ask two gateways; the command is told of one, for the golden samples."""
    pictures = [path.read_bytes() for path in trained.samples[HEAD]]
    with (
        line_of(copied(trained, tmp_path), HEAD, pictures, tmp_path) as line,
        scraping([line.served.url, line.other.url], tmp_path) as prometheus,
    ):
        assert publish_changed(line.repository, HEAD) == 2
        unseen = line.rollout("start", *QUICK, "--prometheus", f"http://127.0.0.1:{free_port()}")
        assert unseen.returncode == 2, (unseen.stdout, unseen.stderr)
        assert "nobody was shifted: Prometheus at" in unseen.stderr
        asked = {"query": "headway_build_info"}
        eventually(
            lambda: len(httpx.get(f"{prometheus}/api/v1/query", params=asked).json()["data"]["result"]) == 2,
            "Prometheus has scraped both gateways",
        )
        silent = line.rollout("start", *QUICK, "--patience", "2", "--steps", "50,100", "--prometheus", prometheus)
        assert silent.returncode == 4, (silent.stdout, silent.stderr)
        assert "Inconclusive: " in silent.stdout
        with Users(line, gateways=[line.served, line.other]) as users:
            assert line.rollout("abort").returncode == 0
            run = line.rollout("start", *QUICK, "--steps", "50,100", "--prometheus", prometheus)
    assert run.returncode == 0, (run.stdout, run.stderr)
    users.check_unharmed()
    assert set(users.seconds) == {1, 2}
