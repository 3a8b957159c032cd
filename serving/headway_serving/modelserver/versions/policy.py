"""Which versions of a model are wanted, and which one to load or unload next. Pure functions.

*Aspired versions* are those the policy picks from the names found under the model's base path. The *next
transition* preserves availability: a new version is loaded before an old one goes, so that there is always
one that serves; while both are loaded, memory holds both.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum

from headway_serving.modelserver.versions.model_config import AllVersions, Latest, ModelConfig, Specific

logger = logging.getLogger(__name__)

_VERSION_NAME = re.compile(r"\s*[+-]?[0-9]+\s*", re.ASCII)
_INT64 = 1 << 63


class State(IntEnum):
    """The states of a version, with the numbers of TensorFlow Serving's GetModelStatus."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


class Action(Enum):
    """What to do with a version."""

    LOAD = "load"
    UNLOAD = "unload"


@dataclass(frozen=True)
class VersionView:
    """What the policy sees of one version: its number, its state, and whether it is aspired."""

    number: int
    state: State
    aspired: bool


def aspired_versions(model: ModelConfig, children: Iterable[str]) -> dict[int, str]:
    """Return the versions of ``model`` to serve, by number, with the directory names that hold them.

    ``children`` are the names under the model's base path; those that are no int64 are passed over. Warns of
    two names for one number (the lexicographically last counts) and of wanted versions that are not there.
    """
    found = _by_number(children)
    match model.policy:
        case Latest(count):
            chosen = sorted(found)[-count:]
        case Specific(wanted):
            chosen = sorted(wanted & found.keys())
            _warn_of_missing(model.name, wanted - found.keys())
        case AllVersions():
            chosen = sorted(found)
    if not chosen:
        logger.warning(
            "No versions of servable %s found under base path %s. Did you forget to name your leaf directory "
            "as a number (eg. '/1/')?",
            model.name,
            model.base_path,
        )
    return {number: found[number] for number in chosen}


def next_transition(versions: Sequence[VersionView]) -> tuple[Action, int] | None:
    """Return what to do next for one model and the number of the version to do it with, or None.

    The lowest unwanted version goes if nothing is wanted, if a wanted one serves, or if another unwanted one
    serves beside it; otherwise the highest wanted version that is new is loaded.
    """
    unwanted = [v.number for v in versions if not v.aspired and v.state is State.AVAILABLE]
    aspired = [v for v in versions if v.aspired]
    replaced = not aspired or any(v.state is State.AVAILABLE for v in aspired)
    if unwanted and (replaced or len(unwanted) > 1):
        return Action.UNLOAD, min(unwanted)
    new = [v.number for v in aspired if v.state is State.START]
    return (Action.LOAD, max(new)) if new else None


def _by_number(children: Iterable[str]) -> dict[int, str]:
    found: dict[int, str] = {}
    for child in sorted(children):
        if not _VERSION_NAME.fullmatch(child) or not -_INT64 <= int(child) < _INT64:
            continue
        number = int(child)
        if number in found:
            logger.warning(
                "Duplicate version directories detected. Version %d will be loaded from %s, %s will be ignored.",
                number,
                child,
                found[number],
            )
        found[number] = child
    return found


def _warn_of_missing(name: str, versions: Iterable[int]) -> None:
    for version in sorted(versions):
        logger.warning(
            "Version %d of servable %s, which was requested to be served as a 'specific' version in the "
            "servable's version policy, was not found in the file system",
            version,
            name,
        )
