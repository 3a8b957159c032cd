"""A decision to remove a model is remembered until it is added again."""

import os
from pathlib import Path

import pytest

from headway_serving.adapters.files.values import InvalidRoutes
from headway_serving.operations.removed_models import remember_removed, removed_file, removed_models


def test_it_is_remembered_beside_the_routes(tmp_path: Path) -> None:
    routes = tmp_path / "routes.json"
    assert removed_models(routes) == frozenset()
    remember_removed(routes, "a", removed=False)
    assert not removed_file(routes).exists()
    for name in ("b", "a", "b"):
        remember_removed(routes, name, removed=True)
    assert removed_file(routes).read_text() == '["a", "b"]\n'
    remember_removed(routes, "a", removed=False)
    assert removed_models(routes) == {"b"}
    assert removed_models(tmp_path / "other.json") == frozenset()


@pytest.mark.parametrize("text", ["", "{}", "[1]"])
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, text: str) -> None:
    removed_file(tmp_path / "routes.json").write_text(text)
    with pytest.raises(InvalidRoutes, match=r"routes\.removed\.json .*JSON list of names"):
        removed_models(tmp_path / "routes.json")


def test_a_pipe_in_its_place_is_told_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(removed_file(tmp_path / "routes.json"))
    with pytest.raises(InvalidRoutes, match="not a regular file"):
        removed_models(tmp_path / "routes.json")
    os.mkfifo(tmp_path / ".other.removed.json.lock")
    remember_removed(tmp_path / "other.json", "a", removed=True)
    assert removed_models(tmp_path / "other.json") == {"a"}
