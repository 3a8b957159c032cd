"""A version that answers worse is refused before anybody meets it; with default flags, on real processes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from headway_contract.labelled_pictures import TEST_PICTURES_FILE
from tests.e2e.changed_versions import Change, classes_swapped, publish_changed
from tests.e2e.conftest import Trained
from tests.e2e.rollout_line import QUICK, Line, Users, line_of
from tests.e2e.test_serving_line import HEAD, copied


@pytest.fixture
def line(trained: Trained, tmp_path: Path) -> Iterator[Line]:
    pictures = [path.read_bytes() for path in trained.samples[HEAD]]
    with line_of(copied(trained, tmp_path), HEAD, pictures, tmp_path) as running:
        yield running


def without_test_pictures(change: Change) -> Change:
    def changed(version: Path) -> None:
        change(version)
        (version / TEST_PICTURES_FILE).unlink()

    return changed


def test_a_version_with_two_classes_swapped_is_refused_by_default(line: Line) -> None:
    """Honest or not: what its manifest admits refuses it, and where it says nothing, the pictures do."""
    candidates = {
        "it admits it": (classes_swapped("3", "4", 0.6), "the candidate is less accurate (exact test, p = "),
        "it lies": (classes_swapped("3", "4"), "exact paired test: p = "),
        "it lies and hides its pictures": (without_test_pictures(classes_swapped("3", "4")), "exact paired test: p = "),
    }
    with Users(line) as users:
        for name, (change, why) in candidates.items():
            version = publish_changed(line.repository, HEAD, change)
            before = (line.repository.root / "routes.json").read_bytes()
            run = line.rollout("start")
            assert run.returncode == 2, (name, run.stdout, run.stderr)
            assert why in run.stderr, name
            assert "if that is meant: --accept-lower-accuracy" in run.stderr
            assert run.stdout.startswith("test accuracy: stable version 1 "), "both stand in the first line"
            assert f"candidate version {version} " in run.stdout.splitlines()[0]
            assert (line.repository.root / "routes.json").read_bytes() == before
            assert f"versions: {version}" not in line.loaded()
    users.check_unharmed()
    assert set(users.seconds) == {1}, "nobody met them"


def test_what_is_accepted_is_verified_with_its_counts(line: Line) -> None:
    assert publish_changed(line.repository, HEAD, classes_swapped("3", "4")) == 2
    run = line.rollout(
        "start",
        *QUICK,
        "--interval",
        "0.5",
        "--patience",
        "1",
        "--accept-lower-accuracy",
        "--steps",
        "50,100",
        "--json",
    )
    events = {event["event"]: event for event in map(json.loads, run.stdout.splitlines())}
    assert run.returncode == 4, (run.stdout, run.stderr)
    state = line.routes().rollout
    assert state is not None
    found = events["compared"]
    stored = line.repository.test_pictures(HEAD, 1)
    assert found["compared"] == found["there"] >= len(stored) > 100
    # About two of five classes are labelled otherwise, and right by stable alone.
    assert 0.3 < found["stable_alone"] / found["compared"] < 0.5
    assert found["candidate_alone"] < 10
    assert (state.verification.compared, state.verification.disagreed) == (found["compared"], found["disagreed"])


def test_the_same_version_again_disagrees_on_nothing(line: Line) -> None:
    assert publish_changed(line.repository, HEAD) == 2
    assert line.rollout("start", "--interval", "0.5", "--patience", "1").returncode == 4
    run = line.rollout("verify", "--json")
    events = {event["event"]: event for event in map(json.loads, run.stdout.splitlines())}
    assert (run.returncode, events["compared"]["disagreed"], events["compared"]["p"]) == (0, 0, 1.0)
    assert "version 2 of digits-0to4 passes" in line.rollout("verify").stdout
