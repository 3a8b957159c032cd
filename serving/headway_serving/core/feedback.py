"""What applications learn later: whether an answer was right. Counted by the version and the arm that gave it.

Whatever is needed stands in the answer itself, so any gateway can be told, not only the one that answered. What cannot
be checked is not believed: a version must be routed or known to the catalogue, the label one of its manifest's, and an
arm counts as it is told only for a version that the routes name; for another it is ``pinned``.

A truth that the version has no label for is a wrong answer: the model could not have said it.
"""

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

from headway_contract.model_manifest import ModelManifest
from headway_serving.core.catalog import Catalog
from headway_serving.core.errors import InvalidRequest, ServingError, VersionNotFound
from headway_serving.core.routing import Arm, Route, RouteTable

MOST_REMEMBERED = 100_000
"""Answers whose feedback is remembered, so that it is counted once; about 10 MB when all are used."""

_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True)
class Feedback:
    """One answer and the truth. ``index``: of the picture in its request; ``label``: what was answered.

    ``key_position``: where the request's routing key stands between the arms, 0 to 1, as the answer says it while
    traffic is split. What does not say it is counted, and is no evidence in a rollout.
    """

    request_id: str
    version: int
    arm: Arm
    label: str
    truth: str
    index: int = 0
    key_position: float | None = None


@dataclass(frozen=True)
class Ignored:
    """One that was not counted: its place among those sent, from 0, and why."""

    position: int
    error: ServingError


@dataclass(frozen=True)
class Tally:
    """What became of the feedback of one request."""

    right: int
    wrong: int
    duplicates: int
    ignored: tuple[Ignored, ...]


class FeedbackCounter(Protocol):
    """Where feedback is counted."""

    def count_feedback(self, route: Route, stage: Hashable, *, right: bool) -> None:
        """Count one answer of a version; ``right``: its label was the truth.

        Of each ``route.position`` only the first in a ``stage`` is evidence.
        """
        ...


class FeedbackDesk:
    """Takes feedback. Safe for use by many threads.

    Of one picture of one request only the first feedback counts, as far as this process remembers it: the newest
    ``remembered`` answers. Other processes do not know of them.
    """

    def __init__(
        self,
        routes: Callable[[], RouteTable],
        catalog: Catalog,
        counter: FeedbackCounter,
        remembered: int = MOST_REMEMBERED,
    ) -> None:
        self._routes, self._catalog, self._counter = routes, catalog, counter
        self._remembered = remembered
        # Hashes and not ids, which may be long; a dictionary keeps the order in which they came.
        self._seen: dict[int, None] = {}
        self._lock = threading.Lock()

    def take(self, model: str, items: Sequence[Feedback]) -> Tally:
        """Count feedback for one model. Raises ``ModelNotFound``."""
        table = self._routes()
        table.of(model)
        checked: dict[int, ModelManifest | ServingError] = {}
        right = wrong = duplicates = 0
        ignored = []
        for position, item in enumerate(items):
            if item.version not in checked:
                checked[item.version] = self._manifest(table, model, item.version)
            error = _refusal(checked[item.version], model, item)
            if error is not None:
                ignored.append(Ignored(position, error))
            elif not self._is_first(model, item):
                duplicates += 1
            else:
                is_right = item.label == item.truth
                right, wrong = right + is_right, wrong + (not is_right)
                self._counter.count_feedback(_route(table, model, item), table.of(model).sampling, right=is_right)
        return Tally(right, wrong, duplicates, tuple(ignored))

    def _manifest(self, table: RouteTable, model: str, version: int) -> ModelManifest | ServingError:
        if not (self._catalog.knows(model, version) or version in table.of(model).versions()):
            return VersionNotFound(
                f"version {version} of {model} is not routed and has answered nothing here; send the version that the "
                "answer carried"
            )
        try:
            return self._catalog.manifest(Route(model, version, Arm.PINNED, "version"), _TIMEOUT_SECONDS)
        except ServingError as error:
            return error

    def _is_first(self, model: str, item: Feedback) -> bool:
        key = hash((model, item.request_id, item.index))
        with self._lock:
            if key in self._seen:
                return False
            self._seen[key] = None
            if len(self._seen) > self._remembered:
                del self._seen[next(iter(self._seen))]
            return True


def _refusal(manifest: ModelManifest | ServingError, model: str, item: Feedback) -> ServingError | None:
    if isinstance(manifest, ServingError):
        return manifest
    if item.label not in manifest.labels:
        return InvalidRequest(
            f"version {item.version} of {model} has no label {item.label[:40]!r}; send the label that it answered"
        )
    return None


def _route(table: RouteTable, model: str, item: Feedback) -> Route:
    arm = item.arm if item.version in table.of(model).versions() else Arm.PINNED
    return Route(model, item.version, arm, "version", item.key_position)
