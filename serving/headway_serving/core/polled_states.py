"""What state versions are in, asked by one poll in the background for all who want to know it often.

A readiness probe of fifty models would be fifty calls, and one such probe comes from every load balancer. Here probes
read what the last round found. The first who asks of a model waits for its answer; from then on it is asked in every
round, until nobody has wanted it for a while. Rounds are close together while something is loading, so that a process
that starts is ready soon. A model server that is away is asked once a round, not once a model.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from headway_serving.core.catalog import VersionStates
from headway_serving.core.errors import ServingError

SETTLED_SECONDS = 2.0
"""Between two rounds while every model that is asked of has an available version: so old is an answer at most."""

CHANGING_SECONDS = 0.25
"""The same while one has none, or the model server is away."""

_WANTED_SECONDS = 60.0
_TIMEOUT_SECONDS = 1.0


@dataclass
class _Model:
    """What is known of a model: its states, or why they are not known; and when somebody last wanted them."""

    found: dict[int, str] | ServingError
    wanted_at: float


class PolledStates:
    """``version_states`` as of the last round. Safe for use by many threads; the poll ends when nobody asks."""

    def __init__(self, server: VersionStates, clock: Callable[[], float] = time.monotonic) -> None:
        self._server, self._clock = server, clock
        self._models: dict[str, _Model] = {}
        self._lock = threading.Lock()
        self._polling = False

    def version_states(self, model: str, timeout: float) -> dict[int, str]:
        """As of a model server, at most :data:`SETTLED_SECONDS` old. Raises the ``ServingError`` of the last round."""
        with self._lock:
            known = self._models.get(model)
            if known is not None:
                known.wanted_at = self._clock()
        if known is None:
            known = _Model(self._ask(model, timeout), self._clock())
            with self._lock:
                self._models.setdefault(model, known)
                start, self._polling = not self._polling, True
            if start:
                threading.Thread(target=self._poll, name="version-states", daemon=True).start()
        found = known.found
        if isinstance(found, ServingError):
            raise found
        return dict(found)

    def _poll(self) -> None:
        while self._round():
            time.sleep(self._pause())

    def _round(self) -> bool:
        """Ask of every model that somebody wants; False, and the poll's end, if there is none."""
        with self._lock:
            oldest = self._clock() - _WANTED_SECONDS
            self._models = {name: each for name, each in self._models.items() if each.wanted_at >= oldest}
            names = list(self._models)
            self._polling = bool(names)
        away: ServingError | None = None
        for name in names:
            found = self._ask(name, _TIMEOUT_SECONDS) if away is None else away
            away = found if isinstance(found, ServingError) else None
            with self._lock:
                self._models[name].found = found
        return bool(names)

    def _ask(self, model: str, timeout: float) -> dict[int, str] | ServingError:
        try:
            return self._server.version_states(model, timeout)
        except ServingError as error:
            return error

    def _pause(self) -> float:
        with self._lock:
            found = [each.found for each in self._models.values()]
        settled = all(not isinstance(each, ServingError) and "AVAILABLE" in each.values() for each in found)
        return SETTLED_SECONDS if settled else CHANGING_SECONDS
