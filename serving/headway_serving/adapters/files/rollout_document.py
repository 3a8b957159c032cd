"""The JSON form of a rollout's state and history, inside ``routes.json``.

Every field of the core's dataclasses has a key of its own name, so that the file reads as the code does.
"""

import math
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
from headway_serving.core.rollout_state import (
    HISTORY_LENGTH,
    ArmTraffic,
    HistoryEntry,
    Latency,
    RolloutPolicy,
    RolloutState,
    RolloutStatus,
    Verification,
)

T = TypeVar("T")
Reader = Callable[[Any, str], Any]


def rollout_of(value: Any, where: str) -> RolloutState:
    """Read a rollout. Raises :class:`InvalidRoutes` with the place."""
    return _record(RolloutState, value, where, _STATE)


def rollout_to(state: RolloutState) -> dict[str, Any]:
    """The JSON form of a rollout."""
    document = {**asdict(state), "status": state.status.value}
    document["policy"]["steps"] = list(state.policy.steps)
    if state.reference is not None:
        latency = state.reference.latency
        # The last edge is infinite, which JSON cannot say: there is one count more than edges.
        document["reference"]["latency"] = {"edges": list(latency.edges[:-1]), "counts": list(latency.counts)}
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
    return _record(RolloutPolicy, value, where, _POLICY)


def _status(value: Any, where: str) -> RolloutStatus:
    if value not in [status.value for status in RolloutStatus]:
        raise InvalidRoutes(f"{where}: one of {', '.join(RolloutStatus)} is needed, not {value!r}")
    return RolloutStatus(value)


def _verification(value: Any, where: str) -> Verification:
    readers: Mapping[str, Reader] = {
        "version": version_of, "digest": text_of, "at": text_of, "golden_samples": count_of,
        "compared": count_of, "disagreed": count_of,
    }  # fmt: skip
    return _record(Verification, value, where, readers)


def _reference(value: Any, where: str) -> ArmTraffic | None:
    if value is None:
        return None
    return _record(ArmTraffic, value, where, {"requests": number_of, "errors": number_of, "latency": _latency})


def _latency(value: Any, where: str) -> Latency:
    entry = section(value, where, required={"edges", "counts"})
    edges, counts = (numbers_of(entry[name], f"{where}.{name}") for name in ("edges", "counts"))
    if not edges and not counts:
        return Latency()
    if len(counts) != len(edges) + 1:
        raise InvalidRoutes(f"{where}: one count more than edges is needed")
    return Latency((*edges, math.inf), counts)


_POLICY: Mapping[str, Reader] = {
    "steps": numbers_of,
    "interval_seconds": number_of,
    "min_samples": count_of,
    "patience": count_of,
    "false_alarm": number_of,
    "max_error_increase": number_of,
    "max_p99_ratio": number_of,
    "shadow_share": number_of,
    "max_disagreement": number_of,
    "max_class_disagreement": number_of,
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
    "reference": _reference,
    "reason": text_of,
}


def _record(kind: Callable[..., T], value: Any, where: str, readers: Mapping[str, Reader]) -> T:
    """A dataclass from an object: fields without a default are required, unknown keys are refused."""
    needed = {item.name for item in fields(kind) if item.default is MISSING}  # type: ignore[arg-type]  # a dataclass
    entry = section(value, where, required=needed, optional=frozenset(readers) - needed)
    values = {name: readers[name](each, f"{where}.{name}") for name, each in entry.items()}
    try:
        return kind(**values)
    except ValueError as error:
        raise InvalidRoutes(f"{where}.{error}") from error
