"""compose.yaml is one that Docker reads, and what it names is there."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest
import yaml

from headway_serving.settings import GatewaySettings
from tests.k8s.dockerfile import read_dockerfile
from tests.k8s.manifests import ROOT
from tests.k8s.tfserving_flags import flag_values

SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
DOCKERFILE = read_dockerfile(ROOT / "Dockerfile")


def test_it_follows_the_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("service", ["gateway", "model-server"])
def test_our_images_are_those_of_the_cluster(service: str) -> None:
    tags = yaml.safe_load((ROOT / "k8s/images/kustomization.yaml").read_text(encoding="utf-8"))["images"]
    (gateway,) = [f"{each['newName']}:{each['newTag']}" for each in tags if each["name"] == "headway/gateway"]
    assert SERVICES[service]["image"] == gateway.replace("/gateway:", f"/{service}:")
    assert SERVICES[service]["build"]["target"] == service


def test_what_is_mounted_is_there_and_where_it_is_read() -> None:
    sources = {volume.split(":")[0] for each in SERVICES.values() for volume in each.get("volumes", [])}
    # The models are trained by whoever runs it.
    for source in sources - {"./models", "prometheus"}:
        assert (ROOT / source).is_dir(), source
    stage = DOCKERFILE.stages["model-server"]
    flags = flag_values(stage.last("CMD").exec_form())
    inside = {f"/etc/headway/{path.name}" for path in (ROOT / "k8s/base/config").iterdir()}
    assert {flags["model_config_file"], flags["monitoring_config_file"]} <= inside
    routes = re.search(r"HEADWAY_ROUTES_FILE=(\S+)", " ".join(DOCKERFILE.stages["gateway"].all("ENV")))
    assert routes is not None
    assert routes[1] in inside
    assert "./k8s/base/config:/etc/headway:ro" in SERVICES["gateway"]["volumes"]


def test_the_gateway_knows_its_settings_and_is_published_without_its_metrics() -> None:
    settings = GatewaySettings.from_environment(SERVICES["gateway"]["environment"])
    assert SERVICES["gateway"]["ports"] == [f"{settings.port}:{settings.port}"]
    scraped = yaml.safe_load((ROOT / "deploy/compose/prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    targets = {name: each["port"] for job in scraped for each in job["dns_sd_configs"] for name in each["names"]}
    assert targets == {"gateway": settings.admin_port, "model-server": 8501}
    assert settings.model_server == "dns:///model-server:8500"


def test_other_images_have_a_fixed_tag_and_are_published_to_this_machine_alone() -> None:
    for name in ("prometheus", "grafana"):
        assert re.search(r":v?\d+\.\d+\.\d+$", SERVICES[name]["image"])
        assert all(port.startswith("127.0.0.1:") for port in SERVICES[name]["ports"])


def test_grafana_finds_prometheus_where_it_listens() -> None:
    text = (ROOT / "deploy/compose/grafana/datasources/prometheus.yaml").read_text(encoding="utf-8")
    (source,) = yaml.safe_load(text)["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert SERVICES["prometheus"]["ports"][0].endswith(":9090")
    assert json.dumps(SERVICES["grafana"]["volumes"]).count("/etc/grafana/provisioning")
