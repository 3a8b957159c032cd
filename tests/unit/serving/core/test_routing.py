"""Which version answers: the order of the rules, and the sticky, monotone, even split of the weighted arm."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway_serving.core.errors import LabelNotFound, ModelNotFound
from headway_serving.core.routing import Arm, Candidate, ModelRoutes, Pin, Route, RouteTable, position

KEYS = [f"user-{number}" for number in range(20_000)]
NO_PIN = Pin()


def split(weight: float) -> RouteTable:
    routes = ModelRoutes(stable=1, candidate=Candidate(2, weight), labels={"old": 7, "canary": 2})
    return RouteTable({"digits": routes, "letters": routes})


def within_bounds(count: int, share: float, total: int) -> bool:
    """Within 4.5 standard deviations of a binomial count: one honest hash in 150,000 would fail."""
    return abs(count - total * share) <= 4.5 * math.sqrt(total * share * (1 - share))


def test_a_pinned_version_beats_a_label_and_the_weight() -> None:
    route = split(1.0).choose("digits", Pin(version=9, label="old"), "key")
    assert route == Route("digits", 9, Arm.PINNED, "version")


def test_a_label_beats_the_weight() -> None:
    assert split(1.0).choose("digits", Pin(label="old"), "key") == Route("digits", 7, Arm.PINNED, "label")


def test_a_weight_beats_stable() -> None:
    assert split(1.0).choose("digits", NO_PIN, "key") == Route("digits", 2, Arm.CANDIDATE, "weight")


def test_without_a_candidate_stable_answers() -> None:
    table = RouteTable({"digits": ModelRoutes(stable=4)})
    assert table.choose("digits", NO_PIN, "key") == Route("digits", 4, Arm.STABLE, "stable")


@pytest.mark.parametrize(
    ("pin", "version", "arm"),
    [
        (Pin(version=1), 1, Arm.STABLE),
        (Pin(version=2), 2, Arm.CANDIDATE),
        (Pin(label="stable"), 1, Arm.STABLE),
        (Pin(label="candidate"), 2, Arm.CANDIDATE),
        (Pin(label="canary"), 2, Arm.CANDIDATE),
    ],
)
def test_a_pin_on_an_arms_version_counts_for_that_arm(pin: Pin, version: int, arm: Arm) -> None:
    route = split(0.5).choose("digits", pin, "key")
    assert (route.version, route.arm) == (version, arm)


def test_an_unknown_model_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ModelNotFound, match=r"'digit'.*digits, letters"):
        split(0.5).choose("digit", Pin(version=1), "key")


def test_an_unknown_label_is_refused_with_the_labels_there_are() -> None:
    with pytest.raises(LabelNotFound, match=r"'new'.*canary, candidate, old, stable"):
        split(0.5).choose("digits", Pin(label="new"), "key")


def test_without_a_candidate_there_is_no_label_candidate() -> None:
    with pytest.raises(LabelNotFound, match=r"its labels: stable$"):
        RouteTable({"digits": ModelRoutes(stable=4)}).choose("digits", Pin(label="candidate"), "key")


@settings(deadline=None)
@given(key=st.text(), weight=st.floats(0, 1))
def test_a_key_always_meets_the_same_version(key: str, weight: float) -> None:
    assert split(weight).choose("digits", NO_PIN, key) == split(weight).choose("digits", NO_PIN, key)


@settings(deadline=None)
@given(key=st.text(), weights=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_raising_the_weight_only_moves_keys_from_stable_to_candidate(key: str, weights: tuple[float, float]) -> None:
    before, after = (split(weight).choose("digits", NO_PIN, key).arm for weight in sorted(weights))
    assert (before, after) != (Arm.CANDIDATE, Arm.STABLE)


@settings(deadline=None)
@given(key=st.text(), choose=st.sampled_from([(0.0, Arm.STABLE), (1.0, Arm.CANDIDATE)]))
def test_weights_of_0_and_1_are_all_or_nothing(key: str, choose: tuple[float, Arm]) -> None:
    weight, arm = choose
    assert split(weight).choose("digits", NO_PIN, key).arm is arm


@pytest.mark.parametrize("weight", [0.01, 0.05, 0.3, 0.5, 0.9])
def test_the_candidate_gets_its_share_of_keys(weight: float) -> None:
    table = split(weight)
    candidates = sum(table.choose("digits", NO_PIN, key).arm is Arm.CANDIDATE for key in KEYS)
    assert within_bounds(candidates, weight, len(KEYS))


def test_raising_the_weight_from_5_to_25_to_50_flaps_no_key() -> None:
    """A hundred thousand keys: each share within binomial bounds, and whoever met the candidate keeps meeting it."""
    met: set[str] = set()
    keys = [f"user-{number}" for number in range(100_000)]
    for weight in (0.05, 0.25, 0.5):
        table = RouteTable({"digits": ModelRoutes(stable=1, candidate=Candidate(2, weight), salt="2-1760000000")})
        meeting = {key for key in keys if table.choose("digits", NO_PIN, key).arm is Arm.CANDIDATE}
        assert within_bounds(len(meeting), weight, len(keys))
        assert met <= meeting
        met = meeting


def test_another_salt_deals_the_keys_anew() -> None:
    """So that it is not always the same users who meet a new version first."""
    first, second = (
        {key for key in KEYS if position("digits", salt, key) < 0.5} for salt in ("2-1760000000", "3-1770000000")
    )
    assert within_bounds(len(first & second), 0.25, len(KEYS))


def test_two_models_split_the_same_keys_independently() -> None:
    table = split(0.5)
    arm: Callable[[str, str], Arm] = lambda model, key: table.choose(model, NO_PIN, key).arm  # noqa: E731
    both = sum(arm("digits", key) is arm("letters", key) is Arm.CANDIDATE for key in KEYS)
    assert within_bounds(both, 0.25, len(KEYS))


def test_the_place_of_a_key_is_the_same_in_every_release() -> None:
    """A change of the hash would move users between versions in the middle of a rollout."""
    assert position("digits", "", "user-1") == 0.7580600569837127
    assert position("letters", "", "user-1") != position("digits", "", "user-1")
