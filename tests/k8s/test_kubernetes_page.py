"""The page on Kubernetes names folders, objects and probes that exist."""

import re
from pathlib import Path

from tests.k8s.manifests import BUILDS, COMPONENTS, OVERLAYS, ROOT, SECRETS, build, of_kind, with_components

PAGE = (ROOT / "docs/kubernetes.md").read_text(encoding="utf-8")


def test_every_folder_and_file_that_it_names_exists() -> None:
    named = set(re.findall(r"\bk8s/[\w./-]*\w", PAGE))
    assert set(BUILDS) <= named
    assert not [path for path in named if not (ROOT / path).exists()]


def test_every_object_that_it_names_exists(tmp_path: Path) -> None:
    documents = [document for folder in BUILDS for document in build(folder)]
    documents += with_components(OVERLAYS[0], COMPONENTS, tmp_path)
    there = {document["metadata"]["name"] for document in documents} | SECRETS
    named = set(re.findall(r"\bheadway-[a-z-]*[a-z]", PAGE))
    assert named
    assert named <= there


def test_every_probe_is_explained() -> None:
    explained = set(re.findall(r"GET (/\w+)", PAGE))
    (gateway,) = [
        document["spec"]["template"]["spec"]["containers"][0]
        for document in of_kind(build("k8s/base"), "Deployment")
        if document["metadata"]["name"] == "headway-gateway"
    ]
    probes = [gateway[kind] for kind in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert explained == {probe["httpGet"]["path"] for probe in probes}


def test_every_component_is_explained() -> None:
    explained = set(re.findall(r"^\| `([a-z-]+)` \|", PAGE, re.MULTILINE))
    assert set(COMPONENTS) <= explained
