"""The examples for KServe are valid, and what they say is what our servers know."""

import re
from typing import Any

import pytest
import yaml

from headway_serving.settings import GatewaySettings
from tests.k8s.manifests import ROOT, SUPPORTED_RELEASES, Document, build, find, schema_errors
from tests.k8s.tfserving_flags import flag_values

FOLDER = ROOT / "k8s/kserve"
PAGE = (ROOT / "docs/kserve.md").read_text(encoding="utf-8")


def read(name: str) -> Document:
    document = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    return document


RUNTIMES = ("tensorflow-serving-runtime.yaml", "gateway-runtime.yaml")
SERVICES = (("digits.yaml", RUNTIMES[0]), ("gateway.yaml", RUNTIMES[1]))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_valid_and_explained(path: Any) -> None:
    assert schema_errors(read(path.name), SUPPORTED_RELEASES[-1]) == []
    assert f"k8s/kserve/{path.name}" in PAGE


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_runtimes_containers_are_those_of_a_pod_without_rights(name: str) -> None:
    spec = read(name)["spec"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "predictor"},
           "spec": {key: spec[key] for key in ("containers", "volumes") if key in spec}}  # fmt: skip
    assert [error for release in SUPPORTED_RELEASES for error in schema_errors(pod, release)] == []
    (container,) = spec["containers"]
    # What KServe looks for.
    assert container["name"] == "kserve-container"
    rights = container["securityContext"]
    assert (rights["runAsUser"], rights["readOnlyRootFilesystem"]) == (10001, True)
    assert rights["capabilities"] == {"drop": ["ALL"]}
    mounts = {mount["name"] for mount in container.get("volumeMounts", [])}
    assert mounts == {volume["name"] for volume in spec.get("volumes", [])}


@pytest.mark.parametrize(("service", "runtime"), SERVICES)
def test_a_service_names_its_runtime_a_format_and_a_protocol_of_it(service: str, runtime: str) -> None:
    model, offered = read(service)["spec"]["predictor"]["model"], read(runtime)
    assert model["runtime"] == offered["metadata"]["name"]
    formats = [(each["name"], each["version"]) for each in offered["spec"]["supportedModelFormats"]]
    assert (model["modelFormat"]["name"], model["modelFormat"]["version"]) in formats
    assert model["protocolVersion"] in offered["spec"]["protocolVersions"]


def test_images_are_those_of_the_cluster() -> None:
    base = build("k8s/base")
    for name, deployment in ((RUNTIMES[0], "headway-model-server"), (RUNTIMES[1], "headway-gateway")):
        wanted = find(base, "Deployment", deployment)["spec"]["template"]["spec"]["containers"][0]
        (container,) = read(name)["spec"]["containers"]
        assert container["image"] == wanted["image"]
        assert container["command"] == wanted["command"]


def test_tensorflow_serving_knows_the_flags_and_listens_where_kserve_asks() -> None:
    spec = read(RUNTIMES[0])["spec"]
    (container,) = spec["containers"]
    flags = flag_values(container["args"])
    # KServe's own: where its storage initializer puts the model, what it is called, and the ports of both protocols.
    assert flags["model_base_path"] == "/mnt/models"
    assert flags["model_name"] == "{{.Name}}"
    assert (flags["rest_api_port"], flags["port"]) == ("8080", "9000")
    assert spec["annotations"]["prometheus.kserve.io/port"] == flags["rest_api_port"]


def test_the_gateway_knows_its_settings_and_asks_services_that_are_there() -> None:
    spec = read(RUNTIMES[1])["spec"]
    (container,) = spec["containers"]
    environment = {each["name"]: each["value"] for each in container["env"]}
    settings = GatewaySettings.from_environment(environment)
    assert [port["containerPort"] for port in container["ports"]] == [settings.port]
    assert spec["annotations"]["prometheus.kserve.io/port"] == str(settings.admin_port)
    base = build("k8s/base")
    for target in (settings.model_server, settings.model_server_rest):
        name, port = re.fullmatch(r"\w+:///?([a-z-]+)\.headway:(\d+)", target).groups()
        assert int(port) in [each["port"] for each in find(base, "Service", name)["spec"]["ports"]]
