"""A version may be asked only when every model server has it, and the base that it stands on."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from headway_serving.core.catalog import VersionStates
from headway_serving.operations.version_loading import NotLoaded, wait_until_loaded
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
def test_what_one_server_lacks_is_named(servers: Mapping[str, VersionStates], why: str) -> None:
    with pytest.raises(NotLoaded, match=why):
        wait_until_loaded(servers, BOTH, 0.3)


def test_a_base_that_comes_later_than_its_head_is_waited_for() -> None:
    class Loading(FakePredictor):
        def version_states(self, model: str, timeout: float) -> dict[int, str]:
            # Two looks find the base loading, the third finds it loaded.
            state = "AVAILABLE" if len(self.timeouts) >= 3 else "LOADING"
            self.models = {**self.models, "strokes": {1: replace(scripted_version(), state=state)}}
            return super().version_states(model, timeout)

    loading = Loading({"digits": {2: scripted_version()}, "strokes": {1: scripted_version()}})
    wait_until_loaded({"a": loading}, BOTH, 60.0)
    assert loading.version_states("strokes", 1.0) == {1: "AVAILABLE"}
    assert len(loading.timeouts) == 5
