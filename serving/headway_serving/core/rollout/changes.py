"""How a rollout changes the routes of its model: pure functions, one for each thing that can happen.

``who`` in each of them is the time and the author of the change, for the history. All raise
:class:`RolloutRefused` when the change is not one that the routes as they are allow.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from headway_serving.core.rollout_state import (
    OPEN,
    HistoryEntry,
    RolloutPolicy,
    RolloutState,
    RolloutStatus,
    Shadow,
    Verification,
    appended,
)
from headway_serving.core.rollout_traffic import ArmTraffic
from headway_serving.core.routing import Candidate, ModelRoutes


class RolloutRefused(Exception):
    """The change is not possible now; the text says why and what to do."""


@dataclass(frozen=True)
class Author:
    """``at``: UTC in ISO 8601; ``by``: who."""

    at: str
    by: str


def begun(
    routes: ModelRoutes,
    verification: Verification,
    policy: RolloutPolicy,
    salt: str,
    since: float,
    who: Author,
    accepted: Sequence[str] = (),
) -> ModelRoutes:
    """A rollout of the verified version at its first stage. ``salt`` deals the keys anew.

    What a person has ``accepted`` is noted, and that nobody compares answers in a shadow: both are decisions.
    """
    if routes.rollout is not None and routes.rollout.status in OPEN:
        raise RolloutRefused(
            f"version {routes.rollout.candidate} is being rolled out ({routes.rollout.status}); "
            "resume, promote or abort that rollout first"
        )
    if verification.version == routes.stable:
        raise RolloutRefused(f"version {routes.stable} is stable already")
    state = RolloutState(
        candidate=verification.version,
        previous=routes.stable,
        status=RolloutStatus.RUNNING,
        verification=verification,
        policy=policy,
        since=since,
    )
    changed = replace(_at_stage(routes, state), salt=salt)
    decided = [*accepted, *(() if policy.shadow_share > 0 else ("without a shadow",))]
    return _noted(
        changed, who, f"version {state.candidate} at {policy.stages()[0]}", ", ".join(["the rollout began", *decided])
    )


def advanced(routes: ModelRoutes, reference: ArmTraffic | None, since: float, why: str, who: Author) -> ModelRoutes:
    """The next stage of the rollout. ``reference``: what to compare a stage without stable traffic with."""
    state = _running(routes)
    state = replace(
        state, stage=state.stage + 1, since=since, looks=0, window=state.window + 1, reference=reference, reason=why
    )
    what = f"version {state.candidate} at {state.policy.stages()[state.stage]}"
    return _noted(_at_stage(routes, state), who, what, why)


def looked(routes: ModelRoutes, reason: str) -> ModelRoutes:
    """One more look at the stage's data was made, and nothing changed for it."""
    state = _running(routes)
    return replace(routes, rollout=replace(state, looks=state.looks + 1, reason=reason))


def window_restarted(routes: ModelRoutes, since: float) -> ModelRoutes:
    """The stage's traffic counts from ``since`` on: a new controller knows nothing of what was before."""
    return replace(routes, rollout=replace(_running(routes), since=since))


def promoted(routes: ModelRoutes, why: str, who: Author) -> ModelRoutes:
    """The candidate is stable; the version before it stays named, so that it stays loaded."""
    state = replace(_open(routes), status=RolloutStatus.PROMOTED, reason=why)
    changed = replace(routes, stable=state.candidate, candidate=None, shadow=None, rollout=state)
    return _noted(changed, who, f"version {state.candidate} is stable", why)


def rolled_back(routes: ModelRoutes, why: str, who: Author) -> ModelRoutes:
    """All traffic is the previous version's, also after a promotion that is not finished yet."""
    if routes.rollout is None or routes.rollout.status is RolloutStatus.ROLLED_BACK:
        raise RolloutRefused("there is no rollout to take back")
    state = replace(routes.rollout, status=RolloutStatus.ROLLED_BACK, reason=why)
    changed = replace(routes, stable=state.previous, candidate=None, shadow=None, rollout=state)
    return _noted(changed, who, f"version {state.previous} has all traffic again", why)


def paused(routes: ModelRoutes, why: str, who: Author) -> ModelRoutes:
    """The rollout stays where it is until it is resumed."""
    state = replace(_open(routes), status=RolloutStatus.PAUSED, reason=why)
    return _noted(replace(routes, rollout=state), who, "paused", why)


def held(routes: ModelRoutes, why: str, who: Author) -> ModelRoutes:
    """The rollout could not be decided; stable has all traffic again, unless the policy lets it stay.

    Nobody is left on a candidate that nothing speaks for. It waits at its stage until a person resumes, promotes or
    aborts it.
    """
    state = replace(_running(routes), status=RolloutStatus.HELD, reason=why)
    if state.policy.keep_when_held:
        return _noted(replace(routes, rollout=state), who, "held, with traffic as it was", why)
    back = replace(routes, candidate=None, shadow=None, rollout=state)
    return _noted(back, who, f"held; version {state.previous} has all traffic", why)


def resumed(routes: ModelRoutes, since: float, who: Author) -> ModelRoutes:
    """The rollout continues at the stage where it is, with traffic from ``since`` on.

    The looks that were made stay counted: resuming buys no new false-alarm probability.
    """
    state = _open(routes)
    state = replace(state, status=RolloutStatus.RUNNING, since=since, window=state.window + 1, reason="")
    return _noted(_at_stage(routes, state), who, "resumed", f"at {state.policy.stages()[state.stage]}")


def finished(routes: ModelRoutes, who: Author) -> ModelRoutes:
    """Forget the rollout: the version that lost need not be loaded any more."""
    state = routes.rollout
    if state is None:
        raise RolloutRefused("there is no rollout to finish")
    if state.status in OPEN:
        raise RolloutRefused(f"the rollout is {state.status}; promote or abort it first")
    lost = state.previous if state.status is RolloutStatus.PROMOTED else state.candidate
    return _noted(replace(routes, rollout=None), who, "finished", f"version {lost} need not be loaded any more")


def _at_stage(routes: ModelRoutes, state: RolloutState) -> ModelRoutes:
    stage = state.policy.stages()[state.stage]
    candidate = Candidate(state.candidate, stage.weight) if stage.weight > 0 else None
    shadow = Shadow(state.candidate, stage.shadow_share) if stage.shadow_share > 0 else None
    return replace(routes, candidate=candidate, shadow=shadow, rollout=state)


def _open(routes: ModelRoutes) -> RolloutState:
    if routes.rollout is None:
        raise RolloutRefused("there is no rollout; begin one with: headway rollout start")
    if routes.rollout.status not in OPEN:
        raise RolloutRefused(f"the rollout of version {routes.rollout.candidate} is over: {routes.rollout.status}")
    return routes.rollout


def _running(routes: ModelRoutes) -> RolloutState:
    state = _open(routes)
    if state.status is not RolloutStatus.RUNNING:
        raise RolloutRefused(f"the rollout is {state.status}; continue with: headway rollout resume")
    return state


def _noted(routes: ModelRoutes, who: Author, what: str, why: str) -> ModelRoutes:
    return replace(routes, history=appended(routes.history, HistoryEntry(who.at, who.by, what, why)))
