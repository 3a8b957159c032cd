"""Every document that `kubectl apply -k` sends is one that Kubernetes accepts."""

import copy
from functools import cache
from typing import Any

import pytest

from tests.k8s.manifests import BUILDS, SUPPORTED_RELEASES, Document, build, find, schema_errors

built = cache(build)


@pytest.mark.parametrize("release", SUPPORTED_RELEASES)
@pytest.mark.parametrize("folder", BUILDS)
def test_kubernetes_accepts_every_document(folder: str, release: str) -> None:
    documents = built(folder)
    assert documents
    assert [error for document in documents for error in schema_errors(document, release)] == []


def _unknown_field(deployment: Document) -> None:
    deployment["spec"]["replica"] = 2


def _wrong_type(deployment: Document) -> None:
    deployment["spec"]["replicas"] = "two"


def _missing_field(deployment: Document) -> None:
    del deployment["spec"]["selector"]


def _misspelt_deep_inside(deployment: Document) -> None:
    deployment["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}


@pytest.mark.parametrize("damage", [_unknown_field, _wrong_type, _missing_field, _misspelt_deep_inside])
def test_a_broken_document_is_refused(damage: Any) -> None:
    deployment = copy.deepcopy(find(built("k8s/base"), "Deployment", "headway-gateway"))
    damage(deployment)
    assert len(schema_errors(deployment, SUPPORTED_RELEASES[-1])) == 1
