"""What is wrong with a dataset before it is trained on: unreadable files, copies, leaks, imbalance, too few samples.

Pure: :func:`check_data` gets what was seen in every split and returns a value; who refuses what is decided elsewhere.
Copies are exact: pictures whose decoded pixels are equal, whatever their files are called and how they are compressed.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

SPLITS = ("train", "validation", "test")

IMBALANCE = 10
"""Largest by smallest training class, above which is warned: the small class then hardly counts in the loss."""

FEW_TRAINING, FEW_TEST = 10, 5
"""Pictures of a class, below which is warned: so few show little of a class, or hardly measure it."""

_SHOWN = 10
"""Pictures or groups that a line or a JSON form names; more are counted."""


class Sighting(NamedTuple):
    """One picture in one split. ``content`` is equal for equal decoded pixels."""

    split: str
    label: str
    name: str
    content: str


@dataclass(frozen=True)
class BadPicture:
    """A file that cannot be read as a picture, and why."""

    name: str
    reason: str


class Unused(NamedTuple):
    """A file or folder that lies with the pictures and is not used, and why; of folders, the name ends in a slash."""

    name: str
    reason: str


@dataclass(frozen=True)
class Copy:
    """One of several identical pictures: where it is and what it is labelled."""

    split: str
    label: str
    name: str


@dataclass(frozen=True)
class NearCopy:
    """Two pictures of different splits that show the same and are not equal. ``cosine``: of their features, 0..1."""

    first: Copy
    second: Copy
    cosine: float


@dataclass(frozen=True)
class ClassCount:
    """Pictures of one class in each split."""

    label: str
    train: int
    validation: int
    test: int


Copies = tuple[Copy, ...]
"""Pictures with identical pixels, at least two."""


@dataclass(frozen=True)
class DataCheck:
    """What a dataset is like before training.

    * ``counts``: one entry per class, in the order of the scores.
    * ``unreadable``: files that were left out.
    * ``unused``: files and folders that belong to no class.
    * ``duplicates``: groups of identical pictures within one split.
    * ``leaks``: groups of identical pictures that lie in more than one split.
    * ``near_copies``: pairs across splits, found by features; ``dropped``: pictures left out for that.
    """

    counts: tuple[ClassCount, ...]
    unreadable: tuple[BadPicture, ...] = ()
    duplicates: tuple[Copies, ...] = ()
    leaks: tuple[Copies, ...] = ()
    unused: tuple[Unused, ...] = ()
    near_copies: tuple[NearCopy, ...] = ()
    dropped: int = 0

    @property
    def conflicts(self) -> tuple[Copies, ...]:
        """Groups of identical pictures that have different labels; at least one of these labels is wrong."""
        leaked = {copy for group in self.leaks for copy in group}
        groups = (*self.leaks, *(group for group in self.duplicates if group[0] not in leaked))
        return tuple(group for group in groups if len({copy.label for copy in group}) > 1)

    @property
    def imbalance(self) -> float:
        """Training pictures of the largest class by those of the smallest: 1 or more, infinite for an empty class."""
        sizes = [count.train for count in self.counts]
        return max(sizes) / min(sizes) if min(sizes) else float("inf")

    def warnings(self) -> tuple[str, ...]:
        """One line for people per thing found; none for a dataset without findings."""
        return (*self._about_files(), *self._about_copies(), *self._about_sizes())

    def to_mapping(self) -> dict[str, Any]:
        """Return the JSON form. Of files and groups, all are counted and the first ten are named."""
        return {
            "counts": [asdict(count) for count in self.counts],
            "imbalance": None if self.imbalance == float("inf") else self.imbalance,
            "unreadable": _counted([asdict(picture) for picture in self.unreadable]),
            "unused": _counted([each._asdict() for each in self.unused]),
            "duplicates": _counted([_group(group) for group in self.duplicates]),
            "leaks": _counted([_group(group) for group in self.leaks]),
            "near_copies": _counted([asdict(pair) for pair in self.near_copies]),
            "dropped": self.dropped,
            "conflicts": _counted([_group(group) for group in self.conflicts]),
            "warnings": list(self.warnings()),
        }

    def _about_files(self) -> Iterable[str]:
        if self.unreadable:
            named = _listed([f"{picture.name} ({picture.reason})" for picture in self.unreadable])
            yield f"{_number(self.unreadable, 'file')} left out, not readable as pictures: {named}"

        if self.unused:
            listed = _listed([f"{each.name} ({each.reason})" for each in self.unused])
            yield f"{_number(self.unused, 'file or folder', 'files and folders')} not used: {listed}"

    def _about_copies(self) -> Iterable[str]:
        if self.leaks:
            yield (
                f"{_number(self.leaks, 'picture')} in more than one split, so the accuracy partly measures memory: "
                f"{_listed([_equation(group) for group in self.leaks])}"
            )
        if self.near_copies or self.dropped:
            done = (
                f"{self.dropped} left out of training and validation"
                if self.dropped
                else "so the accuracy partly measures memory; leave them out with --on-near-copies drop"
            )
            listed = [f"{pair.first.name} ~ {pair.second.name} ({pair.cosine:.2f})" for pair in self.near_copies]
            yield f"{_number(listed, 'pair')} of near copies in different splits, {done}: {_listed(listed)}"
        if self.duplicates:
            surplus = sum(len(group) - 1 for group in self.duplicates)
            yield (
                f"{_number(self.duplicates, 'picture')} more than once in a split ({surplus} surplus): "
                f"{_listed([_equation(group) for group in self.duplicates])}"
            )
        if self.conflicts:
            labelled = [_equation(group, labelled=True) for group in self.conflicts]
            yield f"{_number(self.conflicts, 'picture')} with different labels in different places: {_listed(labelled)}"

    def _about_sizes(self) -> Iterable[str]:
        if self.imbalance > IMBALANCE:
            largest = max(self.counts, key=lambda count: count.train)
            smallest = min(self.counts, key=lambda count: count.train)
            yield (
                f"imbalance: class {largest.label} has {largest.train} training pictures, "
                f"{smallest.label} has {smallest.train}; a net may ignore the small class"
            )
        for split, title, enough in (("train", "training", FEW_TRAINING), ("test", "test", FEW_TEST)):
            few = [(count.label, getattr(count, split)) for count in self.counts if getattr(count, split) < enough]
            if few:
                named = _listed([f"{label} {number}" for label, number in few])
                yield f"fewer than {enough} {title} pictures of {_number(few, 'class')}: {named}"


def check_data(
    classes: Sequence[str],
    sightings: Iterable[Sighting],
    unreadable: Sequence[BadPicture] = (),
    unused: Sequence[Unused] = (),
) -> DataCheck:
    """Count and compare all pictures of all splits. ``sightings``' labels are among ``classes``."""
    groups: defaultdict[str, list[Sighting]] = defaultdict(list)
    sizes: Counter[tuple[str, str]] = Counter()
    for sighting in sightings:
        groups[sighting.content].append(sighting)
        sizes[sighting.split, sighting.label] += 1
    copied = [group for group in groups.values() if len(group) > 1]
    within = [[sighting for sighting in group if sighting.split == split] for group in copied for split in SPLITS]
    return DataCheck(
        counts=tuple(ClassCount(label, *(sizes[split, label] for split in SPLITS)) for label in classes),
        unreadable=tuple(unreadable),
        duplicates=tuple(_copies(group) for group in within if len(group) > 1),
        leaks=tuple(_copies(group) for group in copied if len({sighting.split for sighting in group}) > 1),
        unused=tuple(unused),
    )


def _copies(group: Sequence[Sighting]) -> Copies:
    return tuple(Copy(sighting.split, sighting.label, sighting.name) for sighting in group)


def _equation(group: Copies, *, labelled: bool = False) -> str:
    names = [f"{copy.name} ({copy.label})" if labelled else copy.name for copy in group]
    return _listed(names, " = ")


def _number(things: Sequence[object], singular: str, plural: str = "") -> str:
    plural = plural or (f"{singular}es" if singular.endswith("s") else f"{singular}s")
    return f"{len(things)} {singular if len(things) == 1 else plural}"


def _listed(items: Sequence[str], separator: str = "; ") -> str:
    more = len(items) - _SHOWN
    return separator.join(items[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _group(group: Copies) -> dict[str, Any]:
    return _counted([asdict(copy) for copy in group])


def _counted(items: Sequence[Any]) -> dict[str, Any]:
    return {"count": len(items), "first": list(items[:_SHOWN])}
