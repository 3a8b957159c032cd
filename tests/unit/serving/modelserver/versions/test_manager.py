"""Versions come and go without a gap, and requests end on the version they began with."""

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from headway_serving.modelserver.errors import Code, StatusError
from headway_serving.modelserver.versions.manager import RetryPolicy, VersionManager
from headway_serving.modelserver.versions.policy import State
from tests.support.waiting import eventually
from tests.unit.serving.modelserver.fake_loader import FakeLoader, FakeServable

Manager = VersionManager[FakeServable]


@pytest.fixture
def loader() -> FakeLoader:
    return FakeLoader()


@pytest.fixture
def manager(loader: FakeLoader) -> Iterator[Manager]:
    manager = VersionManager(loader, RetryPolicy(retries=2, interval_seconds=-1))
    manager.start(load_threads=0)
    yield manager
    manager.stop()


@pytest.fixture
def versions(tmp_path: Path) -> dict[int, Path]:
    """Three good version directories, 1 to 3; number 9 is empty and so broken."""
    for number in (1, 2, 3, 9):
        (tmp_path / str(number)).mkdir()
        if number != 9:
            (tmp_path / str(number) / "saved_model.pb").touch()
    return {number: tmp_path / str(number) for number in (1, 2, 3, 9)}


def aspire(manager: Manager, versions: dict[int, Path], *numbers: int) -> None:
    manager.set_aspired("digits", {number: versions[number] for number in numbers})


def states(manager: Manager) -> dict[int, State]:
    return {status.number: status.state for status in manager.statuses("digits")}


def wait_for(manager: Manager, expected: dict[int, State]) -> None:
    eventually(lambda: states(manager) == expected, f"{expected}, but {states(manager)}")


def test_an_aspired_version_becomes_available_and_the_highest_is_the_latest(
    manager: Manager, versions: dict[int, Path]
) -> None:
    aspire(manager, versions, 1, 2)
    wait_for(manager, {2: State.AVAILABLE, 1: State.AVAILABLE})
    with manager.acquire("digits") as latest, manager.acquire("digits", 1) as first:
        assert (latest.number, first.number) == (2, 1)
        assert latest.servable.directory == versions[2]


@pytest.mark.parametrize(
    ("name", "number", "text"),
    [
        ("digits", 7, "Specific(digits, 7)"),
        ("letters", None, "Latest(letters)"),
        ("letters", 1, "Specific(letters, 1)"),
    ],
)
def test_what_is_not_loaded_is_not_found(
    manager: Manager, versions: dict[int, Path], name: Any, number: Any, text: Any
) -> None:
    aspire(manager, versions, 1)
    wait_for(manager, {1: State.AVAILABLE})
    with pytest.raises(StatusError) as caught, manager.acquire(name, number):
        pass
    assert str(caught.value) == f"NOT_FOUND: Servable not found for request: {text}"


def test_the_new_version_serves_before_the_old_one_goes(
    manager: Manager, loader: FakeLoader, versions: dict[int, Path]
) -> None:
    aspire(manager, versions, 1)
    wait_for(manager, {1: State.AVAILABLE})
    loader.hold(versions[2])
    aspire(manager, versions, 2)
    wait_for(manager, {2: State.LOADING, 1: State.AVAILABLE})
    with manager.acquire("digits") as handle:
        assert handle.number == 1
    loader.release(versions[2])
    wait_for(manager, {2: State.AVAILABLE, 1: State.END})
    assert [servable.closed for servable in loader.servables] == [True, False]


def test_a_request_ends_on_the_version_it_began_with(
    manager: Manager, loader: FakeLoader, versions: dict[int, Path]
) -> None:
    aspire(manager, versions, 1)
    wait_for(manager, {1: State.AVAILABLE})
    with manager.acquire("digits") as handle:
        aspire(manager, versions, 2)
        wait_for(manager, {2: State.AVAILABLE, 1: State.UNLOADING})
        assert not handle.servable.closed
        with manager.acquire("digits") as newer:
            assert newer.number == 2
        with pytest.raises(StatusError), manager.acquire("digits", 1):
            pass
        assert manager.busy()
    wait_for(manager, {2: State.AVAILABLE, 1: State.END})
    assert loader.servables[0].closed
    assert not manager.busy()


def test_a_broken_version_ends_with_its_error_while_the_old_one_serves_on(
    manager: Manager, loader: FakeLoader, versions: dict[int, Path]
) -> None:
    aspire(manager, versions, 1)
    wait_for(manager, {1: State.AVAILABLE})
    aspire(manager, versions, 9)
    wait_for(manager, {9: State.END, 1: State.AVAILABLE})
    broken = manager.statuses("digits")[0]
    assert broken.error is not None
    assert broken.error.code is Code.NOT_FOUND
    assert loader.loads.count(versions[9]) == 3, "one load and two retries"


def test_a_broken_version_is_tried_again_only_after_it_was_away(
    manager: Manager, loader: FakeLoader, versions: dict[int, Path]
) -> None:
    aspire(manager, versions, 1, 9)
    wait_for(manager, {9: State.END, 1: State.AVAILABLE})
    (versions[9] / "saved_model.pb").touch()
    aspire(manager, versions, 1, 9)
    aspire(manager, versions, 1, 2, 9)
    wait_for(manager, {9: State.END, 2: State.AVAILABLE, 1: State.AVAILABLE})
    aspire(manager, versions, 1, 2)
    aspire(manager, versions, 1, 2, 9)
    wait_for(manager, {9: State.AVAILABLE, 2: State.AVAILABLE, 1: State.AVAILABLE})


def test_retries_stop_when_the_version_is_no_longer_wanted(loader: FakeLoader, versions: dict[int, Path]) -> None:
    manager = VersionManager(loader, RetryPolicy(retries=5, interval_seconds=3600))
    manager.start(load_threads=0)
    aspire(manager, versions, 9)
    eventually(lambda: loader.loads == [versions[9]], "the first try")
    aspire(manager, versions, 1)
    wait_for(manager, {9: State.END, 1: State.AVAILABLE})
    assert loader.loads == [versions[9], versions[1]]
    manager.stop()


def test_a_version_that_is_wanted_again_before_it_went_just_stays(
    manager: Manager, loader: FakeLoader, versions: dict[int, Path]
) -> None:
    aspire(manager, versions, 1)
    wait_for(manager, {1: State.AVAILABLE})
    aspire(manager, versions, 9)
    wait_for(manager, {9: State.END, 1: State.AVAILABLE})
    aspire(manager, versions, 1)
    aspire(manager, versions, 1, 2)
    wait_for(manager, {9: State.END, 2: State.AVAILABLE, 1: State.AVAILABLE})
    assert loader.loads.count(versions[1]) == 1


def test_a_version_wanted_again_while_it_goes_is_loaded_anew(
    manager: Manager, loader: FakeLoader, versions: dict[int, Path]
) -> None:
    aspire(manager, versions, 1)
    wait_for(manager, {1: State.AVAILABLE})
    with manager.acquire("digits"):
        aspire(manager, versions)
        wait_for(manager, {1: State.UNLOADING})
        aspire(manager, versions, 1)
    wait_for(manager, {1: State.AVAILABLE})
    assert [servable.closed for servable in loader.servables] == [True, False]


def test_with_load_threads_one_slow_load_does_not_hold_up_the_rest(
    loader: FakeLoader, versions: dict[int, Path]
) -> None:
    manager = VersionManager(loader, RetryPolicy())
    manager.start(load_threads=2)
    loader.hold(versions[3])
    aspire(manager, versions, 2, 3)
    wait_for(manager, {3: State.LOADING, 2: State.AVAILABLE})
    loader.release(versions[3])
    wait_for(manager, {3: State.AVAILABLE, 2: State.AVAILABLE})
    manager.stop()


def test_waiting_ends_with_the_failures_once_every_model_is_decided(
    manager: Manager, versions: dict[int, Path]
) -> None:
    manager.set_aspired("good", {1: versions[1]})
    manager.set_aspired("bad", {9: versions[9]})
    failed = manager.wait_until_settled(["good", "bad"], give_up=lambda: False)
    assert [(status.name, status.number) for status in failed] == [("bad", 9)]


def test_a_model_of_an_earlier_configuration_does_not_count_as_failed(
    manager: Manager, versions: dict[int, Path]
) -> None:
    aspire(manager, versions, 1)
    wait_for(manager, {1: State.AVAILABLE})
    aspire(manager, versions)
    wait_for(manager, {1: State.END})
    waited = threading.Event()

    def wait() -> None:
        assert manager.wait_until_settled(["digits"], give_up=lambda: False) == []
        waited.set()

    thread = threading.Thread(target=wait)
    thread.start()
    aspire(manager, versions, 1)
    thread.join(timeout=30)
    assert waited.is_set()


def test_waiting_for_a_model_without_versions_ends_when_the_caller_gives_up_or_the_server_stops(
    manager: Manager,
) -> None:
    with pytest.raises(StatusError) as caught:
        manager.wait_until_settled(["nothing"], give_up=lambda: True)
    assert caught.value.code is Code.CANCELLED
    manager.stop()
    with pytest.raises(StatusError) as caught:
        manager.wait_until_settled(["nothing"], give_up=lambda: False)
    assert caught.value.code is Code.UNAVAILABLE


def test_hundreds_of_requests_across_many_swaps_never_miss(manager: Manager, versions: dict[int, Path]) -> None:
    aspire(manager, versions, 1)
    wait_for(manager, {1: State.AVAILABLE})
    stop = threading.Event()
    problems: list[object] = []
    served: list[int] = []

    def request() -> None:
        while not stop.is_set():
            try:
                with manager.acquire("digits") as handle:
                    served.append(handle.number)
                    if handle.servable.closed or handle.servable.directory != versions[handle.number]:
                        problems.append(handle)
            except StatusError as error:
                problems.append(error)

    threads = [threading.Thread(target=request) for _ in range(4)]
    for thread in threads:
        thread.start()
    for swap in range(30):
        number = swap % 3 + 1
        aspire(manager, versions, number)
        eventually(partial(manager.is_available, "digits", number), f"version {number}")
    stop.set()
    for thread in threads:
        thread.join(timeout=30)
    assert problems == []
    assert set(served) == {1, 2, 3}


@pytest.fixture
def isolating(loader: FakeLoader) -> Iterator[Manager]:
    """Waits an hour before it tries a broken version again."""
    manager = VersionManager(loader, RetryPolicy(retries=5, interval_seconds=3600), isolate=True)
    manager.start(load_threads=0)
    yield manager
    manager.stop()


def test_in_isolation_a_version_that_waits_for_its_next_try_holds_up_nothing(
    isolating: Manager, loader: FakeLoader, versions: dict[int, Path]
) -> None:
    isolating.set_aspired("bad", {9: versions[9]})
    eventually(lambda: loader.loads == [versions[9]], "the first try")
    aspire(isolating, versions, 1)
    wait_for(isolating, {1: State.AVAILABLE})
    aspire(isolating, versions, 2)
    wait_for(isolating, {2: State.AVAILABLE, 1: State.END})
    assert [status.state for status in isolating.statuses("bad")] == [State.LOADING]


def test_in_isolation_a_first_failed_try_is_a_verdict(isolating: Manager, versions: dict[int, Path]) -> None:
    isolating.set_aspired("bad", {9: versions[9]})
    (failed,) = isolating.wait_until_settled(["bad"], give_up=lambda: False)
    assert (failed.name, failed.state) == ("bad", State.LOADING)
    assert failed.error is not None
    assert failed.error.code is Code.NOT_FOUND


def test_in_isolation_loads_still_take_turns(isolating: Manager, loader: FakeLoader, versions: dict[int, Path]) -> None:
    loader.hold(versions[3])
    aspire(isolating, versions, 2, 3)
    eventually(lambda: loader.loads == [versions[3]], "the first load")
    wait_for(isolating, {3: State.LOADING, 2: State.LOADING})
    assert loader.loads == [versions[3]]
    loader.release(versions[3])
    wait_for(isolating, {3: State.AVAILABLE, 2: State.AVAILABLE})
