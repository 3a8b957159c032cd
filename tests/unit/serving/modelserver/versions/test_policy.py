"""Which versions are wanted, and what happens next."""

from typing import Any

import pytest

from headway_serving.modelserver.versions.model_config import AllVersions, Latest, ModelConfig, Specific
from headway_serving.modelserver.versions.policy import (
    Action,
    State,
    VersionView,
    aspired_versions,
    next_transition,
)

CHILDREN = ["1", "3", "00000002", "10", "tmp-11", "11.partial", "latest", "1_2", "9223372036854775808"]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Latest(), {10: "10"}),
        (Latest(2), {3: "3", 10: "10"}),
        (Latest(9), {1: "1", 2: "00000002", 3: "3", 10: "10"}),
        (AllVersions(), {1: "1", 2: "00000002", 3: "3", 10: "10"}),
        (Specific(frozenset({2, 3, 7})), {2: "00000002", 3: "3"}),
        (Specific(frozenset()), {}),
    ],
)
def test_the_policy_picks_from_the_names_that_are_numbers(policy: Any, expected: Any) -> None:
    assert aspired_versions(ModelConfig("digits", "/models/digits", policy), CHILDREN) == expected


@pytest.mark.parametrize("policy", [Latest(), Specific(frozenset({7})), AllVersions()])
def test_of_two_names_for_one_number_the_last_counts_and_a_warning_tells(
    caplog: pytest.LogCaptureFixture, policy: Any
) -> None:
    assert aspired_versions(ModelConfig("digits", "/m", policy), ["7", "007"]) == {7: "7"}
    assert "Version 7 will be loaded from 7, 007 will be ignored." in caplog.text


def test_a_wanted_version_that_is_missing_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    aspired_versions(ModelConfig("digits", "/m", Specific(frozenset({1, 5}))), ["1"])
    assert "Version 5 of servable digits, which was requested to be served as a 'specific' version" in caplog.text


def test_no_version_at_all_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    assert aspired_versions(ModelConfig("digits", "/m"), ["readme.txt"]) == {}
    assert "No versions of servable digits found under base path /m. Did you forget" in caplog.text


START, LOADING, AVAILABLE, END = State.START, State.LOADING, State.AVAILABLE, State.END


@pytest.mark.parametrize(
    ("why", "versions", "expected"),
    [
        ("nothing known", [], None),
        ("the highest new version first", [(1, START, True), (2, START, True)], (Action.LOAD, 2)),
        ("the new one loads while the old one serves", [(1, AVAILABLE, False), (2, START, True)], (Action.LOAD, 2)),
        ("the old one stays until the new one serves", [(1, AVAILABLE, False), (2, LOADING, True)], None),
        ("the old one goes when it does", [(1, AVAILABLE, False), (2, AVAILABLE, True)], (Action.UNLOAD, 1)),
        ("the old one stays if the new one is broken", [(1, AVAILABLE, False), (2, END, True)], None),
        ("the lowest of two old ones goes", [(1, AVAILABLE, False), (2, AVAILABLE, False), (3, END, True)],
         (Action.UNLOAD, 1)),
        ("all go if nothing is wanted", [(1, AVAILABLE, False)], (Action.UNLOAD, 1)),
        ("a broken version is not tried again", [(1, END, True)], None),
        ("a version no longer wanted is not loaded", [(1, END, False), (2, AVAILABLE, True)], None),
    ],
)  # fmt: skip
def test_availability_is_preserved(why: Any, versions: Any, expected: Any) -> None:
    views = [VersionView(number, state, aspired) for number, state, aspired in versions]
    assert next_transition(views) == expected, why
