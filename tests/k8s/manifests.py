"""Builds the Kubernetes manifests with the real kubectl and says what in them does not fit together."""

import os
import subprocess
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

from tests.k8s.custom_resources import CUSTOM_SCHEMAS, custom_errors

ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = ("k8s/overlays/production", "k8s/overlays/single")
DEPLOYMENTS = ("k8s/base", *OVERLAYS)
BUILDS = (*DEPLOYMENTS, "k8s/copier", "k8s/rollout")
# Those that an overlay of one's own may add to ours, in an order that they agree with.
COMPONENTS = ("autoscaling", "autoscaling-by-load", "monitoring", "tokens", "object-storage", "gpu", "rollout")
# What people make themselves, as nothing secret is in a file: docs/kubernetes.md says how.
SECRETS = frozenset({"headway-tokens", "headway-prometheus-token", "headway-object-storage"})
# What is there without being applied: the cluster's own, and with `rollout` what rollouts change.
THERE = frozenset({"kube-root-ca.crt"})
CHANGED_BY_ROLLOUTS = frozenset({"headway-routes", "headway-models-config"})
# The first release with the `sleep` action on by default, and the newest that the schema package knows.
SUPPORTED_RELEASES = ("1.30", kubernetes_validate.latest_version())

Document = dict[str, Any]


def build(folder: str) -> list[Document]:
    """Return the documents that `kubectl apply -k FOLDER` would send; FOLDER is relative to the repository."""
    kubectl = Path(sysconfig.get_path("scripts")) / "kubectl"
    done = subprocess.run(
        [kubectl, "kustomize", ROOT / folder], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, f"kubectl kustomize {folder}: {done.stderr}"
    assert not done.stderr, f"kubectl kustomize {folder} warns: {done.stderr}"
    return list(yaml.load_all(done.stdout, Loader=yaml.CSafeLoader))


def with_components(overlay: str, components: Sequence[str], folder: Path) -> list[Document]:
    """Return what an overlay of one's own would send, that adds components to one of ours; it is made in `folder`."""
    back = os.path.relpath(ROOT, folder.resolve())
    own = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "headway",
        "resources": [f"{back}/{overlay}"],
        "components": [f"{back}/k8s/components/{name}" for name in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    return build(str(folder))


def of_kind(documents: list[Document], kind: str) -> list[Document]:
    """Return the documents of one kind, such as `Deployment`."""
    return [document for document in documents if document["kind"] == kind]


def find(documents: list[Document], kind: str, name: str) -> Document:
    """Return the one document of that kind and name."""
    (document,) = [found for found in of_kind(documents, kind) if found["metadata"]["name"] == name]
    return document


def pod_specs(documents: list[Document]) -> Iterator[Document]:
    """Yield the pod spec of every Deployment, Job and Pod."""
    for document in documents:
        if document["kind"] in {"Deployment", "Job"}:
            yield document["spec"]["template"]["spec"]
        elif document["kind"] == "Pod":
            yield document["spec"]


def container(documents: list[Document], deployment: str) -> Document:
    """Return the only container of a Deployment."""
    (only,) = find(documents, "Deployment", deployment)["spec"]["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def schema_errors(document: Document, release: str) -> list[str]:
    """Return why Kubernetes of that release (`1.30`) would refuse the document; unknown fields count."""
    if document["apiVersion"] in CUSTOM_SCHEMAS:
        return custom_errors(document)
    try:
        kubernetes_validate.validate(document, release, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{document['kind']} {'.'.join(map(str, error.path))}: {error.message}"]
    return []


def selector_errors(documents: list[Document]) -> list[str]:
    """Return each Deployment, Service and PodDisruptionBudget that selects no pod, and each port that leads nowhere."""
    errors = []
    templates = [document["spec"]["template"] for document in of_kind(documents, "Deployment")]
    for deployment in of_kind(documents, "Deployment"):
        if not _selects(deployment["spec"]["selector"]["matchLabels"], deployment["spec"]["template"]):
            errors.append(f"Deployment {deployment['metadata']['name']} does not select its own pods")
    for budget in of_kind(documents, "PodDisruptionBudget"):
        labels = budget["spec"]["selector"]["matchLabels"]
        if not any(_selects(labels, template) for template in templates):
            errors.append(f"PodDisruptionBudget {budget['metadata']['name']} selects no pods")
    for service in of_kind(documents, "Service"):
        chosen = [template for template in templates if _selects(service["spec"]["selector"], template)]
        if len(chosen) != 1:
            errors.append(f"Service {service['metadata']['name']} selects {len(chosen)} Deployments instead of one")
        errors += [error for template in chosen for error in _service_port_errors(service, template)]
    return errors


def _selects(labels: dict[str, str], template: Document) -> bool:
    return bool(labels) and labels.items() <= template["metadata"]["labels"].items()


def _service_port_errors(service: Document, template: Document) -> list[str]:
    open_ports = _ports(template["spec"])
    return [
        f"Service {service['metadata']['name']}: its pods have no port {port['targetPort']}"
        for port in service["spec"]["ports"]
        if port["targetPort"] not in open_ports
    ]


def _ports(spec: Document) -> set[str | int]:
    ports = [port for each in _containers(spec) for port in each.get("ports", [])]
    return {port["name"] for port in ports} | {port["containerPort"] for port in ports}


def probe_errors(documents: list[Document]) -> list[str]:
    """Return each probe that asks a port which its container does not open."""
    errors = []
    for spec in pod_specs(documents):
        open_ports = _ports(spec)
        for each in _containers(spec):
            for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
                for method in ("httpGet", "tcpSocket", "grpc"):
                    port = each.get(kind, {}).get(method, {}).get("port")
                    if port is not None and port not in open_ports:
                        errors.append(f"{each['name']}: {kind} asks port {port}, which is not open")
    return errors


def reference_errors(documents: list[Document]) -> list[str]:
    """Return each ConfigMap, claim and volume that a pod mentions and that is not there."""
    there = {(document["kind"], document["metadata"]["name"]) for document in documents}
    there |= {("ConfigMap", name) for name in THERE}
    if ("Role", "headway-rollout") in there:
        there |= {("ConfigMap", name) for name in CHANGED_BY_ROLLOUTS}
    errors = []
    for spec in pod_specs(documents):
        for volume in spec["volumes"]:
            errors += [
                f"{kind} {name} does not exist"
                for kind, name in _volume_references(volume)
                if (kind, name) not in there and name not in SECRETS
            ]
        volumes = {volume["name"] for volume in spec["volumes"]}
        mounts = {mount["name"] for each in _containers(spec) for mount in each["volumeMounts"]}
        errors += [
            f"{kind} {name} does not exist"
            for each in _containers(spec)
            for source in each.get("envFrom", [])
            for kind, name in _environment_references(source)
            if (kind, name) not in there and name not in SECRETS
        ]
        errors += [f"volume {name} is not defined or not mounted" for name in sorted(volumes ^ mounts)]
    return errors


def _containers(spec: Document) -> list[Document]:
    """Every container of a pod: those that come first, sidecars, and the pod's own."""
    return [*spec.get("initContainers", []), *spec["containers"]]


def _environment_references(source: Document) -> Iterator[tuple[str, str]]:
    for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
        if key in source:
            yield kind, source[key]["name"]


def _volume_references(volume: Document) -> Iterator[tuple[str, str]]:
    for source in [volume, *volume.get("projected", {}).get("sources", [])]:
        if "configMap" in source:
            yield "ConfigMap", source["configMap"]["name"]
        if "secret" in source:
            yield "Secret", source["secret"]["secretName"]
    if "persistentVolumeClaim" in volume:
        yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]


def security_errors(documents: list[Document]) -> list[str]:
    """Return each way in which a pod may do more than the `restricted` Pod Security Standard and we allow."""
    errors = []
    for spec in pod_specs(documents):
        pod = spec.get("securityContext", {})
        name = spec["containers"][0]["name"]
        wanted: list[tuple[str, Any, Any]] = [
            ("runAsNonRoot", pod.get("runAsNonRoot"), True),
            ("runAsUser above 0", pod.get("runAsUser", 0) > 0, True),
            ("seccompProfile", pod.get("seccompProfile"), {"type": "RuntimeDefault"}),
            ("automountServiceAccountToken", spec.get("automountServiceAccountToken"), False),
            ("enableServiceLinks", spec.get("enableServiceLinks"), False),
        ]
        for each in _containers(spec):
            own = each.get("securityContext", {})
            wanted += [
                ("allowPrivilegeEscalation", own.get("allowPrivilegeEscalation"), False),
                ("readOnlyRootFilesystem", own.get("readOnlyRootFilesystem"), True),
                ("capabilities", own.get("capabilities"), {"drop": ["ALL"]}),
            ]
        errors += [
            f"{name}: {what} is {found}, not {expected}" for what, found, expected in wanted if found != expected
        ]
    return errors


def shutdown_errors(documents: list[Document]) -> list[str]:
    """Return each Deployment whose pods would be killed before their preStop sleep and drain (seconds) have ended."""
    errors = []
    for deployment in of_kind(documents, "Deployment"):
        spec = deployment["spec"]["template"]["spec"]
        for each in spec["containers"]:
            environment = {entry["name"]: entry["value"] for entry in each.get("env", [])}
            needed = each["lifecycle"]["preStop"]["sleep"]["seconds"] + float(
                environment.get("HEADWAY_DRAIN_SECONDS", 0)
            )
            if needed >= spec["terminationGracePeriodSeconds"]:
                errors.append(f"{each['name']} needs {needed} s to stop and is killed before")
    return errors
