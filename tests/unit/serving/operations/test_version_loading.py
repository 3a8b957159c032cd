"""A version may be asked only when every model server has it, and the base that it stands on."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from headway_serving.core.errors import ModelUnavailable
from headway_serving.operations.version_loading import (
    LoadingStates,
    NotLoaded,
    wait_until_loaded,
    wait_until_unloaded,
)
from tests.fakes.scripted_models import scripted_version
from tests.fakes.tfserving_predictor import FakePredictor

BOTH = [("digits", 2), ("strokes", 1)]


def server(**versions: tuple[int, ...]) -> FakePredictor:
    return FakePredictor({name: {number: scripted_version() for number in each} for name, each in versions.items()})


def test_what_every_server_has_is_loaded() -> None:
    wait_until_loaded({"a": server(digits=(1, 2), strokes=(1,)), "b": server(digits=(2,), strokes=(1,))}, BOTH, 0.0)


@pytest.mark.parametrize(
    ("servers", "why"),
    [
        ({"a": server(digits=(2,), strokes=(1,)), "b": server(digits=(1,))}, "version 2 of 'digits' .*: b: not loaded"),
        ({"a": server(digits=(2,), strokes=(2,))}, "version 1 of 'strokes' .*: a: not loaded"),
        ({"a": server(digits=(2,))}, "version 1 of 'strokes' was not loaded within 0.3 s: a: "),
    ],
    ids=["one server lacks it", "another version of the base", "no base"],
)
def test_what_one_server_lacks_is_named(servers: Mapping[str, LoadingStates], why: str) -> None:
    with pytest.raises(NotLoaded, match=why):
        wait_until_loaded(servers, BOTH, 0.3)


class Scripted(FakePredictor):
    """``strokes`` 1 is in each state of ``script`` for one look; (END, why) is a load that failed."""

    def __init__(self, *script: str | tuple[str, str]) -> None:
        super().__init__({"digits": {2: scripted_version()}})
        self.script = list(script)
        self.looks = 0

    def version_states(self, model: str, timeout: float) -> dict[int, str]:
        if model == "strokes":
            self._show(self.script[min(self.looks, len(self.script) - 1)])
            self.looks += 1
        return super().version_states(model, timeout)

    def _show(self, entry: str | tuple[str, str]) -> None:
        state, failure = (entry, "") if isinstance(entry, str) else entry
        self.models = {**self.models, "strokes": {1: replace(scripted_version(), state=state, failure=failure)}}


class Time:
    """Passes when somebody sleeps."""

    now = 0.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_base_that_comes_later_than_its_head_is_waited_for() -> None:
    loading, time = Scripted("LOADING", "LOADING", "AVAILABLE"), Time()
    wait_until_loaded({"a": loading}, BOTH, 60.0, time.clock, time.sleep)
    assert loading.looks == 3


def test_a_load_that_failed_is_told_at_once_with_the_reason() -> None:
    failing, time = Scripted("LOADING", "LOADING", ("END", "No such file: variables.index")), Time()
    with pytest.raises(NotLoaded, match="version 1 of 'strokes' cannot be loaded: a: No such file"):
        wait_until_loaded({"a": failing}, BOTH, 60.0, time.clock, time.sleep)
    assert time.now < 1


def test_the_failure_of_an_earlier_try_is_not_taken_for_this_one() -> None:
    loading, time = Scripted(("END", "disk full"), "LOADING", "AVAILABLE"), Time()
    loading._show(("END", "disk full"))
    wait_until_loaded({"a": loading}, BOTH, 60.0, time.clock, time.sleep)


def test_a_failure_that_stays_is_told_long_before_the_time_is_over() -> None:
    failing, time = Scripted(("END", "disk full")), Time()
    failing._show(("END", "disk full"))
    with pytest.raises(NotLoaded, match="cannot be loaded: a: disk full"):
        wait_until_loaded({"a": failing}, BOTH, 60.0, time.clock, time.sleep)
    assert time.now < 10


class Ending(Scripted):
    """A model server that answers so often, and is gone then."""

    def __init__(self, answers: int) -> None:
        super().__init__("LOADING")
        self.answers = answers

    def version_states(self, model: str, timeout: float) -> dict[int, str]:
        if self.looks >= self.answers and model == "strokes":
            raise ModelUnavailable("the model server cannot answer now")
        return super().version_states(model, timeout)


def test_a_model_server_that_ends_over_the_version_is_not_left_to_end_again() -> None:
    ending, time = Ending(2), Time()
    with pytest.raises(NotLoaded, match="version 1 of 'strokes' cannot be loaded: a: the model server ended while"):
        wait_until_loaded({"a": ending}, BOTH, 60.0, time.clock, time.sleep)
    assert time.now < 3
    never, time = Ending(0), Time()
    with pytest.raises(NotLoaded, match="was not loaded within 9 s"):
        wait_until_loaded({"a": never}, [("strokes", 1)], 9.0, time.clock, time.sleep)


def test_what_is_unloaded_is_waited_for() -> None:
    unloading, time = Scripted("AVAILABLE", "UNLOADING", "END"), Time()
    wait_until_unloaded({"a": unloading}, [("strokes", 1), ("digits", 7)], 60.0, time.clock, time.sleep)
    assert unloading.looks == 3
    with pytest.raises(NotLoaded, match="version 2 of 'digits' was not unloaded within 1 s at a"):
        wait_until_unloaded({"a": unloading}, [("digits", 2)], 1.0, time.clock, time.sleep)
