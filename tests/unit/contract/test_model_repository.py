"""The repository lists, reads, publishes whole versions, and never changes one that is published."""

import os
import re
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from headway_contract.errors import (
    BaseDiffers,
    InvalidManifest,
    ModelMissing,
    RepositoryError,
    VersionDamaged,
    VersionExists,
    VersionMissing,
)
from headway_contract.model_manifest import BaseReference
from headway_contract.model_name import check_model_name
from headway_contract.model_repository import CHECKSUMS_FILE, MANIFEST_FILE, ModelRepository
from tests.support.contract_examples import manifest, publish, write_version


@pytest.fixture
def repository(tmp_path: Path) -> ModelRepository:
    """An empty repository whose root does not exist yet."""
    return ModelRepository(tmp_path / "models")


def staging_areas(repository: ModelRepository) -> list[Path]:
    area = repository.root / ".staging"
    return list(area.iterdir()) if area.exists() else []


@pytest.mark.parametrize("place", [".", "models", "models/.staging", "models/digits"])
def test_where_nothing_can_be_published_is_told_with_what_to_do(
    repository: ModelRepository, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.check_writable(["digits"])
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    # Root may write everywhere, and tests may be run by root.
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != tmp_path / place)
    with pytest.raises(RepositoryError) as refused:
        repository.check_writable(["digits"])
    assert str(refused.value) == (
        f"repository {repository.root} cannot be published to: {tmp_path / place} may not be written to; give this "
        "user the right to, or name another folder with --repository"
    )


def test_a_file_in_the_place_of_a_folder_is_told_before_publishing(repository: ModelRepository) -> None:
    repository.root.mkdir()
    (repository.root / ".staging").write_text("in the way")
    with pytest.raises(RepositoryError, match=r"\.staging is no folder"):
        repository.check_writable()
    assert not (repository.root / "digits").exists()


def test_a_root_that_does_not_exist_holds_nothing(repository: ModelRepository) -> None:
    assert repository.models() == ()
    assert repository.versions("letters") == ()
    with pytest.raises(ModelMissing, match=r"no version in repository .*models \(models there: none\)"):
        repository.latest("letters")


def test_published_versions_are_listed_and_counted_up(repository: ModelRepository) -> None:
    assert [publish(repository) for _ in range(3)] == [1, 2, 3]
    assert publish(repository, version=10) == 10
    assert publish(repository) == 11
    assert repository.models() == ("letters",)
    assert repository.versions("letters") == (1, 2, 3, 10, 11)
    assert repository.latest("letters") == 11
    assert repository.manifest("letters", 3) == manifest()
    assert repository.path("letters", 3) == repository.root / "letters" / "3"


def test_what_is_missing_is_said_with_what_there_is(repository: ModelRepository) -> None:
    publish(repository)
    publish(repository)
    with pytest.raises(ModelMissing, match=r"'digits' has no version .*\(models there: letters\)"):
        repository.path("digits", 1)
    with pytest.raises(VersionMissing, match=r"'letters' has no version 7 .*\(versions there: 1, 2\)"):
        repository.manifest("letters", 7)


def test_what_is_no_version_is_not_listed(repository: ModelRepository) -> None:
    publish(repository)
    folder = repository.root / "letters"
    for name in ("01", "-1", "v2", "1.5", ".3", "٣"):
        (folder / name).mkdir()
    (folder / "4").write_text("a file")
    (repository.root / "notes").mkdir()
    (repository.root / "README").write_text("a file")
    assert repository.versions("letters") == (1,)
    assert repository.models() == ("letters",)


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "../a", "a b", "ä", "-x", "a" * 64, "a\n"])
def test_a_name_that_cannot_be_a_folder_url_and_label_is_refused(repository: ModelRepository, name: str) -> None:
    for use in (check_model_name, repository.versions, repository.latest):
        with pytest.raises(RepositoryError, match="cannot be a model's name"):
            use(name)
    with pytest.raises(RepositoryError, match="cannot be a model's name"), repository.staging(name):
        pass


@pytest.mark.parametrize("name", ["a", "digits-0to4", "7", "A.b_c-D", "a" * 63])
def test_an_ordinary_name_is_accepted(name: str) -> None:
    assert check_model_name(name) == name


def test_a_version_that_exists_is_not_replaced(repository: ModelRepository) -> None:
    publish(repository, b"old")
    digest = repository.digest("letters", 1)
    with pytest.raises(VersionExists, match="publish under another number"):
        publish(repository, b"new", version=1)
    assert repository.digest("letters", 1) == digest
    assert (repository.path("letters", 1) / "variables" / "data").read_bytes() == b"old"
    assert repository.versions("letters") == (1,)
    assert staging_areas(repository) == []


@pytest.mark.parametrize("version", [-1, 10**18])
def test_a_number_that_no_server_could_read_is_refused(repository: ModelRepository, version: int) -> None:
    with pytest.raises(RepositoryError, match="cannot be a version"):
        publish(repository, version=version)
    assert repository.models() == ()


def test_a_stray_file_that_bears_a_number_does_not_collide(repository: ModelRepository) -> None:
    publish(repository)
    (repository.root / "letters" / "7").write_text("a note somebody left")
    assert publish(repository) == 8
    assert repository.versions("letters") == (1, 8)
    with pytest.raises(VersionExists):
        publish(repository, version=7)
    assert (repository.root / "letters" / "7").read_text() == "a note somebody left"


def test_a_staged_directory_is_removed_when_its_writer_fails(repository: ModelRepository) -> None:
    def write() -> None:
        with repository.staging("letters") as staged:
            write_version(staged)
            assert staging_areas(repository) == [staged]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert staging_areas(repository) == []
    assert repository.models() == ()


def test_staging_is_invisible_and_on_the_same_file_system(repository: ModelRepository) -> None:
    publish(repository)
    with repository.staging("letters") as staged:
        write_version(staged)
        assert repository.models() == ("letters",)
        assert repository.versions("letters") == (1,)
        assert staged.stat().st_dev == (repository.root / "letters").stat().st_dev


def test_only_left_overs_older_than_a_day_are_removed(repository: ModelRepository) -> None:
    old, young = (repository.root / ".staging" / name for name in ("letters-old", "letters-young"))
    for directory, hours in ((old, 25), (young, 23)):
        directory.mkdir(parents=True)
        (directory / "data").write_bytes(b"weights")
        then = time.time() - hours * 3600
        os.utime(directory, (then, then))
    publish(repository)
    assert staging_areas(repository) == [young]


def test_a_directory_without_a_manifest_is_not_published(repository: ModelRepository) -> None:
    with repository.staging("letters") as staged, pytest.raises(RepositoryError, match=r"holds no .*manifest\.json"):
        repository.publish("letters", staged)
    assert repository.models() == ()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (manifest(model="digits").to_json(), RepositoryError("the manifest names model 'digits', not 'letters'")),
        ("{}", InvalidManifest("manifest: schema None is unknown")),
    ],
)
def test_a_directory_with_another_models_manifest_or_a_broken_one_is_not_published(
    repository: ModelRepository, text: str, error: Exception
) -> None:
    with repository.staging("letters") as staged:
        (staged / MANIFEST_FILE.parent).mkdir()
        (staged / MANIFEST_FILE).write_text(text, encoding="utf-8")
        with pytest.raises(type(error), match=re.escape(str(error))):
            repository.publish("letters", staged)
    assert repository.models() == ()


def publish_head(repository: ModelRepository, digest: str, form: str = "on_base") -> int:
    """Publish a head of ``letters`` on ``strokes`` version 1 of that digest."""
    head = manifest(form=form, base=BaseReference("strokes", 1, digest))
    with repository.staging("letters") as staged:
        (staged / MANIFEST_FILE.parent).mkdir()
        (staged / MANIFEST_FILE).write_text(head.to_json(), encoding="utf-8")
        return repository.publish("letters", staged)


def publish_base(repository: ModelRepository) -> str:
    """Publish a version of ``strokes``; return its digest."""
    with repository.staging("strokes") as staged:
        (staged / MANIFEST_FILE.parent).mkdir()
        base = manifest(model="strokes", kind="base", base=None)
        (staged / MANIFEST_FILE).write_text(base.to_json(), encoding="utf-8")
        return repository.digest("strokes", repository.publish("strokes", staged))


def test_a_head_on_a_base_is_published_above_exactly_that_base(repository: ModelRepository) -> None:
    digest = publish_base(repository)
    assert publish_head(repository, digest) == 1
    assert repository.manifest("letters", 1).base == BaseReference("strokes", 1, digest)


def test_a_head_on_a_base_is_refused_without_that_base(repository: ModelRepository) -> None:
    with pytest.raises(ModelMissing, match="'strokes' has no version"):
        publish_head(repository, "sha256:0")
    digest = publish_base(repository)
    with pytest.raises(BaseDiffers, match=rf"strokes/1 with digest sha256:0, but the one .* has {digest}; publish"):
        publish_head(repository, "sha256:0")
    assert repository.models() == ("strokes",)
    assert staging_areas(repository) == []


def test_a_standalone_head_needs_no_base_beside_it(repository: ModelRepository) -> None:
    assert publish_head(repository, "sha256:0", form="standalone") == 1


def test_a_manifest_that_is_gone_or_broken_is_said_with_its_path(repository: ModelRepository) -> None:
    publish(repository)
    path = repository.path("letters", 1) / MANIFEST_FILE
    path.write_text('{"schema": 9}')
    with pytest.raises(InvalidManifest, match=f"{re.escape(str(path))}: .*schema 9"):
        repository.manifest("letters", 1)
    path.unlink()
    with pytest.raises(RepositoryError, match=f"{re.escape(str(path))} cannot be read"):
        repository.manifest("letters", 1)


def test_publishers_at_the_same_time_all_complete_with_different_versions(repository: ModelRepository) -> None:
    threads, rounds = 8, 6
    numbers: dict[int, bytes] = {}
    start = threading.Barrier(threads)

    def work(worker: int) -> None:
        start.wait()
        for turn in range(rounds):
            content = f"worker {worker} turn {turn}".encode()
            numbers[publish(repository, content)] = content

    workers = [threading.Thread(target=work, args=(worker,)) for worker in range(threads)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    assert sorted(numbers) == list(range(1, threads * rounds + 1))
    assert repository.versions("letters") == tuple(sorted(numbers))
    for number, content in numbers.items():
        repository.verify("letters", number)
        assert (repository.path("letters", number) / "variables" / "data").read_bytes() == content
    assert staging_areas(repository) == []


def test_of_two_publishers_of_one_number_one_wins_whole(repository: ModelRepository) -> None:
    outcomes: list[bytes] = []
    start = threading.Barrier(2)

    def work(content: bytes) -> None:
        with repository.staging("letters") as staged:
            write_version(staged, content)
            start.wait()
            try:
                repository.publish("letters", staged, 5)
            except VersionExists:
                return
            outcomes.append(content)

    workers = [threading.Thread(target=work, args=(content,)) for content in (b"first", b"second")]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    assert len(outcomes) == 1
    assert (repository.path("letters", 5) / "variables" / "data").read_bytes() == outcomes[0]
    repository.verify("letters", 5)


def test_an_untouched_version_verifies(repository: ModelRepository) -> None:
    publish(repository)
    repository.verify("letters", 1)


def _change(version: Path) -> None:
    (version / "variables" / "data").write_bytes(b"WEIGHTS")


def _add(version: Path) -> None:
    (version / "variables" / "more").touch()


def _remove(version: Path) -> None:
    (version / "variables" / "data").unlink()


def _rename(version: Path) -> None:
    (version / "variables" / "data").rename(version / "variables" / "date")


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (_change, "variables/data"),
        (_add, "variables/more"),
        (_remove, "variables/data"),
        (_rename, "variables/data, variables/date"),
    ],
)
def test_a_changed_version_is_noticed_and_the_file_named(
    repository: ModelRepository, damage: Callable[[Path], None], named: str
) -> None:
    publish(repository)
    damage(repository.path("letters", 1))
    with pytest.raises(VersionDamaged, match=f"differs from what was published: {named}$"):
        repository.verify("letters", 1)


def test_a_damaged_or_missing_checksum_list_is_noticed(repository: ModelRepository) -> None:
    publish(repository)
    path = repository.path("letters", 1) / CHECKSUMS_FILE
    path.write_bytes(b"\xff" + path.read_bytes()[1:])
    with pytest.raises(VersionDamaged):
        repository.verify("letters", 1)
    path.unlink()
    with pytest.raises(RepositoryError, match="was it exported by Headway"):
        repository.verify("letters", 1)


def test_the_digest_names_the_content(repository: ModelRepository) -> None:
    for content in (b"one", b"two", b"one"):
        publish(repository, content)
    first, second, third = (repository.digest("letters", number) for number in (1, 2, 3))
    assert first == third != second
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", first)


def test_sha256sum_reads_the_checksum_list(repository: ModelRepository) -> None:
    publish(repository)
    version = repository.path("letters", 1)

    def check() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sha256sum", "-c", str(CHECKSUMS_FILE)], cwd=version, capture_output=True, text=True, check=False
        )

    assert check().stdout.splitlines() == ["assets.extra/manifest.json: OK", "variables/data: OK"]
    _change(version)
    assert check().returncode == 1


def test_a_published_version_can_be_read_by_other_users(repository: ModelRepository) -> None:
    publish(repository)
    version = repository.path("letters", 1)
    assert version.stat().st_mode & 0o777 == 0o755
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in version.rglob("*"))
