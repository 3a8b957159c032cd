"""What each step of a rollout makes of the routes, and which are refused."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from headway_serving.core.rollout import changes
from headway_serving.core.rollout.changes import RolloutRefused
from headway_serving.core.rollout_state import HISTORY_LENGTH, RolloutPolicy, RolloutStatus, Shadow
from headway_serving.core.routing import Candidate, ModelRoutes
from tests.unit.serving.core.rollout.rollout_examples import ME, PROOF, arm

SHADOWED = RolloutPolicy(shadow_share=0.1, steps=(0.05, 0.5))
BEFORE = ModelRoutes(1, labels={"old": 7})
BEGUN = changes.begun(BEFORE, PROOF, SHADOWED, "salt", 1000.0, ME)


def test_a_rollout_goes_from_shadow_through_the_weights_to_stable() -> None:
    assert (BEGUN.stable, BEGUN.candidate, BEGUN.shadow, BEGUN.salt) == (1, None, Shadow(2, 0.1), "salt")
    first = changes.advanced(changes.looked(BEGUN, "so far"), arm(500), 2000.0, "well", ME)
    assert (first.candidate, first.shadow) == (Candidate(2, 0.05), None)
    assert first.rollout is not None
    assert (first.rollout.stage, first.rollout.looks, first.rollout.since, first.rollout.reference) == (
        1, 0, 2000.0, arm(500),
    )  # fmt: skip
    second = changes.advanced(first, None, 3000.0, "well", ME)
    assert second.candidate == Candidate(2, 0.5)
    ended = changes.promoted(second, "well", ME)
    assert (ended.stable, ended.candidate, ended.labels) == (2, None, {"old": 7})
    assert ended.versions() == (1, 2, 7), "the version before stays loaded"
    assert [entry.what for entry in ended.history] == [
        "version 2 at shadow 10 %", "version 2 at 5 %", "version 2 at 50 %", "version 2 is stable",
    ]  # fmt: skip
    assert changes.finished(ended, ME).versions() == (2, 7)


def test_a_rollback_is_possible_at_every_stage_and_after_the_promotion() -> None:
    at_first = changes.advanced(BEGUN, None, 2000.0, "", ME)
    for routes in (BEGUN, at_first, changes.paused(at_first, "", ME), changes.promoted(at_first, "", ME)):
        back = changes.rolled_back(routes, "no", ME)
        assert (back.stable, back.candidate, back.shadow, back.labels) == (1, None, None, {"old": 7})
        assert back.rollout is not None
        assert (back.rollout.status, back.rollout.reason) == (RolloutStatus.ROLLED_BACK, "no")


def test_resuming_keeps_what_the_looks_have_spent() -> None:
    routes = changes.looked(changes.looked(BEGUN, ""), "")
    for stop in (changes.paused(routes, "", ME), changes.held(routes, "", ME)):
        again = changes.resumed(stop, 5000.0, ME).rollout
        assert again is not None
        assert (again.status, again.looks, again.since) == (RolloutStatus.RUNNING, 2, 5000.0)


def test_a_rollout_that_is_held_leaves_nobody_on_the_candidate_unless_it_is_to_stay() -> None:
    at_first = changes.advanced(BEGUN, None, 2000.0, "", ME)
    held = changes.held(at_first, "undecided", ME)
    assert (held.stable, held.candidate, held.shadow) == (1, None, None)
    assert held.versions() == (1, 2, 7), "both stay loaded"
    assert changes.resumed(held, 5000.0, ME).candidate == Candidate(2, 0.05)
    stays = changes.begun(BEFORE, PROOF, replace(SHADOWED, keep_when_held=True, shadow_share=0.0), "", 0.0, ME)
    assert changes.held(stays, "undecided", ME).candidate == Candidate(2, 0.05)


def test_keys_are_sampled_anew_at_every_stage_and_every_start() -> None:
    at_first = changes.advanced(BEGUN, None, 2000.0, "", ME)
    again = changes.resumed(changes.paused(at_first, "", ME), 3000.0, ME)
    looked = changes.looked(again, "so far")
    assert len({routes.sampling for routes in (BEGUN, at_first, again)}) == 3
    assert looked.sampling == again.sampling
    assert changes.window_restarted(again, 4000.0).sampling == again.sampling


def test_that_there_is_no_shadow_is_noted() -> None:
    begun = changes.begun(BEFORE, PROOF, replace(SHADOWED, shadow_share=0.0), "", 0.0, ME)
    assert begun.history[-1].why == "the rollout began, without a shadow"


def test_what_a_person_has_accepted_is_noted() -> None:
    begun = changes.begun(BEFORE, PROOF, SHADOWED, "", 0.0, ME, ("--accept-lower-accuracy",))
    assert begun.history[-1].why == "the rollout began, --accept-lower-accuracy"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda: changes.begun(BEGUN, PROOF, SHADOWED, "", 0.0, ME), "version 2 is being rolled out"),
        (lambda: changes.begun(ModelRoutes(2), PROOF, SHADOWED, "", 0.0, ME), "version 2 is stable already"),
        (lambda: changes.advanced(changes.paused(BEGUN, "", ME), None, 0.0, "", ME), "the rollout is paused"),
        (lambda: changes.promoted(BEFORE, "", ME), "there is no rollout"),
        (lambda: changes.promoted(changes.rolled_back(BEGUN, "", ME), "", ME), "is over: rolled_back"),
        (lambda: changes.resumed(changes.promoted(BEGUN, "", ME), 0.0, ME), "is over: promoted"),
        (lambda: changes.rolled_back(changes.rolled_back(BEGUN, "", ME), "", ME), "no rollout to take back"),
        (lambda: changes.finished(BEGUN, ME), "promote or abort it first"),
        (lambda: changes.finished(BEFORE, ME), "no rollout to finish"),
    ],
)
def test_what_makes_no_sense_is_refused(change: Callable[[], ModelRoutes], why: str) -> None:
    with pytest.raises(RolloutRefused, match=why):
        change()


def test_the_history_is_bounded() -> None:
    routes = BEGUN
    for number in range(HISTORY_LENGTH):
        routes = changes.resumed(changes.paused(routes, f"pause {number}", ME), 0.0, ME)
    assert len(routes.history) == HISTORY_LENGTH
    assert routes.history[-2].why == f"pause {HISTORY_LENGTH - 1}"


def test_another_rollout_may_begin_when_one_is_over() -> None:
    over = changes.rolled_back(BEGUN, "", ME)
    again = changes.begun(over, replace(PROOF, version=3), RolloutPolicy(), "other", 0.0, ME)
    assert (again.candidate, again.salt) == (Candidate(3, 0.05), "other")
