"""What the model server says of the routed models' versions, asked again and again in the background.

For metrics and alerts: a scrape shows what was heard last and waits for nobody.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from headway_serving.core.errors import ServingError

_TIMEOUT_SECONDS = 1.0
_LEAST_SECONDS, _SECONDS_A_MODEL = 2.0, 0.2
"""Between two rounds: of fifty models one takes some 50 ms, which shall be no more than half a per cent of the time."""


@dataclass(frozen=True)
class VersionStatus:
    """A version as the model server has it. ``code``: gRPC's name of why it could not be loaded, or None."""

    version: int
    state: str
    code: str | None


class StatusSource(Protocol):
    """A model server that can be asked for versions."""

    def version_statuses(self, model: str, timeout: float) -> list[VersionStatus]:
        """Every version of a model that it knows. Raises a ``ServingError``."""
        ...


class VersionWatch:
    """Keeps the last answers. ``models`` gives the names to ask for; ``server`` is what the model server is called."""

    def __init__(self, source: StatusSource, models: Callable[[], Iterable[str]], server: str) -> None:
        self._source, self._models, self._server = source, models, server
        self._up: bool | None = None
        self._statuses: dict[str, list[VersionStatus]] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="version-watch", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def close(self) -> None:
        """Stop asking."""
        self._stopping.set()

    def look(self) -> int:
        """Ask once about every model; how many there are."""
        names, heard, up = list(self._models()), dict[str, list[VersionStatus]](), True
        for name in names:
            try:
                heard[name] = self._source.version_statuses(name, _TIMEOUT_SECONDS)
            except ServingError:
                # One that is away is away for all: the others' old answers say nothing of now.
                heard, up = {}, False
                break
        self._up, self._statuses = up, heard
        return len(names)

    def up(self) -> list[tuple[tuple[str, ...], float]]:
        """Whether the model server answered; nothing before it was asked for the first time."""
        return [] if self._up is None else [((self._server,), float(self._up))]

    def states(self) -> list[tuple[tuple[str, ...], float]]:
        """The state of every version."""
        return [
            ((self._server, model, str(each.version), each.state), 1.0)
            for model, statuses in self._statuses.items()
            for each in statuses
        ]

    def failures(self) -> list[tuple[tuple[str, ...], float]]:
        """The versions that could not be loaded, and why."""
        return [
            ((self._server, model, str(each.version), each.code), 1.0)
            for model, statuses in self._statuses.items()
            for each in statuses
            if each.code is not None
        ]

    def _run(self) -> None:
        pause = 0.0
        while not self._stopping.wait(pause):
            pause = max(_LEAST_SECONDS, _SECONDS_A_MODEL * self.look())
