"""What a rollout is: its policy, how far it came, and what was changed by whom. All of it stands in ``routes.json``.

Nothing here decides (:mod:`headway_serving.core.rollout.decision` does) or changes routes
(:mod:`headway_serving.core.rollout.changes` does).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from headway_serving.core.rollout_traffic import ArmTraffic

HISTORY_LENGTH = 50
"""Entries that are kept of a model's history; the oldest go first."""


class RolloutStatus(StrEnum):
    """Where a rollout stands. The first three can still continue."""

    RUNNING = "running"
    PAUSED = "paused"
    """A person stopped it; traffic stays as it is."""
    HELD = "held"
    """It could not be decided; stable has all traffic, or it stays as it is if the policy says so."""
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"


OPEN = frozenset({RolloutStatus.RUNNING, RolloutStatus.PAUSED, RolloutStatus.HELD})
"""What can still become promoted or rolled back."""


@dataclass(frozen=True)
class Shadow:
    """A version that gets a copy of a ``share`` (0 to 1) of the traffic; its answers reach nobody."""

    version: int
    share: float


@dataclass(frozen=True)
class HistoryEntry:
    """One change: ``at`` UTC in ISO 8601, ``by`` whom, ``what`` was changed and ``why``."""

    at: str
    by: str
    what: str
    why: str


@dataclass(frozen=True)
class Verification:
    """The proof that a version may get traffic: which content was checked (``digest`` of its checksums), and when.

    Raises ValueError for counts that make no sense.
    """

    version: int
    digest: str
    at: str
    golden_samples: int
    compared: int = 0
    """Pictures that stable and the candidate were both asked before traffic; 0: there were none to ask."""
    disagreed: int = 0
    """Those of them to which the two gave different best labels."""
    fair: bool = True
    """Whether neither version may have been trained on those pictures; else they prove nothing."""

    def __post_init__(self) -> None:
        _require(0 <= self.disagreed <= self.compared, "disagreed: 0 to compared")


_SHARES = (
    "shadow_share", "max_disagreement", "max_class_disagreement", "max_label_shift", "max_score_shift",
    "max_accuracy_loss",
)  # fmt: skip


@dataclass(frozen=True)
class RolloutPolicy:
    """How a rollout proceeds and what it tolerates. Raises ValueError for values that make no sense."""

    steps: tuple[float, ...] = (0.05, 0.25, 0.5, 1.0)
    """Weights of the candidate, rising, more than 0 to 1."""
    interval_seconds: float = 60.0
    """Time between two looks at the data; a step lasts at least one."""
    min_samples: int = 200
    """Requests that each arm needs in a step before anything is concluded."""
    patience: int = 10
    """Looks at one step without a decision before the command gives up."""
    false_alarm: float = 0.01
    """Probability, for the whole rollout, of rolling back a candidate that keeps within every limit."""
    max_error_increase: float = 0.005
    """Error rate of the candidate above that of stable."""
    max_latency_ratio: float = 1.25
    """The candidate's latency to that of stable, at the median, the 90th and the 99th percentile."""
    max_work_ratio: float = 2.0
    """The candidate's work for an answer to that of stable, in the median."""
    max_label_shift: float = 0.05
    """How much more, or less, of the candidate's answers may have some label than of stable's."""
    max_score_shift: float = 0.2
    """The same for the share of answers whose score is below some value."""
    max_accuracy_loss: float = 0.01
    """Share of wrong answers above stable's, where applications give feedback."""
    shadow_share: float = 0.0
    """Share of traffic mirrored to the candidate in a step before the first; 0 leaves it out."""
    max_disagreement: float = 0.05
    """Share of mirrored pictures that the candidate labels otherwise than stable."""
    max_class_disagreement: float = 0.25
    """The same among the pictures of any one class, as stable labels them."""
    keep_when_held: bool = False
    """Whether a rollout that cannot be decided leaves its traffic as it is; else stable gets all of it."""

    def __post_init__(self) -> None:
        rising = all(low < high for low, high in zip((0.0, *self.steps), self.steps, strict=False))
        _require(bool(self.steps) and rising and self.steps[-1] <= 1, "steps: rising weights above 0, up to 1")
        _require(0.1 <= self.interval_seconds <= 86_400, "interval_seconds: 0.1 to 86400")
        _require(1 <= self.min_samples <= 10**9, "min_samples: 1 or more")
        _require(1 <= self.patience <= 10**6, "patience: 1 or more")
        _require(0 < self.false_alarm <= 0.2, "false_alarm: more than 0, up to 0.2")
        _require(0 <= self.max_error_increase < 1, "max_error_increase: 0 to 1")
        for name in ("max_latency_ratio", "max_work_ratio"):
            _require(1 <= getattr(self, name) < math.inf, f"{name}: 1 or more")
        for name in _SHARES:
            _require(0 <= getattr(self, name) <= 1, f"{name}: 0 to 1")

    def stages(self) -> tuple["Stage", ...]:
        """Every stage in order: the shadow, if there is one, and a stage for each step."""
        shadow = (Stage(0.0, self.shadow_share),) if self.shadow_share > 0 else ()
        return (*shadow, *(Stage(weight, 0.0) for weight in self.steps))


@dataclass(frozen=True)
class Stage:
    """What the candidate gets in a part of a rollout: ``weight`` of the keys, or a mirrored ``shadow_share``."""

    weight: float
    shadow_share: float

    def __str__(self) -> str:
        return f"shadow {100 * self.shadow_share:g} %" if self.shadow_share else f"{100 * self.weight:g} %"


@dataclass(frozen=True)
class RolloutState:
    """One rollout of a model. ``previous`` was stable when it began and stays loaded until it is finished.

    ``stage``: place in the policy's stages. ``since``: Unix time from which the stage's traffic counts. ``looks``: how
    often the stage's data was judged, which the false-alarm rate has to pay for. ``window``: rises whenever traffic
    begins to count anew, and gateways with it draw a new sample of routing keys. ``reference``: stable's traffic in the
    last stage that gave it enough of it, for the stage that leaves it none.
    """

    candidate: int
    previous: int
    status: RolloutStatus
    verification: Verification
    policy: RolloutPolicy
    stage: int = 0
    since: float = 0.0
    looks: int = 0
    window: int = 0
    reference: ArmTraffic | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        _require(0 <= self.stage < len(self.policy.stages()), "stage: a place in the policy's stages")
        _require(self.looks >= 0, "looks: 0 or more")
        _require(self.window >= 0, "window: 0 or more")
        _require(self.candidate != self.previous, "candidate and previous must be two versions")
        _require(self.verification.version == self.candidate, "verification: of another version than the candidate")


def appended(history: Sequence[HistoryEntry], entry: HistoryEntry) -> tuple[HistoryEntry, ...]:
    """The history with one more entry and at most :data:`HISTORY_LENGTH` of them."""
    return (*history, entry)[-HISTORY_LENGTH:]


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise ValueError(problem)
