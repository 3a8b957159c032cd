"""What is told to the metrics of one request, and what they say of a version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from headway_serving.core.classification import PictureAnswer
from headway_serving.core.requests import Fallback
from headway_serving.core.routing import Route


class Observation(NamedTuple):
    """One classification request as it ended. A tuple, because making one of a frozen class takes twice as long.

    ``model``: None if no such model is routed. ``route``: None if the request failed before a version that exists was
    chosen. ``code``: ``ok`` or the problem's code. ``images``: pictures answered. ``seconds``: from request to answer.
    ``fallback``: the candidate that failed before ``route`` answered. ``bad_picture_codes``: of each picture that could
    not be read, its problem's code. ``status``: of HTTP. ``results``: what each picture got. ``body_bytes``: of its
    pictures; None where they were not read. ``shed``: why it was turned away. ``token``: the name of the one it came
    with. ``trace_id``: of a trace that is recorded.
    """

    model: str | None
    route: Route | None
    code: str
    images: int
    seconds: float
    stage_seconds: Mapping[str, float]
    fallback: Fallback | None = None
    bad_picture_codes: tuple[str, ...] = ()
    status: int = 200
    results: Sequence[PictureAnswer] = ()
    body_bytes: int | None = None
    shed: str | None = None
    token: str | None = None
    trace_id: str | None = None


@dataclass(frozen=True)
class VersionTotals:
    """Of a version since this process began: requests that were answered and not, the seconds of both, and pictures."""

    answered: int
    failed: int
    seconds: float
    pictures: int
