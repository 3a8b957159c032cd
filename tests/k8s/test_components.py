"""Whatever components an overlay of one's own adds, alone or together, what is sent is valid and fits together."""

import dataclasses
import itertools
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from headway_serving.adapters.metrics.prometheus import PrometheusMetrics
from headway_serving.commands import repository as repository_cli
from headway_serving.modelserver.batching.parameters import read_batching_parameters, validate
from headway_serving.modelserver.process.flags import parse
from headway_serving.settings import GatewaySettings
from tests.k8s import manifests
from tests.k8s.manifests import (
    COMPONENTS,
    OVERLAYS,
    ROOT,
    SUPPORTED_RELEASES,
    Document,
    container,
    find,
    of_kind,
    schema_errors,
    with_components,
)
from tests.k8s.tfserving_flags import flag_values

CHECKS = (
    manifests.selector_errors,
    manifests.probe_errors,
    manifests.reference_errors,
    manifests.security_errors,
    manifests.shutdown_errors,
)
VERSION = "app.kubernetes.io/version"
PRODUCTION, SINGLE = OVERLAYS


def combinations(overlay: str) -> list[tuple[str, ...]]:
    """Every set of components that may be together."""
    every = itertools.chain.from_iterable(
        itertools.combinations(COMPONENTS, size) for size in range(len(COMPONENTS) + 1)
    )
    return [
        chosen
        for chosen in every
        if ("autoscaling" in chosen or "autoscaling-by-load" not in chosen)
        and not ("gpu" in chosen and overlay == SINGLE)
    ]


def test_every_component_is_in_the_list_or_in_an_overlay() -> None:
    there = {path.parent.name for path in (ROOT / "k8s/components").glob("*/kustomization.yaml")}
    texts = [(ROOT / overlay / "kustomization.yaml").read_text(encoding="utf-8") for overlay in OVERLAYS]
    included = {name for text in texts for name in re.findall(r"^  - .*components/([\w-]+)", text, re.MULTILINE)}
    assert set(COMPONENTS) | included | {"rollout"} >= there
    assert set(COMPONENTS) | included <= there


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_combination_is_valid_and_fits_together(overlay: str, tmp_path: Path) -> None:
    seen = set[str]()
    for chosen in combinations(overlay):
        documents = with_components(overlay, chosen, tmp_path)
        problems = [error for check in CHECKS for error in check(documents)]
        problems += [error for check in OWN_CHECKS for error in check(documents)]
        for document in documents:
            # Most are the same in every combination, and need not be validated again.
            text = json.dumps(document, sort_keys=True)
            if text not in seen:
                seen.add(text)
                problems += [error for release in SUPPORTED_RELEASES for error in schema_errors(document, release)]
        assert problems == [], f"{overlay} with {chosen}"


def _label_errors(documents: list[Document]) -> list[str]:
    """Whatever lacks its labels, or pods whose version is not their image's."""
    errors = []
    for each in documents:
        labels = each["metadata"].get("labels", {})
        if not {VERSION, "app.kubernetes.io/part-of"} <= labels.keys() and each["kind"] != "Namespace":
            errors.append(f"{each['kind']} {each['metadata']['name']} has no version or part-of")
        if each["kind"] == "Deployment":
            template = each["spec"]["template"]
            tag = template["spec"]["containers"][0]["image"].rpartition(":")[2].removesuffix("-gpu")
            if template["metadata"]["labels"].get(VERSION) != tag:
                errors.append(f"pods of {each['metadata']['name']} do not say the version that they run, {tag}")
    return errors


def _scaling_errors(documents: list[Document]) -> list[str]:
    scaled = {each["spec"]["scaleTargetRef"]["name"] for each in of_kind(documents, "HorizontalPodAutoscaler")}
    return [
        f"{each['metadata']['name']}: a number of replicas and an autoscaler, or neither"
        for each in of_kind(documents, "Deployment")
        if ("replicas" in each["spec"]) == (each["metadata"]["name"] in scaled)
    ]


def _rights_errors(documents: list[Document]) -> list[str]:
    """Rights for everything, and bindings of what is not there."""
    errors = [f"{each['kind']}: only rights within the namespace are given" for each in documents
              if each["kind"] in {"ClusterRole", "ClusterRoleBinding"}]  # fmt: skip
    there = {(each["kind"], each["metadata"]["name"]) for each in documents}
    for role in of_kind(documents, "Role"):
        errors += [f"Role {role['metadata']['name']}: *" for rule in role["rules"] for words in rule.values()
                   if "*" in words]  # fmt: skip
    for binding in of_kind(documents, "RoleBinding"):
        named = [(each["kind"], each["name"]) for each in (binding["roleRef"], *binding["subjects"])]
        errors += [f"RoleBinding {binding['metadata']['name']}: no {kind} {name}" for kind, name in named
                   if (kind, name) not in there]  # fmt: skip
    return errors


def _setting_errors(documents: list[Document]) -> list[str]:
    """Variables and flags that the processes do not know."""
    known = {f"HEADWAY_{field.name.upper()}" for field in dataclasses.fields(GatewaySettings)}
    names = {each["name"] for spec in manifests.pod_specs(documents) for one in spec["containers"]
             for each in one.get("env", [])}  # fmt: skip
    errors = [f"no setting is called {name}" for name in sorted(names - known) if name.startswith("HEADWAY_")]
    try:
        flag_values(container(documents, "headway-model-server")["args"])
    except ValueError as error:
        errors.append(str(error))
    return errors


OWN_CHECKS = (_label_errors, _scaling_errors, _rights_errors, _setting_errors)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> list[Document]:
    return with_components(PRODUCTION, COMPONENTS, tmp_path_factory.mktemp("everything"))


def test_the_gateway_knows_every_setting(everything: list[Document]) -> None:
    environment = {each["name"]: each["value"] for each in container(everything, "headway-gateway")["env"]}
    settings = GatewaySettings.from_environment(environment)
    assert settings.admin_port == 9090
    assert str(settings.tokens_file) in _mounted(everything, "headway-gateway", "tokens.json")


def _mounted(documents: list[Document], deployment: str, key: str) -> set[str]:
    return {f"{mount['mountPath']}/{key}" for mount in container(documents, deployment)["volumeMounts"]}


def test_prometheus_is_sent_to_ports_and_pages_that_are_there(everything: list[Document]) -> None:
    for monitor in of_kind(everything, "PodMonitor"):
        pods = monitor["spec"]["selector"]["matchLabels"]
        (template,) = [each["spec"]["template"] for each in of_kind(everything, "Deployment")
                       if pods.items() <= each["spec"]["template"]["metadata"]["labels"].items()]  # fmt: skip
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        ports = {port["name"]: port["containerPort"] for port in template["spec"]["containers"][0]["ports"]}
        annotations = template["metadata"]["annotations"]
        assert str(ports[endpoint["port"]]) == annotations["prometheus.io/port"]
        assert endpoint["path"] == annotations["prometheus.io/path"]
    (gateways,) = [each for each in of_kind(everything, "PodMonitor") if each["metadata"]["name"] == "headway-gateway"]
    assert gateways["spec"]["podMetricsEndpoints"][0]["authorization"]["type"] == "Bearer"


def test_the_sidecar_runs_commands_that_exist_where_the_models_are(everything: list[Document]) -> None:
    spec = find(everything, "Deployment", "headway-model-server")["spec"]["template"]["spec"]
    (config,) = [each["data"] for each in of_kind(everything, "ConfigMap") if "MODELS_URL" in each["data"]]
    (models,) = [volume for volume in spec["volumes"] if volume["name"] == "models"]
    assert "persistentVolumeClaim" not in models
    verbs = []
    for each in spec["initContainers"]:
        assert each["image"] == container(everything, "headway-gateway")["image"]
        words = [config["MODELS_URL"] if word == "$(MODELS_URL)" else word for word in each["args"]]
        assert [*each["command"], words[0]] == ["headway", "repository"]
        arguments = repository_cli._parser().parse_args(words[1:])
        verbs.append(arguments.verb)
        assert arguments.source == config["MODELS_URL"]
        assert any(mount["mountPath"] == arguments.destination for mount in each["volumeMounts"])
    assert verbs == ["pull", "sync"]
    # Only with this is it a sidecar, which the model server does not wait for the end of.
    assert [each.get("restartPolicy") for each in spec["initContainers"]] == [None, "Always"]


def test_gpu_pods_run_the_same_release_with_parameters_that_are_understood(everything: list[Document]) -> None:
    images = yaml.safe_load((ROOT / "k8s/images/kustomization.yaml").read_text())["images"]
    tags = {image["name"]: image["newTag"] for image in images}
    server = container(everything, "headway-model-server")
    assert server["image"] == f"tensorflow/serving:{tags['tensorflow/serving']}-gpu"
    flags = flag_values(server["args"])
    assert flags["batching_parameters_file"] in _mounted(everything, "headway-model-server", "batching.config")
    validate(read_batching_parameters(ROOT / "k8s/components/gpu/batching.config"))


def test_the_embedded_server_takes_the_flags_of_the_base() -> None:
    server = container(manifests.build(SINGLE), "headway-model-server")
    assert server["command"] == ["headway-model-server"]
    read = parse(server["args"])
    assert (read.unknown, read.ignored, read.refused) == ((), (), ())


def test_load_is_a_metric_of_the_gateway(everything: list[Document]) -> None:
    scaler = find(everything, "HorizontalPodAutoscaler", "headway-gateway")
    (metric,) = [each["pods"]["metric"]["name"] for each in scaler["spec"]["metrics"] if each["type"] == "Pods"]
    rules = (ROOT / "k8s/components/autoscaling-by-load/prometheus-adapter-rules.yaml").read_text()
    assert metric in [rule["name"]["as"] for rule in yaml.safe_load(rules)["rules"]["custom"]]
    offered = {family.name for family in _metrics()}
    assert set(re.findall(r"headway_queue_\w+", rules)) - {metric} <= offered


def _metrics() -> Any:
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry()
    PrometheusMetrics(registry)
    return list(registry.collect())


def test_digests_are_pinned_in_one_place(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "k8s", tmp_path / "k8s")
    images = tmp_path / "k8s/images/kustomization.yaml"
    images.write_text(re.sub(r"newTag: .*", f"digest: sha256:{'a' * 64}", images.read_text()))
    for overlay in OVERLAYS:
        documents = manifests.build(str(tmp_path / overlay))
        for spec in manifests.pod_specs(documents):
            for each in spec["containers"]:
                assert re.fullmatch(rf"[a-z./-]+@sha256:{'a' * 64}", each["image"]), each["image"]
