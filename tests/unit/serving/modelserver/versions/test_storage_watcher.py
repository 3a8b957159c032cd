"""What the storage holds becomes what is aspired, all models at a time."""

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from headway_serving.modelserver.errors import StatusError
from headway_serving.modelserver.versions.model_config import ModelConfig, Specific
from headway_serving.modelserver.versions.storage_watcher import StorageWatcher, find_versions
from tests.support.waiting import eventually


class Aspired:
    """Records what a watcher aspires."""

    def __init__(self) -> None:
        self.latest: dict[str, dict[int, Path]] = {}
        self.calls = 0
        self._lock = threading.Lock()

    def __call__(self, name: str, versions: Mapping[int, Path]) -> None:
        with self._lock:
            self.latest[name] = dict(versions)
            self.calls += 1


@pytest.fixture
def aspired() -> Aspired:
    return Aspired()


@pytest.fixture
def watcher(aspired: Aspired) -> Iterator[StorageWatcher]:
    watcher = StorageWatcher(aspired, poll_wait_seconds=0.02)
    watcher.start()
    yield watcher
    watcher.stop()


def test_new_and_deleted_directories_are_seen(watcher: StorageWatcher, aspired: Aspired, tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    watcher.watch([ModelConfig("digits", str(tmp_path))])
    eventually(lambda: aspired.latest.get("digits") == {1: tmp_path / "1"}, "version 1")
    (tmp_path / "2").mkdir()
    eventually(lambda: aspired.latest["digits"] == {2: tmp_path / "2"}, "version 2")
    (tmp_path / "2").rmdir()
    eventually(lambda: aspired.latest["digits"] == {1: tmp_path / "1"}, "back to version 1")


def test_a_missing_base_path_freezes_every_model(
    watcher: StorageWatcher, aspired: Aspired, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a" / "1").mkdir(parents=True)
    good, missing = ModelConfig("a", str(tmp_path / "a")), ModelConfig("b", str(tmp_path / "b"))
    watcher.watch([good, missing])
    eventually(lambda: "Could not find base path" in caplog.text, "the complaint")
    assert aspired.calls == 0
    (tmp_path / "b" / "7").mkdir(parents=True)
    eventually(lambda: set(aspired.latest) == {"a", "b"}, "both models")


def test_of_a_dropped_model_nothing_is_aspired(watcher: StorageWatcher, aspired: Aspired, tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    watcher.watch([ModelConfig("digits", str(tmp_path))])
    eventually(lambda: aspired.latest.get("digits"), "version 1")
    watcher.watch([])
    assert aspired.latest["digits"] == {}


def test_zero_seconds_looks_once_after_each_change_and_a_negative_number_never(
    aspired: Aspired, tmp_path: Path
) -> None:
    (tmp_path / "1").mkdir()
    once = StorageWatcher(aspired, poll_wait_seconds=0)
    once.watch([ModelConfig("digits", str(tmp_path))])
    once.start()
    eventually(lambda: aspired.calls == 1, "the look")
    never = StorageWatcher(aspired, poll_wait_seconds=-1)
    never.start()
    never.watch([ModelConfig("digits", str(tmp_path))])
    once.watch([ModelConfig("letters", str(tmp_path))])
    eventually(lambda: aspired.latest.get("letters"), "the look after a change")
    assert aspired.latest["digits"] == {}
    once.stop()


def test_the_complaint_names_path_model_and_cause(tmp_path: Path) -> None:
    with pytest.raises(StatusError) as caught:
        find_versions(ModelConfig("digits", "/no/such/place"))
    assert caught.value.message == (
        "Could not find base path /no/such/place for servable digits with error NOT_FOUND: /no/such/place not found"
    )


@pytest.fixture
def isolating(aspired: Aspired) -> StorageWatcher:
    """Looks only when it is told to."""
    return StorageWatcher(aspired, poll_wait_seconds=-1, isolate=True)


def test_in_isolation_a_missing_base_path_concerns_its_model_alone(
    isolating: StorageWatcher, aspired: Aspired, tmp_path: Path
) -> None:
    (tmp_path / "a" / "1").mkdir(parents=True)
    isolating.watch([ModelConfig("b", str(tmp_path / "b")), ModelConfig("a", str(tmp_path / "a"))])
    isolating.look()
    assert aspired.latest == {"a": {1: tmp_path / "a" / "1"}}


def test_in_isolation_versions_that_all_disappear_stay_aspired(
    isolating: StorageWatcher, aspired: Aspired, tmp_path: Path
) -> None:
    (tmp_path / "1").mkdir()
    model = ModelConfig("digits", str(tmp_path))
    isolating.watch([model])
    isolating.look()
    (tmp_path / "1").rmdir()
    isolating.look()
    tmp_path.rmdir()
    isolating.look()
    assert aspired.latest == {"digits": {1: tmp_path / "1"}}
    isolating.watch([ModelConfig("digits", str(tmp_path), Specific(frozenset()))])
    tmp_path.mkdir()
    isolating.look()
    assert aspired.latest == {"digits": {}}, "a configuration that wants nothing means it"


def test_specific_versions_are_found_without_a_listing(tmp_path: Path) -> None:
    for name in ("1", "0002", "3"):
        (tmp_path / name).mkdir()
    specific = ModelConfig("digits", str(tmp_path), Specific(frozenset({1, 3})))
    assert find_versions(specific) == {1: tmp_path / "1", 3: tmp_path / "3"}
    padded = ModelConfig("digits", str(tmp_path), Specific(frozenset({1, 2, 9})))
    assert find_versions(padded) == {1: tmp_path / "1", 2: tmp_path / "0002"}
