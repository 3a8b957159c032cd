"""Copying between repositories: bases first, nothing written over, one bad version keeps no other back."""

import shutil
from pathlib import Path

import pytest

from headway_contract.model_manifest import BaseReference
from headway_contract.model_repository import MANIFEST_FILE, ModelRepository
from headway_serving.adapters.stores.errors import StoreUnavailable
from headway_serving.adapters.stores.folder import FolderStore
from headway_serving.operations.repository_copy import Outcome, RepositoryCopy, Version
from tests.support.contract_examples import manifest, publish


def silent(version: Version, files: int, size: int) -> None:
    pass


@pytest.fixture
def here(tmp_path: Path) -> ModelRepository:
    return ModelRepository(tmp_path / "here")


@pytest.fixture
def there(tmp_path: Path) -> ModelRepository:
    return ModelRepository(tmp_path / "there")


def copying(here: ModelRepository, there: ModelRepository, *wanted: tuple[str, int | None]) -> RepositoryCopy:
    return RepositoryCopy(FolderStore(here.root), FolderStore(there.root), wanted)


def publish_named(repository: ModelRepository, model: str, base: BaseReference | None = None) -> None:
    with repository.staging(model) as staged:
        (staged / MANIFEST_FILE.parent).mkdir()
        changes = {"kind": "base", "base": None} if base is None else {"form": "on_base", "base": base}
        (staged / MANIFEST_FILE).write_text(manifest(model=model, **changes).to_json(), encoding="utf-8")
        repository.publish(model, staged)


def head_and_base(repository: ModelRepository) -> None:
    publish_named(repository, "strokes")
    # Sorted before its base.
    publish_named(repository, "digits", BaseReference("strokes", 1, repository.digest("strokes", 1)))


def test_what_is_lacking_is_copied_once(here: ModelRepository, there: ModelRepository) -> None:
    publish(here)
    publish(here, b"others")
    copy = copying(here, there, ("letters", 1))
    first = copy.run(silent)
    assert {each: done.files for each, done in first.copied.items()} == {("letters", 1): 2}
    assert there.digest("letters", 1) == here.digest("letters", 1)
    assert copy.run(silent) == Outcome({}, (("letters", 1),), (), {}, {})
    assert list(copying(here, there).run(silent).copied) == [("letters", 2)]


def test_a_base_comes_before_its_head_and_with_it(here: ModelRepository, there: ModelRepository) -> None:
    head_and_base(here)
    publish(here)
    assert list(copying(here, there, ("digits", None)).run(silent).copied) == [("strokes", 1), ("digits", 1)]


def test_another_content_under_the_same_number_stays(here: ModelRepository, there: ModelRepository) -> None:
    publish(here, b"mine")
    publish(there, b"theirs")
    copy, digest = copying(here, there), there.digest("letters", 1)
    for _ in range(2):
        assert "another version under this number" in copy.run(silent).problems["letters", 1]
    assert there.digest("letters", 1) == digest


def test_a_damaged_version_keeps_no_other_back(here: ModelRepository, there: ModelRepository) -> None:
    for content in (b"a", b"b", b"c"):
        publish(here, content)
    (here.path("letters", 2) / "variables/data").write_bytes(b"x")
    (here.path("letters", 3) / MANIFEST_FILE).unlink()
    outcome = copying(here, there).run(silent)
    assert list(outcome.copied) == [("letters", 1)]
    assert outcome.problems.keys() == {("letters", 2), ("letters", 3)}
    assert there.versions("letters") == (1,)


def test_only_what_is_asked_for_is_deleted_and_nothing_in_use(here: ModelRepository, there: ModelRepository) -> None:
    for repository in (here, there):
        publish(repository)
    publish(there, b"b")
    publish(there, b"c")
    publish_named(there, "strokes")
    assert copying(here, there).run(silent).deleted == ()
    outcome = copying(here, there, ("letters", None)).run(silent, {("letters", 2): "routed"})
    assert outcome.deleted == (("letters", 3),)
    assert outcome.kept == {("letters", 2): "routed"}
    assert there.versions("letters") == (1, 2)
    assert there.versions("strokes") == (1,)


def test_an_empty_source_deletes_nothing(here: ModelRepository, there: ModelRepository) -> None:
    publish(there)
    with pytest.raises(StoreUnavailable, match="holds no version"):
        copying(here, there).run(silent, {})
    assert there.versions("letters") == (1,)


def test_what_a_killed_copy_left_is_removed(here: ModelRepository, there: ModelRepository) -> None:
    publish(here)
    left_over = there.root / ".staging" / ".incoming-letters-abc"
    others = there.root / ".staging" / "letters-of-a-training"
    for path in (left_over, others):
        path.mkdir(parents=True)
    copying(here, there).run(silent)
    assert not left_over.exists()
    assert others.exists()


def test_a_source_that_changes_while_it_is_copied_is_a_problem(
    here: ModelRepository, there: ModelRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(here)
    copyfile = shutil.copyfile

    def cut_short(source: Path, target: Path) -> None:
        copyfile(source, target)
        target.write_bytes(b"half")

    monkeypatch.setattr(shutil, "copyfile", cut_short)
    assert "not what was published" in copying(here, there).run(silent).problems["letters", 1]
    assert there.models() == ()
