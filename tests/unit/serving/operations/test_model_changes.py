"""Models are added to and removed from the files of a pair; what somebody needs stays, with the reason."""

from pathlib import Path

import httpx
import pytest

from headway_contract.errors import ModelMissing
from headway_contract.model_manifest import BaseReference
from headway_contract.model_repository import MANIFEST_FILE, ModelRepository
from headway_serving.adapters.files.routes import change_model, change_routes, read_routes, write_routes
from headway_serving.core.rollout import changes
from headway_serving.core.rollout.changes import RolloutRefused
from headway_serving.core.rollout_state import RolloutPolicy
from headway_serving.core.routing import ModelRoutes, RouteTable
from headway_serving.operations.model_changes import ChangeRefused, ServedBy, add, newest_routable, remove
from headway_serving.operations.models_config import loaded_versions
from headway_serving.operations.removed_models import removed_models
from tests.support.contract_examples import manifest, publish
from tests.unit.serving.core.rollout.rollout_examples import ME, PROOF


@pytest.fixture
def pair(tmp_path: Path) -> ServedBy:
    """Versions 1 and 2 of `letters`, of which nothing is routed; no process runs."""
    repository = ModelRepository(tmp_path / "models")
    publish(repository)
    publish(repository)
    write_routes(tmp_path / "routes.json", RouteTable({}))
    return ServedBy(repository, tmp_path / "routes.json", tmp_path / "models.config", (), ())


def loaded(pair: ServedBy) -> dict[str, tuple[int, ...]]:
    assert pair.models_config is not None
    return loaded_versions(pair.models_config)


def added(pair: ServedBy, model: str, version: int | None = None) -> str:
    with httpx.Client() as http:
        return add(pair, model, version, ME, http)


def removed(pair: ServedBy, model: str, version: int | None = None) -> str:
    with httpx.Client() as http:
        return remove(pair, model, version, http)


def test_the_newest_version_gets_all_traffic_of_its_name(pair: ServedBy) -> None:
    assert added(pair, "letters") == "letters/2 is served: it is stable"
    routes = read_routes(pair.routes_file).of("letters")
    assert (routes.stable, routes.history[-1].why) == (2, "the model was added")
    assert loaded(pair) == {"letters": (2,)}
    with pytest.raises(ChangeRefused, match="version 2 is stable; a newer version gets traffic by: headway rollout"):
        added(pair, "letters")


def test_an_older_version_is_loaded_beside_it_and_unloaded_again(pair: ServedBy) -> None:
    added(pair, "letters")
    assert added(pair, "letters", 1) == "letters/1 is loaded; version 2 keeps the traffic"
    assert loaded(pair) == {"letters": (1, 2)}
    removed(pair, "letters", 1)
    assert loaded(pair) == {"letters": (2,)}
    assert read_routes(pair.routes_file).of("letters").stable == 2
    with pytest.raises(ChangeRefused, match="letters/1 is not loaded"):
        removed(pair, "letters", 1)


def test_a_removed_model_is_remembered_until_it_is_added_again(pair: ServedBy) -> None:
    added(pair, "letters", 1)
    removed(pair, "letters")
    assert (read_routes(pair.routes_file).models, loaded(pair)) == ({}, {})
    assert removed_models(pair.routes_file) == {"letters"}
    removed(pair, "letters")  # meant, and done already
    added(pair, "letters")
    assert removed_models(pair.routes_file) == frozenset()


@pytest.mark.parametrize(("model", "version"), [("faces", None), ("faces", 1), ("letters", 7)])
def test_what_is_not_there_is_refused(pair: ServedBy, model: str, version: int | None) -> None:
    with pytest.raises((ChangeRefused, ModelMissing)):
        removed(pair, model, version)
    if model == "faces":
        with pytest.raises(ModelMissing):
            added(pair, model)
    assert removed_models(pair.routes_file) == frozenset()


def test_what_a_rollout_gives_traffic_to_stays(pair: ServedBy) -> None:
    added(pair, "letters", 1)
    change_model(pair.routes_file, "letters", lambda now: changes.begun(now, PROOF, RolloutPolicy(), "s", 0.0, ME))
    for version in (None, 1, 2):
        with pytest.raises(RolloutRefused, match="version 2 of letters is being rolled out"):
            removed(pair, "letters", version)
    change_model(pair.routes_file, "letters", lambda now: changes.promoted(now, "", ME))
    with pytest.raises(ChangeRefused, match="headway rollout finish"):
        removed(pair, "letters", 1)


def test_what_the_routes_name_stays(pair: ServedBy) -> None:
    change_routes(pair.routes_file, lambda _: RouteTable({"letters": ModelRoutes(2, labels={"old": 1})}))
    with pytest.raises(ChangeRefused, match="label 'old'"):
        removed(pair, "letters", 1)
    with pytest.raises(ChangeRefused, match="stable"):
        removed(pair, "letters", 2)


def test_what_a_served_head_stands_on_stays(pair: ServedBy) -> None:
    file = pair.repository.root / "heads" / "1" / MANIFEST_FILE
    file.parent.mkdir(parents=True)
    file.write_text(manifest(model="heads", form="on_base", base=BaseReference("letters", 2, "sha256:22")).to_json())
    change_routes(pair.routes_file, lambda _: RouteTable({"letters": ModelRoutes(1), "heads": ModelRoutes(1)}))
    for version in (None, 2):
        with pytest.raises(ChangeRefused, match="head heads/1 stands on letters/2; remove heads first"):
            removed(pair, "letters", version)


def test_a_backbone_without_classes_is_not_for_routes(pair: ServedBy) -> None:
    assert newest_routable(pair.repository, "letters") == 2
    assert newest_routable(pair.repository, "faces") is None
