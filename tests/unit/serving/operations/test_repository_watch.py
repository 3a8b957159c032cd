"""What is published while a repository is served is noticed once; what was removed on purpose is left alone."""

from pathlib import Path

from headway_contract.model_repository import ModelRepository
from headway_serving.core.routing import ModelRoutes, RouteTable
from headway_serving.operations.repository_watch import Found, RepositoryWatch
from tests.support.contract_examples import publish

EMPTY = RouteTable({})


def test_a_model_without_routes_is_a_newcomer_once(tmp_path: Path) -> None:
    repository = ModelRepository(tmp_path)
    watch = RepositoryWatch(repository)
    assert watch.look(EMPTY, ()) == Found()
    publish(repository)
    assert watch.look(EMPTY, ()) == Found(newcomers=("letters",))
    assert watch.look(EMPTY, ()) == Found()
    publish(repository)
    assert watch.look(EMPTY, ()) == Found(newcomers=("letters",)), "another version may do what the first did not"


def test_what_was_removed_is_no_newcomer(tmp_path: Path) -> None:
    publish(ModelRepository(tmp_path))
    assert RepositoryWatch(ModelRepository(tmp_path)).look(EMPTY, {"letters"}) == Found()


def test_only_what_is_above_all_routed_versions_is_newer(tmp_path: Path) -> None:
    repository = ModelRepository(tmp_path)
    for _ in range(3):
        publish(repository)
    for routes, newer in (
        (ModelRoutes(1), (("letters", 3),)),
        (ModelRoutes(3), ()),
        (ModelRoutes(1, labels={"next": 3}), ()),
    ):
        assert RepositoryWatch(repository).look(RouteTable({"letters": routes}), ()) == Found(newer=newer)
