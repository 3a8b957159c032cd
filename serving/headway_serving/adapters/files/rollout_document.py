"""The JSON form of a rollout's state and history, inside ``routes.json``.

Every field of the core's dataclasses has a key of its own name, so that the file reads as the code does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from typing import Any, TypeVar

from headway_serving.adapters.files.values import (
    InvalidRoutes,
    count_of,
    number_of,
    numbers_of,
    section,
    text_of,
    version_of,
)
from headway_serving.core.duration_steps import MOST_STEPS
from headway_serving.core.rollout_state import (
    HISTORY_LENGTH,
    HistoryEntry,
    RolloutPolicy,
    RolloutState,
    RolloutStatus,
    Verification,
)
from headway_serving.core.rollout_traffic import SCORE_BINS, ArmTraffic, KeySample

T = TypeVar("T")
Reader = Callable[[Any, str], Any]


def rollout_of(value: Any, where: str) -> RolloutState:
    """Read a rollout. Raises :class:`InvalidRoutes` with the place."""
    return _record(RolloutState, value, where, _STATE)


def rollout_to(state: RolloutState) -> dict[str, Any]:
    """The JSON form of a rollout."""
    document = {**asdict(state), "status": state.status.value}
    document["policy"]["steps"] = list(state.policy.steps)
    return document


def history_of(value: Any, where: str) -> tuple[HistoryEntry, ...]:
    """Read a history. Raises :class:`InvalidRoutes` with the place."""
    if not isinstance(value, list) or len(value) > HISTORY_LENGTH:
        raise InvalidRoutes(f"{where}: a list of at most {HISTORY_LENGTH} entries is needed")
    readers = dict.fromkeys(("at", "by", "what", "why"), text_of)
    return tuple(_record(HistoryEntry, each, f"{where}[{index}]", readers) for index, each in enumerate(value))


def history_to(history: Sequence[HistoryEntry]) -> list[dict[str, str]]:
    """The JSON form of a history."""
    return [asdict(entry) for entry in history]


def policy_of(value: Any, where: str) -> RolloutPolicy:
    """Read a policy; what is left out has its default. Raises :class:`InvalidRoutes` with the place."""
    if isinstance(value, dict) and _FORMER_RATIO in value:
        value = {("max_latency_ratio" if name == _FORMER_RATIO else name): each for name, each in value.items()}
    return _record(RolloutPolicy, value, where, _POLICY)


def _status(value: Any, where: str) -> RolloutStatus:
    if value not in [status.value for status in RolloutStatus]:
        raise InvalidRoutes(f"{where}: one of {', '.join(RolloutStatus)} is needed, not {value!r}")
    return RolloutStatus(value)


def _verification(value: Any, where: str) -> Verification:
    readers: Mapping[str, Reader] = {
        "version": version_of, "digest": text_of, "at": text_of, "golden_samples": count_of,
        "compared": count_of, "disagreed": count_of, "fair": _truth,
    }  # fmt: skip
    return _record(Verification, value, where, readers)


def _reference(value: Any, where: str) -> ArmTraffic | None:
    if value is None:
        return None
    if isinstance(value, dict):
        # Earlier releases kept a histogram too coarse to compare with, and feedback by entries instead of keys.
        value = {name: each for name, each in value.items() if name not in ("latency", "right", "wrong")}
    counts = dict.fromkeys(("requests", "errors", "overloaded"), number_of)
    return _record(ArmTraffic, value, where, {**counts, "sample": _sample})


def _sample(value: Any, where: str) -> KeySample:
    readers: Mapping[str, Reader] = {
        "asked": number_of,
        "errors": number_of,
        "latency": _numbered(MOST_STEPS),
        "work": _numbered(MOST_STEPS),
        "labels": _counts,
        "scores": _numbered(SCORE_BINS - 1),
        "right": number_of,
        "wrong": number_of,
    }
    return _record(KeySample, value, where, readers)


def _counts(value: Any, where: str) -> dict[str, float]:
    if not isinstance(value, dict):
        raise InvalidRoutes(f"{where}: an object of counts is needed")
    return {name: number_of(count, f"{where}.{name}") for name, count in value.items()}


def _numbered(most: int) -> Reader:
    """Counts by a number from 0 to ``most``, which JSON writes as a text."""

    def read(value: Any, where: str) -> dict[int, float]:
        counts = _counts(value, where)
        if any(not (name.isascii() and name.isdecimal() and int(name) <= most) for name in counts):
            raise InvalidRoutes(f"{where}: numbers from 0 to {most} are needed as keys")
        return {int(name): count for name, count in counts.items()}

    return read


def _truth(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidRoutes(f"{where}: true or false is needed, not {value!r}")
    return value


_FORMER_RATIO = "max_p99_ratio"
"""What ``max_latency_ratio`` was called by releases that compared nothing else."""

_POLICY: Mapping[str, Reader] = {
    "steps": numbers_of,
    "interval_seconds": number_of,
    "min_samples": count_of,
    "patience": count_of,
    "false_alarm": number_of,
    "max_error_increase": number_of,
    "max_latency_ratio": number_of,
    "max_work_ratio": number_of,
    "max_label_shift": number_of,
    "max_score_shift": number_of,
    "max_accuracy_loss": number_of,
    "shadow_share": number_of,
    "max_disagreement": number_of,
    "max_class_disagreement": number_of,
    "keep_when_held": _truth,
}
_STATE: Mapping[str, Reader] = {
    "candidate": version_of,
    "previous": version_of,
    "status": _status,
    "verification": _verification,
    "policy": policy_of,
    "stage": count_of,
    "since": number_of,
    "looks": count_of,
    "window": count_of,
    "reference": _reference,
    "reason": text_of,
}


def _record(kind: Callable[..., T], value: Any, where: str, readers: Mapping[str, Reader]) -> T:
    """A dataclass from an object: fields without a default are required, unknown keys are refused."""
    needed = {
        item.name
        for item in fields(kind)  # type: ignore[arg-type]  # a dataclass
        if item.default is MISSING and item.default_factory is MISSING
    }
    entry = section(value, where, required=needed, optional=frozenset(readers) - needed)
    values = {name: readers[name](each, f"{where}.{name}") for name, each in entry.items()}
    try:
        return kind(**values)
    except ValueError as error:
        raise InvalidRoutes(f"{where}.{error}") from error
