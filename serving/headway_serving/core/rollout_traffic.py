"""What a rollout is judged by: the traffic of one stage, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from headway_serving.core.duration_steps import Steps

SCORE_BINS = 20
"""Bins of equal width, 0 to 1, in which the scores of the best labels are counted."""

NO_FAULT = frozenset({"ok", "overloaded", "invalid_request", "empty_body", "invalid_image", "unsupported_image",
                      "image_too_large"})  # fmt: skip
"""Codes that are no fault of the version: the answer was good, the request was bad, or it was turned away unasked.
Every other code counts against it, also one that this release does not know."""


@dataclass(frozen=True)
class KeySample:
    """One request of each routing key: the first that a gateway saw of it in this stage.

    Requests of one key are alike (one user's pictures, one camera, one slow line), so three keys that make most of the
    traffic would look like thousands of witnesses. A hash deals keys to the arms, so *keys* are a random sample, and
    every proof rests on them. A request without a key is a key of its own.

    ``asked``: keys whose request the version answered or failed; ``errors``: failed. ``latency``, ``work``: seconds of
    the answered ones, from request to answer, and in the stages alone, for each picture, without waiting in a queue.
    ``labels``: the best label of the request's first picture; ``scores``: its score by bin.
    ``right``, ``wrong``: keys by the first feedback on one of their answers.
    """

    asked: float = 0.0
    errors: float = 0.0
    latency: Steps = field(default_factory=dict)
    work: Steps = field(default_factory=dict)
    labels: Mapping[str, float] = field(default_factory=dict)
    scores: Mapping[int, float] = field(default_factory=dict)
    right: float = 0.0
    wrong: float = 0.0


@dataclass(frozen=True)
class ArmTraffic:
    """What one version did in a window.

    ``requests``: what it was asked; ``errors``: what it failed of them. ``overloaded``: requests that were refused for
    overload after the version was chosen, in neither of both.
    """

    requests: float = 0.0
    errors: float = 0.0
    overloaded: float = 0.0
    sample: KeySample = KeySample()


@dataclass(frozen=True)
class ShadowTraffic:
    """What mirrored pictures showed: answers compared, and those that the shadow failed or that were dropped unasked.

    ``flips``: pictures by (stable's label, candidate's label) where they differ. ``by_class``: pictures compared by
    stable's label. ``mean_shift``: how far the score of stable's label moves on average, 0 to 1; None if unknown.
    Nothing is decided by it.
    """

    agree: float = 0.0
    disagree: float = 0.0
    error: float = 0.0
    dropped: float = 0.0
    flips: Mapping[tuple[str, str], float] = field(default_factory=dict)
    by_class: Mapping[str, float] = field(default_factory=dict)
    mean_shift: float | None = None


@dataclass(frozen=True)
class Observation:
    """Everything a decision is made of: both arms and the shadow in the window since the stage began."""

    stable: ArmTraffic
    candidate: ArmTraffic
    shadow: ShadowTraffic
