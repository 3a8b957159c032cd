"""A real Prometheus scrapes a real gateway; a dashboard's latency query gets an answer."""

import math
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import Trained
from tests.e2e.running import eventually, free_port, serving
from tests.e2e.test_serving_line import HEAD, copied

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="no prometheus on PATH; on Debian: apt-get install prometheus",
)
P99 = "histogram_quantile(0.99, sum by (le, model, version, arm) (rate(headway_request_seconds_bucket[1m])))"


@needs_prometheus
def test_a_dashboard_reads_latency_by_model_version_and_arm(trained: Trained, tmp_path: Path) -> None:
    picture = trained.samples[HEAD][0].read_bytes()
    with serving(copied(trained, tmp_path).root, tmp_path / "log") as gateway:
        page = httpx.get(f"{gateway.url}/metrics").content
        linted = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, check=False)
        assert linted.returncode == 0, linted.stderr

        target, address = gateway.url.removeprefix("http://"), f"127.0.0.1:{free_port()}"
        config = tmp_path / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 1s}\n"
            f"scrape_configs: [{{job_name: headway, static_configs: [{{targets: ['{target}']}}]}}]\n"
        )
        command = [
            "prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address={address}", "--log.level=error",
        ]  # fmt: skip
        prometheus = subprocess.Popen(command)
        try:

            def answered() -> dict[str, float]:
                """Finite p99 seconds by model; every look is one more request to measure."""
                assert gateway.classify(HEAD, picture).status_code == 200
                try:
                    found = httpx.get(f"http://{address}/api/v1/query", params={"query": P99}).json()
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
        finally:
            prometheus.terminate()
            prometheus.wait(30)
