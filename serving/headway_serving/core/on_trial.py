"""A candidate on trial cannot hurt: it gets half of the time left, and if it fails, the stable version answers."""

from collections.abc import Callable
from typing import TypeVar

from headway_serving.core.admission import Priority
from headway_serving.core.errors import (
    DeadlineExceeded,
    IncompatibleModel,
    ModelUnavailable,
    PredictionFailed,
    VersionNotFound,
    without_frames,
)
from headway_serving.core.requests import Deadline, Fallback, Progress
from headway_serving.core.routing import Route, RouteTable

T = TypeVar("T")

CANDIDATE_SHARE = 0.5
"""Of the time left, what a candidate gets before the stable version is asked; the other half is for its answer."""

VERSION_FAILURES = (ModelUnavailable, VersionNotFound, IncompatibleModel, PredictionFailed, DeadlineExceeded)
"""What a version can be blamed for; a request that another version would refuse too is not among them."""


def priority_of(route: Route, pictures: int) -> Priority:
    """The kind of traffic that a request of so many pictures is, once its version is chosen."""
    if route.on_trial:
        return Priority.CANDIDATE
    return Priority.STABLE if pictures == 1 else Priority.BATCH


def answer_within(
    deadline: Deadline, route: Route, table: RouteTable, progress: Progress, ask: Callable[[Route, Deadline], T]
) -> T:
    """What ``ask`` answers for the route; if the split chose a candidate and it fails, what the stable version answers.

    ``ask`` gets the version and the time that it has. Raises what it raises for the version that had the last word;
    ``progress`` names that version, and the candidate that failed before it.
    """
    if not route.on_trial:
        return ask(route, deadline)
    try:
        return ask(route, deadline.part(CANDIDATE_SHARE))
    except VERSION_FAILURES as error:
        progress.fallback = Fallback(route, without_frames(error).code)
    stable = progress.route = table.fallback(route)
    return ask(stable, deadline)
