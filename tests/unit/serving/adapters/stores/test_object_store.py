"""Versions in an object store: what is half there is not there, and what is there is what was published."""

import functools
import http.server
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from headway_contract.errors import BaseDiffers, ModelMissing, RepositoryError, VersionDamaged, VersionExists
from headway_contract.model_manifest import BaseReference
from headway_contract.model_repository import MANIFEST_FILE, ModelRepository
from headway_serving.adapters.stores.errors import StoreUnavailable
from headway_serving.adapters.stores.folder import FolderStore
from headway_serving.adapters.stores.object_store import ObjectStore
from tests.support.contract_examples import manifest, publish

SUMS = "assets.extra/SHA256SUMS"


def nothing(_: int) -> None:
    pass


@pytest.fixture
def local(tmp_path: Path) -> ModelRepository:
    made = ModelRepository(tmp_path / "here")
    publish(made)
    return made


@pytest.fixture
def url() -> Iterator[str]:
    root = f"memory://{uuid.uuid4().hex}"
    files = fsspec.filesystem("memory")
    files.mkdirs(root)
    yield f"{root}/models"
    files.rm(root, recursive=True)


def pushed(local: ModelRepository, url: str) -> ObjectStore:
    store = ObjectStore(url)
    store.receive("letters", 1, FolderStore(local.root), nothing)
    return store


def test_what_was_pushed_comes_back_as_it_was_published(local: ModelRepository, url: str, tmp_path: Path) -> None:
    store = pushed(local, url)
    assert store.versions() == {("letters", 1)}
    back = ModelRepository(tmp_path / "back")
    with FolderStore(back.root).exclusive():
        FolderStore(back.root).receive("letters", 1, store, nothing)
    back.verify("letters", 1)
    assert back.digest("letters", 1) == local.digest("letters", 1)


def test_a_version_without_its_list_is_not_there(local: ModelRepository, url: str) -> None:
    store = pushed(local, url)
    fsspec.filesystem("memory").rm(f"{url}/letters/1/{SUMS}")
    assert store.versions() == frozenset()
    with pytest.raises(RepositoryError, match="is not there"):
        store.read("letters", 1, SUMS)
    store.receive("letters", 1, FolderStore(local.root), nothing)
    assert store.versions() == {("letters", 1)}


def test_the_list_is_written_last_and_removed_first(
    local: ModelRepository, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, done = ObjectStore(url), list[str]()
    kind = type(fsspec.filesystem("memory"))
    for name in ("put_file", "pipe_file", "rm_file", "rm"):

        def noted(self: object, *paths: str, name: str = name, before: object = getattr(kind, name), **rest: object):  # type: ignore[no-untyped-def]
            done.append(f"{name} {paths[1] if name == 'put_file' else paths[0]}")
            return before(self, *paths, **rest)  # type: ignore[operator]

        monkeypatch.setattr(kind, name, noted)
    store.receive("letters", 1, FolderStore(local.root), nothing)
    writes = [each for each in done if each.startswith(("put_file", "pipe_file"))]
    assert writes[-1].endswith(SUMS)
    assert len(writes) == 3
    assert not [each for each in writes[:-1] if each.endswith(SUMS)]
    done.clear()
    store.remove("letters", 1)
    assert done[0].startswith("rm_file")
    assert done[0].endswith(SUMS)
    assert store.versions() == frozenset()


def test_a_damaged_version_is_neither_pushed_nor_made_visible(local: ModelRepository, url: str, tmp_path: Path) -> None:
    store = pushed(local, url)
    fsspec.filesystem("memory").pipe_file(f"{url}/letters/1/variables/data", b"weighty")
    back = FolderStore(tmp_path / "back")
    with back.exclusive(), pytest.raises(VersionDamaged, match="variables/data"):
        back.receive("letters", 1, store, nothing)
    assert back.versions() == frozenset()
    with pytest.raises(VersionDamaged), store.at("letters", 1):
        pass
    (local.path("letters", 1) / "variables/data").write_bytes(b"others")
    with pytest.raises(VersionDamaged):
        ObjectStore(f"{url}2").receive("letters", 1, FolderStore(local.root), nothing)


@pytest.mark.parametrize(
    "line", ["../../../stolen", "/etc/stolen", "a//b", "a/./b", "..\\stolen", SUMS, "a\x00b", "no digest"]
)
def test_a_list_that_leads_elsewhere_is_refused(line: str, local: ModelRepository, url: str, tmp_path: Path) -> None:
    store = pushed(local, url)
    content = store.read("letters", 1, SUMS) + (f"{'0' * 64}  {line}\n" if " " not in line else f"{line}\n").encode()
    fsspec.filesystem("memory").pipe_file(f"{url}/letters/1/{SUMS}", content)
    (tmp_path / "into").mkdir()
    with pytest.raises(VersionDamaged):
        store.fetch("letters", 1, tmp_path / "into", nothing)
    assert not list((tmp_path / "into").iterdir())


def test_of_two_who_push_one_number_one_wins(local: ModelRepository, url: str) -> None:
    store = pushed(local, url)
    with pytest.raises(VersionExists, match="somebody else"):
        store.receive("letters", 1, FolderStore(local.root), nothing)


def test_a_head_needs_its_base_there(local: ModelRepository, url: str) -> None:
    base = ModelRepository(local.root)
    with base.staging("strokes") as staged:
        (staged / MANIFEST_FILE.parent).mkdir()
        document = manifest(model="strokes", kind="base", base=None)
        (staged / MANIFEST_FILE).write_text(document.to_json(), encoding="utf-8")
        base.publish("strokes", staged, 3)
    with base.staging("letters") as staged:
        (staged / MANIFEST_FILE.parent).mkdir()
        document = manifest(form="on_base", base=BaseReference("strokes", 3, base.digest("strokes", 3)))
        (staged / MANIFEST_FILE).write_text(document.to_json(), encoding="utf-8")
        base.publish("letters", staged, 2)
    store, here = ObjectStore(url), FolderStore(local.root)
    with pytest.raises(ModelMissing, match="push it too"):
        store.receive("letters", 2, here, nothing)
    store.receive("strokes", 3, here, nothing)
    store.receive("letters", 2, here, nothing)
    fsspec.filesystem("memory").rm(f"{url}/letters", recursive=True)
    fsspec.filesystem("memory").pipe_file(f"{url}/strokes/3/{SUMS}", b"another")
    with pytest.raises(BaseDiffers, match="sha256:"):
        store.receive("letters", 2, here, nothing)


def test_a_bucket_that_is_not_there_is_not_an_empty_one() -> None:
    with pytest.raises(StoreUnavailable, match="is not there"):
        ObjectStore("memory://no-such-bucket/models").versions()


def test_a_scheme_that_nobody_knows_is_refused_by_name() -> None:
    with pytest.raises(StoreUnavailable, match="nfs://models"):
        ObjectStore("nfs://models")


def test_a_web_server_is_read_from_and_never_written_to(local: ModelRepository, tmp_path: Path) -> None:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(local.root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        store, back = ObjectStore(f"http://127.0.0.1:{server.server_port}"), FolderStore(tmp_path / "back")
        assert store.versions() == {("letters", 1)}
        with back.exclusive():
            back.receive("letters", 1, store, nothing)
        with pytest.raises(StoreUnavailable, match="only read"), store.exclusive():
            pass
        server.shutdown()
    ModelRepository(tmp_path / "back").verify("letters", 1)
