"""Manifests are read once a version, again after a failure, and refused when this release cannot follow them."""

import json

import pytest

from headway_serving.core.catalog import Catalog
from headway_serving.core.errors import IncompatibleModel, ModelUnavailable
from headway_serving.core.routing import Arm, Route
from tests.fakes.scripted_models import ScriptedVersion, scripted_manifest, scripted_version
from tests.fakes.tfserving_predictor import FakePredictor


def route(version: int = 1, model: str = "digits") -> Route:
    return Route(model, version, Arm.STABLE, "stable")


def source(**changes: object) -> FakePredictor:
    """A model server whose version 2 describes itself with some fields changed."""
    changed = json.loads(scripted_manifest().to_json()) | changes
    return FakePredictor({"digits": {1: scripted_version(), 2: ScriptedVersion(json.dumps(changed).encode())}})


def test_a_version_is_asked_for_its_manifest_once() -> None:
    server = source()
    catalog = Catalog(server)
    first, again = catalog.manifest(route(), 1.0), catalog.manifest(route(), 1.0)
    assert first == again == scripted_manifest()
    assert server.described == [route()]


def test_each_version_has_its_own_manifest() -> None:
    server = source(labels=["v", "w", "x", "y", "z"])
    catalog = Catalog(server)
    assert [catalog.manifest(route(version), 1.0).labels[0] for version in (1, 2)] == ["0", "v"]


def test_a_failed_reading_is_tried_again() -> None:
    server = source()
    catalog = Catalog(server)
    server.away = True
    with pytest.raises(ModelUnavailable):
        catalog.manifest(route(), 1.0)
    assert not catalog.knows("digits", 1)
    server.away = False
    assert catalog.manifest(route(), 1.0) == scripted_manifest()
    assert catalog.knows("digits", 1)


def test_a_known_manifest_outlives_the_model_server() -> None:
    server = source()
    catalog = Catalog(server)
    catalog.manifest(route(), 1.0)
    server.away = True
    assert catalog.manifest(route(), 1.0) == scripted_manifest()


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"schema": 99}, "schema 99"),
        ({"image": {"height": 28, "width": 28, "channels": 1, "revision": 4}}, "revision 4"),
        ({"labels": ["only"]}, "at least two classes"),
        ({"test_accuracy": None}, "test_accuracy|malformed"),
    ],
)
def test_a_manifest_that_cannot_be_followed_is_refused(changes: dict[str, object], what: str) -> None:
    catalog = Catalog(source(**changes))
    with pytest.raises(IncompatibleModel, match=rf"digits version 2 cannot be served: .*({what})"):
        catalog.manifest(route(2), 1.0)
    assert not catalog.knows("digits", 2)


def test_a_backbone_is_refused_as_it_has_no_classes() -> None:
    catalog = Catalog(source(form="features", kind="base", base=None, labels=[], test_accuracy=None))
    with pytest.raises(IncompatibleModel, match="digits version 2 is a backbone without classes; route a head"):
        catalog.manifest(route(2), 1.0)
    assert not catalog.knows("digits", 2)


def test_only_versions_that_were_read_are_known() -> None:
    catalog = Catalog(source())
    catalog.manifest(route(1), 1.0)
    assert [catalog.knows(*key) for key in [("digits", 1), ("digits", 2), ("letters", 1)]] == [True, False, False]
