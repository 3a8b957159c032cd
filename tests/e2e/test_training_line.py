"""``headway train`` with the built-in recipes: what a newcomer sees first."""

import re

from tests.e2e.conftest import Trained


def test_the_base_is_right_on_held_out_digits(trained: Trained) -> None:
    accuracy = trained.repository.manifest("digits-5to9", 1).test_accuracy
    assert accuracy.samples == 500
    assert accuracy.value >= 0.96
    assert accuracy.low < accuracy.value < accuracy.high


def test_the_head_is_right_on_held_out_digits(trained: Trained) -> None:
    manifest = trained.repository.manifest("digits-0to4", 1)
    assert manifest.test_accuracy.samples == 500
    assert manifest.test_accuracy.value >= 0.97
    assert (manifest.parameters, manifest.trainable_parameters) == (600_165, 590_597)


def test_the_run_shows_every_epoch_and_ends_with_a_table(trained: Trained) -> None:
    shown = trained.run.stdout
    assert len(re.findall(r"^ +epoch +\d+/\d+ ", shown, re.MULTILINE)) == 6 + 8
    for row in (r"digits-5to9/1 .*600,165 +0", r"digits-0to4/1 .*590,597 +9,568"):
        assert re.search(row, shown), shown
    assert re.search(r"An epoch of head digits-0to4 takes 1/[\d.]+ of the time of an epoch of base", shown)
    assert "expects" not in shown, "a recipe fell short of the accuracy it promises"


def test_nothing_but_the_results_is_printed(trained: Trained) -> None:
    assert trained.run.stderr == ""


def test_published_versions_are_whole(trained: Trained) -> None:
    for model in ("digits-5to9", "digits-0to4"):
        trained.repository.verify(model, 1)
    assert not list((trained.repository.root / ".staging").iterdir())
