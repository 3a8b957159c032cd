"""Which version of a model answers a request.

Order: pinned version > label > sticky weighted arm > stable. The weighted arm is chosen by a hash of the routing key:
no state, the same on every replica, and raising the weight only ever moves keys from stable to candidate. Each rollout
has a salt of its own, so that it is not always the same users who meet a new version first.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from headway_serving.core.errors import LabelNotFound, ModelNotFound
from headway_serving.core.rollout_state import HistoryEntry, RolloutState, Shadow

_HASH_RANGE = 2**64


class Arm(StrEnum):
    """The part a version plays in the traffic of its model."""

    STABLE = "stable"
    CANDIDATE = "candidate"
    PINNED = "pinned"
    """Asked for by version or label, and neither stable nor candidate."""


@dataclass(frozen=True)
class Candidate:
    """A version on trial and the share of keys it gets, 0 to 1."""

    version: int
    weight: float


@dataclass(frozen=True)
class ModelRoutes:
    """Where one model's traffic goes. ``labels`` name versions; ``stable`` and ``candidate`` always mean the arms.

    ``salt`` mixes into the choice of the weighted arm. ``rollout`` and ``history`` say how it came to this; no request
    depends on them.
    """

    stable: int
    candidate: Candidate | None = None
    labels: Mapping[str, int] = field(default_factory=dict)
    shadow: Shadow | None = None
    salt: str = ""
    rollout: RolloutState | None = None
    history: tuple[HistoryEntry, ...] = ()

    def versions(self) -> tuple[int, ...]:
        """Every version that can get traffic, or may have to again at once, sorted."""
        found = {self.stable, *self.labels.values()}
        if self.candidate is not None:
            found.add(self.candidate.version)
        if self.shadow is not None:
            found.add(self.shadow.version)
        if self.rollout is not None:
            found |= {self.rollout.previous, self.rollout.candidate}
        return tuple(sorted(found))

    @property
    def sampling(self) -> tuple[str, Candidate | None, int]:
        """Equal as long as a routing key is to be counted once: it changes with every stage and every new start."""
        return self.salt, self.candidate, 0 if self.rollout is None else self.rollout.window


@dataclass(frozen=True)
class Route:
    """The version that answers, its arm, and why it was chosen.

    ``reason``: ``version``, ``label``, ``weight``, ``stable``, ``fallback`` (a candidate failed) or ``base`` (a head
    stands on it). ``position``: where the key stands between the arms, 0 to 1, if it was asked for.
    """

    model: str
    version: int
    arm: Arm
    reason: str
    position: float | None = field(default=None, compare=False)

    @property
    def on_trial(self) -> bool:
        """Whether the split chose a candidate: who names a version wants that one, or an error."""
        return self.arm is Arm.CANDIDATE and self.reason == "weight"


@dataclass(frozen=True)
class Pin:
    """What a request asks for by its path: a version, a label, or neither."""

    version: int | None = None
    label: str | None = None


@dataclass(frozen=True)
class RouteTable:
    """The routes of all models at one moment; never changed, only replaced."""

    models: Mapping[str, ModelRoutes]

    def of(self, model: str) -> ModelRoutes:
        """The routes of one model. Raises :class:`ModelNotFound` naming the models there are."""
        try:
            return self.models[model]
        except KeyError:
            known = ", ".join(sorted(self.models)) or "none"
            raise ModelNotFound(f"no model is named {model!r}; models served: {known}") from None

    def choose(self, model: str, pin: Pin, key: str) -> Route:
        """The route of one request; ``key`` makes the weighted choice sticky.

        Raises :class:`ModelNotFound` or :class:`LabelNotFound`. A pinned version is not checked here: whether it
        exists is the model server's to say.
        """
        routes = self.of(model)
        if pin.version is not None:
            return Route(model, pin.version, _arm(routes, pin.version), "version")
        if pin.label is not None:
            version = _labelled(model, routes, pin.label)
            return Route(model, version, _arm(routes, version), "label")
        candidate = routes.candidate
        if candidate is None:
            return Route(model, routes.stable, Arm.STABLE, "stable")
        place = position(model, routes.salt, key)
        if place < candidate.weight:
            return Route(model, candidate.version, Arm.CANDIDATE, "weight", place)
        return Route(model, routes.stable, Arm.STABLE, "weight", place)

    def fallback(self, failed: Route) -> Route:
        """The stable route in the place of a candidate that failed. Raises :class:`ModelNotFound`."""
        return Route(failed.model, self.of(failed.model).stable, Arm.STABLE, "fallback")


def position(model: str, salt: str, key: str) -> float:
    """Where a key stands between 0 (included) and 1 (excluded), uniformly and independently for each model and salt."""
    salted = f"{model}\0{salt}\0{key}" if salt else f"{model}\0{key}"
    digest = hashlib.blake2b(salted.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / _HASH_RANGE


def _arm(routes: ModelRoutes, version: int) -> Arm:
    if version == routes.stable:
        return Arm.STABLE
    if routes.candidate is not None and version == routes.candidate.version:
        return Arm.CANDIDATE
    return Arm.PINNED


def _labelled(model: str, routes: ModelRoutes, label: str) -> int:
    labels = {**routes.labels, "stable": routes.stable}
    if routes.candidate is not None:
        labels["candidate"] = routes.candidate.version
    if label not in labels:
        raise LabelNotFound(f"model {model!r} has no label {label!r}; its labels: {', '.join(sorted(labels))}")
    return labels[label]
