"""Whether versions can answer (loaded, with a manifest that this release understands), and so whether this process can.

A process is ready for the first time when every routed model can answer, or when some can and no other has joined them
for :data:`START_PATIENCE_SECONDS`: a model that is broken must not keep the others from being served. From then on it
is ready as long as any model can answer: that one of many cannot is said by that model's own page and errors.
"""

import time
from collections.abc import Callable, Collection

from headway_serving.core.catalog import Catalog, VersionStates
from headway_serving.core.errors import ServingError
from headway_serving.core.routing import Arm, Pin, Route, RouteTable

START_PATIENCE_SECONDS = 30.0
"""How long a process that starts waits for the next model that can answer, once there is a first."""

_TIMEOUT_SECONDS = 1.0


class Readiness:
    """Looks at the model server now, and reads manifests on the way. Safe for use by many threads.

    ``of_all``: what is asked about all models at once, where that is not the server itself.
    """

    def __init__(
        self,
        catalog: Catalog,
        server: VersionStates,
        clock: Callable[[], float] = time.monotonic,
        of_all: VersionStates | None = None,
    ) -> None:
        self._catalog, self._server, self._clock = catalog, server, clock
        self._of_all = of_all or server
        self._been_ready = False
        self._able: frozenset[str] = frozenset()
        self._joined_at: float | None = None

    def ready(self, table: RouteTable, obstacles: Collection[str]) -> bool:
        """Whether this process is ready, where the models in ``obstacles`` cannot answer and the others can."""
        able = frozenset(table.models) - frozenset(obstacles)
        if not obstacles:
            self._been_ready = True
        elif not self._been_ready:
            now = self._clock()
            if able - self._able:
                self._able, self._joined_at = self._able | able, now
            self._been_ready = self._joined_at is not None and now - self._joined_at >= START_PATIENCE_SECONDS
        return self._been_ready and (bool(able) or not obstacles)

    def obstacles(self, table: RouteTable) -> dict[str, str]:
        """The models whose stable version cannot answer, by name, and why."""
        stable = Pin(label="stable")
        reasons = {name: self._of_route(table.choose(name, stable, ""), self._of_all) for name in sorted(table.models)}
        return {name: reason for name, reason in reasons.items() if reason is not None}

    def obstacle(self, name: str, table: RouteTable, version: int | None = None) -> str | None:
        """Why a version of a model, its stable one by default, cannot answer; None if it can.

        Raises ``ModelNotFound`` for a model that is not routed.
        """
        pin = Pin(label="stable") if version is None else Pin(version)
        return self._of_route(table.choose(name, pin, ""), self._server)

    def of_version(self, model: str, version: int) -> str | None:
        """Why a version of a model cannot answer, wherever it is routed or not; None if it can."""
        return self._of_route(Route(model, version, Arm.PINNED, "version"), self._server)

    def _of_route(self, route: Route, server: VersionStates) -> str | None:
        try:
            state = _state(server, route.model, route.version)
            if state != "AVAILABLE":
                return f"version {route.version} is {state}"
            manifest = self._catalog.manifest(route, _TIMEOUT_SECONDS)
            if manifest.form == "on_base" and manifest.base is not None:
                base = manifest.base
                state = _state(server, base.model, base.version)
                if state != "AVAILABLE":
                    return f"its base {base.model} version {base.version} is {state}"
        except ServingError as error:
            return str(error)
        return None


def _state(server: VersionStates, model: str, version: int) -> str:
    return server.version_states(model, _TIMEOUT_SECONDS).get(version, "not loaded")
