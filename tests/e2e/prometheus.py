"""A real Prometheus that scrapes gateways once a second."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.ports import free_port
from tests.support.waiting import eventually

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="no prometheus on PATH; on Debian: apt-get install prometheus",
)


@contextmanager
def scraping(gateways: Sequence[str], folder: Path, interval: str = "1s", rules: Path | None = None) -> Iterator[str]:
    """Give the URL of a Prometheus that scrapes the gateways at these URLs; ``folder``: for what it keeps.

    ``rules``: a file that it evaluates as often as it scrapes.
    """
    targets = ", ".join(f"'{url.removeprefix('http://')}'" for url in gateways)
    config, address = folder / "prometheus.yml", f"127.0.0.1:{free_port()}"
    config.write_text(
        f"global: {{scrape_interval: {interval}, scrape_timeout: {interval}, evaluation_interval: {interval}}}\n"
        f"rule_files: {[str(rules)] if rules else []}\n"
        f"scrape_configs: [{{job_name: headway, static_configs: [{{targets: [{targets}]}}]}}]\n"
    )
    process = subprocess.Popen(
        ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
         f"--web.listen-address={address}", "--log.level=error"]
    )  # fmt: skip
    try:
        eventually(lambda: _ready(f"http://{address}"), "Prometheus is ready")
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)


def _ready(url: str) -> bool:
    # Until it is, it answers queries with a text of its own.
    try:
        return httpx.get(f"{url}/-/ready", timeout=5).status_code == 200
    except httpx.TransportError:
        return False
