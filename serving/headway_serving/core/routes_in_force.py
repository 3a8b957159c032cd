"""The routes that requests meet: those of the routes file, taken over model by model as soon as they can be answered.

* A model that is not in the file any more is gone at once; a new one is there at once, since there is nothing to keep.
* Versions that have traffic already, and the one that a rollout came from, are believed: routes with no others are in
  force at once and nobody is asked. So a rollback waits for nothing, not even for a model server that is away.
* A version that is new to a model must be able to answer first. Until it can, a new stable version leaves the last
  routes of its model as they are; a new candidate or shadow is left out, and the rest is in force without it.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from headway_serving.core.routing import ModelRoutes, RouteTable

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PendingRoutes:
    """Routes that wait for versions which cannot answer yet; ``reason``: why, or None before they were asked about."""

    wanted: ModelRoutes
    versions: tuple[int, ...]
    reason: str | None = None


class RoutesInForce:
    """Holds the table that requests are routed by. Safe for use by many threads."""

    def __init__(
        self, table: RouteTable, obstacle: Callable[[str, int], str | None], retry_seconds: float = 0.5
    ) -> None:
        """Begin with ``table`` as it is. ``obstacle`` says why a version of a model cannot answer, or None.

        Pending versions are asked about again every ``retry_seconds``, by a thread that lives as long as there are any.
        """
        self._table, self._obstacle, self._retry_seconds = table, obstacle, retry_seconds
        self._known = {name: _in_traffic(routes) for name, routes in table.models.items()}
        self._pending: dict[str, PendingRoutes] = {}
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._asking = False

    def table(self) -> RouteTable:
        """The table in force."""
        return self._table

    def pending(self) -> Mapping[str, PendingRoutes]:
        """What waits, by model."""
        with self._lock:
            return dict(self._pending)

    def take(self, wanted: RouteTable) -> None:
        """Put a new table in force as far as it is believed; asks nobody and returns at once."""
        with self._lock:
            models, known, pending = {}, {}, {}
            for name, routes in wanted.models.items():
                new = self._new_versions(name, routes)
                models[name] = self._meanwhile(name, routes, new) if new else routes
                known[name] = self._known[name] if new else _in_traffic(routes)
                if new:
                    before, now = self._pending.get(name), PendingRoutes(routes, new)
                    # Written again for another model's sake: it waits on, and is logged once.
                    pending[name] = before if before is not None and before.wanted == routes else now
            for name, withdrawn in self._pending.items():
                if pending.get(name) is not withdrawn and withdrawn.reason is not None:
                    _log.info("the routes of %s that waited for version %s were replaced", name, _numbers(withdrawn))
            self._table, self._known, self._pending = RouteTable(models), known, pending
            if pending and not self._asking:
                self._asking = True
                threading.Thread(target=self._ask, name="pending-routes", daemon=True).start()
        self._changed.set()

    def _new_versions(self, name: str, wanted: ModelRoutes) -> tuple[int, ...]:
        if name not in self._known:
            return ()
        return tuple(sorted(_asked_for(wanted) - self._known[name]))

    def _meanwhile(self, name: str, wanted: ModelRoutes, new: tuple[int, ...]) -> ModelRoutes:
        """The routes of a model while versions are waited for."""
        if wanted.stable in new:
            return self._table.models[name]
        candidate, shadow = wanted.candidate, wanted.shadow
        return replace(
            wanted,
            candidate=None if candidate is None or candidate.version in new else candidate,
            shadow=None if shadow is None or shadow.version in new else shadow,
        )

    def _ask(self) -> None:
        while True:
            self._changed.clear()
            with self._lock:
                waiting = list(self._pending.items())
                if not waiting:
                    self._asking = False
                    return
            for name, pending in waiting:
                self._settle(name, pending, self._reason(name, pending.versions))
            if self.pending():
                self._changed.wait(self._retry_seconds)

    def _reason(self, name: str, versions: tuple[int, ...]) -> str | None:
        """Why the first of the versions that cannot answer cannot."""
        try:
            reasons = (self._obstacle(name, version) for version in versions)
            return next((reason for reason in reasons if reason is not None), None)
        except Exception as error:
            # The thread must live on: these routes are not looked at again without it.
            _log.exception("version %s of %s could not be asked about", versions, name)
            return f"it could not be asked about: {error}"

    def _settle(self, name: str, asked: PendingRoutes, reason: str | None) -> None:
        with self._lock:
            if self._pending.get(name) is not asked:
                return
            if reason is not None:
                self._pending[name] = replace(asked, reason=reason)
            else:
                del self._pending[name]
                self._known[name] = _in_traffic(asked.wanted)
                self._table = RouteTable({**self._table.models, name: asked.wanted})
        if reason is None:
            _log.info("the new routes of %s are in force: version %s can answer", name, _numbers(asked))
        elif asked.reason is None:
            _log.warning("the new routes of %s wait for version %s: %s; see /readyz?verbose", name, _numbers(asked),
                         reason)  # fmt: skip


def _asked_for(routes: ModelRoutes) -> set[int]:
    """The versions that get traffic, or a copy of it, without being named by a request."""
    versions = {routes.stable}
    versions |= {routes.candidate.version} if routes.candidate is not None else set()
    versions |= {routes.shadow.version} if routes.shadow is not None else set()
    return versions


def _in_traffic(routes: ModelRoutes) -> frozenset[int]:
    """The versions to which routes may change without a question: those above, and the one to be rolled back to."""
    previous = set() if routes.rollout is None else {routes.rollout.previous}
    return frozenset(_asked_for(routes) | previous)


def _numbers(pending: PendingRoutes) -> str:
    return " and ".join(map(str, pending.versions))
