"""New routes are taken over model by model: what is believed at once, what waits, and what is in force meanwhile."""

import logging
from dataclasses import replace

import pytest

from headway_serving.core.rollout_state import RolloutPolicy, RolloutState, RolloutStatus, Shadow, Verification
from headway_serving.core.routes_in_force import RoutesInForce
from headway_serving.core.routing import Candidate, ModelRoutes, RouteTable
from tests.support.waiting import eventually

RETRY_SECONDS = 0.01


class Versions:
    """Which versions can answer; ``asked`` holds every question."""

    def __init__(self, *able: int) -> None:
        self.able = set(able)
        self.asked: list[tuple[str, int]] = []

    def obstacle(self, model: str, version: int) -> str | None:
        self.asked.append((model, version))
        return None if version in self.able else f"version {version} is not loaded"


def begin(versions: Versions, **models: ModelRoutes) -> RoutesInForce:
    return RoutesInForce(RouteTable(models), versions.obstacle, RETRY_SECONDS)


def rollout(previous: int, candidate: int) -> RolloutState:
    proof = Verification(candidate, "sha256:0", "2026-01-02T03:04:05Z", 8)
    return RolloutState(candidate, previous, RolloutStatus.RUNNING, proof, RolloutPolicy())


def test_a_stable_version_that_nobody_serves_leaves_its_model_as_it_was_and_harms_no_other() -> None:
    versions = Versions(1, 2)
    routes = begin(versions, digits=ModelRoutes(1), letters=ModelRoutes(1))
    routes.take(RouteTable({"digits": ModelRoutes(99), "letters": ModelRoutes(2)}))
    eventually(lambda: routes.table().of("letters").stable == 2, "the other model's routes are in force")
    eventually(lambda: routes.pending()["digits"].reason == "version 99 is not loaded", "the reason is known")
    assert routes.table().of("digits") == ModelRoutes(1)
    assert set(routes.pending()) == {"digits"}


def test_it_is_taken_over_as_soon_as_it_can_be_answered() -> None:
    versions = Versions(1)
    routes = begin(versions, digits=ModelRoutes(1))
    routes.take(RouteTable({"digits": ModelRoutes(2)}))
    eventually(lambda: len(versions.asked) >= 3, "it is asked about again and again")
    assert routes.table().of("digits").stable == 1
    versions.able.add(2)
    eventually(lambda: routes.table().of("digits").stable == 2, "the new stable version")
    assert routes.pending() == {}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (ModelRoutes(1, Candidate(2, 0.5)), ModelRoutes(1)),
        (ModelRoutes(1, Candidate(2, 0.5)), ModelRoutes(1, Candidate(2, 0.05), labels={"old": 7})),
        (ModelRoutes(1, Candidate(2, 1.0)), ModelRoutes(2)),
        (ModelRoutes(2, rollout=rollout(1, 2)), ModelRoutes(1)),
        (ModelRoutes(1, shadow=Shadow(2, 0.1)), ModelRoutes(1, Candidate(2, 0.05))),
    ],
    ids=["candidate removed", "another weight", "promoted", "back to what the rollout came from", "shadow shifted"],
)
def test_versions_in_traffic_are_believed_and_nobody_is_asked(before: ModelRoutes, after: ModelRoutes) -> None:
    versions = Versions()  # as when the model server is away
    routes = begin(versions, digits=before)
    routes.take(RouteTable({"digits": after}))
    assert routes.table().of("digits") == after
    assert (routes.pending(), versions.asked) == ({}, [])


@pytest.mark.parametrize(
    ("wanted", "meanwhile"),
    [
        (ModelRoutes(1, Candidate(3, 0.5)), ModelRoutes(1)),
        (ModelRoutes(1, Candidate(2, 0.1), shadow=Shadow(3, 0.5)), ModelRoutes(1, Candidate(2, 0.1))),
        (ModelRoutes(2, Candidate(3, 0.5)), ModelRoutes(2)),
    ],
    ids=["candidate", "shadow", "candidate of a promoted version"],
)
def test_a_new_candidate_or_shadow_is_left_out_and_the_rest_is_in_force(
    wanted: ModelRoutes, meanwhile: ModelRoutes
) -> None:
    """The candidate before it loses its traffic at once: that may be a rollback."""
    versions = Versions(1, 2)
    routes = begin(versions, digits=ModelRoutes(1, Candidate(2, 0.5)))
    routes.take(RouteTable({"digits": wanted}))
    assert routes.table().of("digits") == meanwhile
    assert routes.pending()["digits"].versions == (3,)
    versions.able.add(3)
    eventually(lambda: routes.table().of("digits") == wanted, "all of it")


def test_a_candidate_that_still_waits_is_not_believed_because_its_rollout_names_it() -> None:
    versions = Versions(1)
    routes = begin(versions, digits=ModelRoutes(1))
    waiting = ModelRoutes(1, Candidate(2, 0.05), rollout=rollout(1, 2))
    routes.take(RouteTable({"digits": waiting}))
    routes.take(RouteTable({"digits": replace(waiting, candidate=Candidate(2, 0.5))}))
    assert routes.table().of("digits").candidate is None
    assert routes.pending()["digits"].versions == (2,)


def test_going_back_while_something_waits_is_at_once() -> None:
    routes = begin(Versions(1), digits=ModelRoutes(1, Candidate(2, 0.5)))
    routes.take(RouteTable({"digits": ModelRoutes(99)}))
    routes.take(RouteTable({"digits": ModelRoutes(1)}))
    assert routes.table().of("digits") == ModelRoutes(1)
    assert routes.pending() == {}


def test_a_model_that_leaves_the_file_is_gone_and_a_new_one_is_there_at_once() -> None:
    versions = Versions()
    routes = begin(versions, digits=ModelRoutes(1), letters=ModelRoutes(1))
    routes.take(RouteTable({"digits": ModelRoutes(9), "letters": ModelRoutes(1)}))
    routes.take(RouteTable({"letters": ModelRoutes(1), "faces": ModelRoutes(5)}))
    assert set(routes.table().models) == {"letters", "faces"}
    assert routes.pending() == {}


def test_the_wait_is_logged_once_when_it_begins_and_once_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    versions = Versions(1)
    routes = begin(versions, digits=ModelRoutes(1), letters=ModelRoutes(1))
    routes.take(RouteTable({"digits": ModelRoutes(2), "letters": ModelRoutes(1)}))
    eventually(lambda: len(versions.asked) >= 3, "it is asked about several times")
    # Written anew for another model's sake.
    routes.take(RouteTable({"digits": ModelRoutes(2), "letters": ModelRoutes(1, labels={"old": 1})}))
    eventually(lambda: len(versions.asked) >= 6, "it is asked about on")
    versions.able.add(2)
    eventually(lambda: not routes.pending(), "it is in force")
    eventually(lambda: len(caplog.messages) >= 2, "both lines")
    assert caplog.messages == [
        "the new routes of digits wait for version 2: version 2 is not loaded; see /readyz?verbose",
        "the new routes of digits are in force: version 2 can answer",
    ]


def test_a_question_that_fails_unforeseen_is_asked_again() -> None:
    faults = [RuntimeError("out of threads")]

    def obstacle(model: str, version: int) -> str | None:
        if faults:
            raise faults.pop()
        return None

    routes = RoutesInForce(RouteTable({"digits": ModelRoutes(1)}), obstacle, RETRY_SECONDS)
    routes.take(RouteTable({"digits": ModelRoutes(2)}))
    eventually(lambda: routes.table().of("digits").stable == 2, "the new stable version")
