"""Carries a rollout through its stages: looks, decides, and writes what was decided into ``routes.json``.

All state is in that file. A controller that is killed at any moment leaves routes that are whole and a rollout that
another controller continues; commands that pause, promote or abort write the same file, and this one follows them.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from headway_serving.adapters.files.documents import Place, document_at
from headway_serving.adapters.files.routes import InvalidRoutes, change_model, read_routes
from headway_serving.adapters.metrics.traffic_window import TrafficUnknown
from headway_serving.core.rollout import changes
from headway_serving.core.rollout.changes import Author, RolloutRefused
from headway_serving.core.rollout.decision import Advance, Decision, Promote, RollBack, decide, reference_of
from headway_serving.core.rollout.outlook import outlook
from headway_serving.core.rollout_state import RolloutState, RolloutStatus
from headway_serving.core.rollout_traffic import Observation
from headway_serving.core.routing import ModelRoutes

_AGAIN_SECONDS = 1.0
TROUBLE_SECONDS = 300.0
"""So long a routes file that cannot be read or written is tried again: people mend such things, and disks empty."""

T = TypeVar("T")


class TrafficSource(Protocol):
    """Where one learns what the two arms did. All raise ``TrafficUnknown``."""

    def mark(self, model: str) -> None:
        """A window may begin now."""
        ...

    def rate(self, model: str) -> float:
        """Requests to the model a second, lately."""
        ...

    def window(self, model: str, stable: int, candidate: int, since: float) -> Observation:
        """The traffic since Unix time ``since``."""
        ...


@dataclass(frozen=True)
class Look:
    """One look at the data and what came of it."""

    state: RolloutState
    observation: Observation | None
    decision: Decision


@dataclass
class Controller:
    """Runs the rollout of one model to its end.

    ``author`` signs the history at the time it is called; ``report`` gets every look, ``warn`` what keeps the routes
    file from being read or written. ``settle_seconds``: how long gateways may take to follow a change; that traffic
    does not count. ``clock`` gives Unix time, seconds.
    """

    routes_file: Place
    model: str
    source: TrafficSource
    author: Callable[[], Author]
    report: Callable[[Look], None]
    settle_seconds: float = 1.5
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    warn: Callable[[str], None] = lambda _: None

    def run(self) -> ModelRoutes:
        """Look and decide until the rollout is over or held, and return the routes as they then are.

        Raises :class:`RolloutRefused` if there is no rollout, and what reading and writing the routes raises for
        :data:`TROUBLE_SECONDS` without a break.
        """
        marked, looks = (-1, -1.0), 0
        next_look = 0.0
        poll_seconds = document_at(self.routes_file).poll_seconds
        while True:
            routes, state = self._state()
            if state.status in (RolloutStatus.PROMOTED, RolloutStatus.ROLLED_BACK, RolloutStatus.HELD):
                return routes
            if state.status is RolloutStatus.PAUSED:
                marked = (-1, -1.0)
            elif marked != (state.stage, state.since):
                since = self._begin_window()
                marked, looks, next_look = (state.stage, since), 0, since + state.policy.interval_seconds
            elif self.clock() >= next_look:
                looks += 1
                next_look += state.policy.interval_seconds
                self._look(state, last=looks >= state.policy.patience)
            self.sleep(poll_seconds)

    def _begin_window(self) -> float:
        """Let the gateways follow, note where the counters stand, and count from now on."""
        self.sleep(self.settle_seconds)
        # Before the mark: what is noted there is where the window begins.
        since = self.clock()
        # If it is unknown, the first look will say so.
        with contextlib.suppress(TrafficUnknown):
            self.source.mark(self.model)
        self._change(lambda routes: changes.window_restarted(routes, since))
        return since

    def _look(self, state: RolloutState, *, last: bool) -> None:
        try:
            seen = self.source.window(self.model, state.previous, state.candidate, state.since)
            unknown = None
        except TrafficUnknown as error:
            seen, unknown = None, str(error)
        decision = decide(state.policy, state, seen, self.clock())
        reason = decision.reason if unknown is None else f"{decision.reason}: {unknown}"
        self.report(Look(state, seen, type(decision)(reason, decision.findings)))
        self._change(lambda routes: self._applied(routes, state, decision, reason, seen, last=last))

    def _applied(
        self, routes: ModelRoutes, state: RolloutState, decision: Decision, reason: str, seen: Observation | None,
        *, last: bool,
    ) -> ModelRoutes:  # fmt: skip
        if routes.rollout is None or routes.rollout.stage != state.stage:
            return routes
        who = self.author()
        if isinstance(decision, RollBack):
            return changes.rolled_back(routes, reason, who)
        if isinstance(decision, Promote):
            return changes.promoted(routes, reason, who)
        if isinstance(decision, Advance) and seen is not None:
            return changes.advanced(routes, reference_of(state.policy, state, seen), self.clock(), reason, who)
        looked = changes.looked(routes, f"{decision.name}: {reason}")
        if not last:
            return looked
        expected = outlook(state.policy, state, seen, self.clock())
        return changes.held(looked, f"undecided after {state.policy.patience} looks: {reason}; {expected}", who)

    def _change(self, change: Callable[[ModelRoutes], ModelRoutes]) -> None:
        """Change the routes unless a person has paused or ended the rollout meanwhile: then that is followed."""

        def unless_stopped(routes: ModelRoutes) -> ModelRoutes:
            running = routes.rollout is not None and routes.rollout.status is RolloutStatus.RUNNING
            return change(routes) if running else routes

        self._again_and_again(lambda: change_model(self.routes_file, self.model, unless_stopped))

    def _again_and_again(self, action: Callable[[], T]) -> T:
        """What was decided is not lost because a file was broken, or a disk full, for a moment."""
        ends = self.clock() + TROUBLE_SECONDS
        warned = False
        while True:
            try:
                return action()
            except (InvalidRoutes, OSError) as error:
                if self.clock() >= ends:
                    raise
                if not warned:
                    self.warn(f"{self.routes_file}: {error}; trying again for {TROUBLE_SECONDS / 60:.0f} minutes")
                warned = True
            self.sleep(_AGAIN_SECONDS)

    def _state(self) -> tuple[ModelRoutes, RolloutState]:
        routes = self._again_and_again(lambda: read_routes(self.routes_file)).of(self.model)
        if routes.rollout is None:
            raise RolloutRefused(f"there is no rollout of {self.model!r}")
        return routes, routes.rollout


class ControlledElsewhere(RolloutRefused):
    """Another command controls the rollout."""


def is_controlled(routes_file: Place, model: str) -> bool:
    """Whether a command controls the model's rollout now."""
    return document_at(routes_file).is_reserved(_reservation(model))


def _reservation(model: str) -> str:
    return f"{model}.controller"


@contextlib.contextmanager
def controlling(routes_file: Place, model: str, *, wait: bool = False) -> Iterator[None]:
    """Be the only controller of a model's rollout, once there is no other if ``wait``.

    Raises :class:`ControlledElsewhere` if another one runs and this is not to wait for its end.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(document_at(routes_file).reserved(_reservation(model), wait=wait))
        except BlockingIOError as error:
            raise ControlledElsewhere(f"another command controls the rollout of {model!r}") from error
        yield
