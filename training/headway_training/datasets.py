"""Named datasets and folders of pictures -> checked splits of model input, in the contract's own geometry.

A dataset has a train part and perhaps a test and a validation part; what it has not is taken from its train part.
"""

import hashlib
import json
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headway_contract.preprocessing import ImageSpec
from headway_training.data_check import SPLITS, BadPicture, ClassCount, DataCheck, Sighting, Unused, check_data
from headway_training.dataset_rows import RowsRecipe
from headway_training.errors import BadPictures, DataMissing, InvalidRecipe
from headway_training.image_folders import FolderPart, Progress, folder_layout, load_folder
from headway_training.named_datasets import CLASSES, load_arrays
from headway_training.pictures import ArrayPictures, FilePictures, Pictures
from headway_training.recipe import DataRecipe, Recipe
from headway_training.splitting import TEST, TRAIN, VALIDATION, divide

_AT_LEAST = {"train": 2, "validation": 1, "test": 1}
"""Pictures of a class without which it can be neither learnt nor measured."""

_NAMED = 10
"""Files or classes that an error names; more are counted."""


@dataclass(frozen=True, eq=False)
class Split:
    """Pictures, and for each the index of its class, ``int32[N]``."""

    pictures: Pictures
    labels: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Splits:
    """Three splits of one dataset. ``classes`` gives the label of each class index, ``image`` the geometry.

    ``near_copies``: the first near copies that the check names, as encoded pictures.
    """

    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    image: ImageSpec
    check: DataCheck
    near_copies: tuple[tuple[bytes, bytes], ...] = ()

    def digest(self) -> str:
        """SHA-256 over classes, geometry, and every split's contents and labels in order: equal data, equal digest."""
        heading = {"classes": self.classes, "image": self.image.to_mapping()}
        digest = hashlib.sha256(json.dumps(heading, sort_keys=True).encode())
        for split in (self.train, self.validation, self.test):
            digest.update(f"{len(split)}:".encode())
            for index in range(len(split)):
                digest.update(split.pictures.identity(index).encode())
            digest.update(split.labels.astype("<i4").tobytes())
        return "sha256:" + digest.hexdigest()


class _Source(Pictures, Protocol):
    """Pictures that can still be divided."""


@dataclass(frozen=True, eq=False)
class _Part:
    """What a dataset itself calls train, validation or test; a split of it is a part as well."""

    pictures: _Source
    labels: NDArray[np.int32]

    def take(self, members: NDArray[np.intp]) -> "_Part":
        return _Part(self.pictures.take(members), self.labels[members])


def dataset_classes(recipe: DataRecipe, data_dir: Path | None) -> tuple[str, ...]:
    """The classes that a recipe trains, in the order of the scores: those it names, else all that the dataset has.

    Reads no picture. Raises :class:`InvalidRecipe` for a class that the dataset has not or for fewer than two, and
    :class:`DataMissing` for a folder that is not there.
    """
    if recipe.dataset == "folder":
        return _chosen_classes(recipe, f"folder {recipe.folder}", folder_layout(_folder(recipe, data_dir)).classes)
    return _chosen_classes(recipe, f"dataset {recipe.dataset}", CLASSES[recipe.dataset])


def _chosen_classes(recipe: DataRecipe, title: str, there: tuple[str, ...]) -> tuple[str, ...]:
    if len(there) < 2:
        raise InvalidRecipe(f"data: {title} has one class, {there[0]}; a classifier needs two or more")
    # As the names of folders are read: what looks the same is the same, in whatever form of Unicode.
    chosen = tuple(unicodedata.normalize("NFC", name) for name in recipe.classes or there)
    return _known_classes(chosen, title, there)


def check_data_of(recipe: Recipe, data_dir: Path | None) -> None:
    """Look whether the data of a recipe is there and its classes fit the model, before anything costs time.

    Reads no picture. Raises :class:`InvalidRecipe` and :class:`DataMissing`.
    """
    classes = dataset_classes(recipe.data, data_dir)
    try:
        recipe.check_output(len(classes))
    except ValueError as error:
        raise InvalidRecipe(f"recipe {recipe.name} is refused:\n  {error}") from error


def load_splits(
    recipe: DataRecipe,
    image: ImageSpec,
    seed: int,
    data_dir: Path | None,
    on_bad_image: str = "refuse",
    progress: Progress | None = None,
    cache: Path | None = None,
) -> Splits:
    """Load and check a dataset, and take by ``seed``, class by class, what it has no part of its own for.

    The same data, recipe and seed give the same splits; copies of a picture in one class stay in one split.
    ``on_bad_image``: ``refuse``, or ``skip`` to leave out and report files that cannot be read. ``cache``: a folder
    that spares a second run the decoding of unchanged files.

    Raises :class:`InvalidRecipe` for a class that the dataset has not or that has too few pictures,
    :class:`DataMissing` for a dataset that is not there, and :class:`BadPictures`.
    """
    unreadable: tuple[BadPicture, ...] = ()
    unused: tuple[Unused, ...] = ()
    if recipe.dataset == "folder":
        folder = _folder(recipe, data_dir)
        layout = folder_layout(folder)
        classes, unused = _chosen_classes(recipe, f"folder {recipe.folder}", layout.classes), layout.unused
        found, unreadable = load_folder(layout, folder, classes, cache, progress)
        parts = _folder_parts(found, classes, image)
    else:
        classes = dataset_classes(recipe, data_dir)
        parts = _named_parts(recipe.dataset, classes, image, data_dir, recipe.rows)
    if unreadable and on_bad_image != "skip":
        raise _bad_pictures(recipe, unreadable)
    splits = _split(parts, recipe, len(classes), np.random.default_rng(seed))
    check = check_data(classes, _sightings(splits, classes, recipe), unreadable, unused)
    _require_enough(check, recipe)
    train, validation, test = (Split(splits[name].pictures, splits[name].labels) for name in SPLITS)
    return Splits(train, validation, test, classes, image, check)


def without(splits: Splits, gone: Mapping[str, Collection[int]]) -> Splits:
    """The splits without the pictures at these places of each. Raises :class:`InvalidRecipe` if too few are left."""
    names = {name: {splits_of(splits, name).pictures.name(place) for place in places} for name, places in gone.items()}
    left = {name: _left(splits_of(splits, name), gone[name]) for name in SPLITS}
    before = {count.label: count for count in splits.check.counts}
    counts = tuple(
        ClassCount(label, *(int(np.sum(left[name].labels == index)) for name in SPLITS))
        for index, label in enumerate(splits.classes)
    )
    short = [
        f"{count.label} (training {count.train} of {before[count.label].train}, "
        f"validation {count.validation} of {before[count.label].validation})"
        for count in counts
        if any(getattr(count, name) < least for name, least in _AT_LEAST.items())
    ]
    if short:
        raise InvalidRecipe(
            f"--on-near-copies drop leaves too few pictures of class {_listed(short, '; ')}; each needs 2, 1 and 1: "
            "add pictures of other things, or leave the near copies in with --on-near-copies warn"
        )
    leaks = tuple(
        group for group in splits.check.leaks
        if len({copy.split for copy in group if copy.name not in names[copy.split]}) > 1
    )  # fmt: skip
    check = replace(splits.check, counts=counts, leaks=leaks)
    return replace(splits, train=left["train"], validation=left["validation"], test=left["test"], check=check)


def splits_of(splits: Splits, name: str) -> Split:
    """The split of that name."""
    split: Split = getattr(splits, name)
    return split


def _left(split: Split, gone: Collection[int]) -> Split:
    kept = np.array([place for place in range(len(split)) if place not in gone], np.intp)
    return Split(split.pictures.take(kept), split.labels[kept])


def load_test_split(dataset: str, classes: tuple[str, ...] | None, image: ImageSpec, data_dir: Path | None) -> Split:
    """The whole test part of ``mnist`` or ``fashion-mnist``, in the dataset's order; a label is a place in ``classes``.

    No ``classes`` means all. Raises :class:`InvalidRecipe` for an unknown class or for another dataset, which has no
    test part of its own, and :class:`DataMissing`.
    """
    if dataset not in ("mnist", "fashion-mnist"):
        raise InvalidRecipe(f"dataset {dataset} has no test part of its own; name mnist or fashion-mnist")
    chosen = _known_classes(classes or CLASSES[dataset], f"dataset {dataset}", CLASSES[dataset])
    test = _named_parts(dataset, chosen, image, data_dir)["test"]
    return Split(test.pictures, test.labels)


def _known_classes(chosen: tuple[str, ...], title: str, there: tuple[str, ...]) -> tuple[str, ...]:
    unknown = sorted(set(chosen) - set(there))
    if unknown:
        raise InvalidRecipe(f"data.classes: {title} has no class {', '.join(unknown)}; its classes: {', '.join(there)}")
    return chosen


def _split(
    parts: Mapping[str, _Part], recipe: DataRecipe, classes: int, order: np.random.Generator
) -> dict[str, _Part]:
    """Take what the dataset has no part of its own for from its train part, then as much of the rest as is wanted."""
    pool = parts["train"]
    if recipe.validation_from == "test":
        parts = {**parts, "validation": parts["test"]}
    if recipe.rows is not None and recipe.train_samples is not None:
        return {**parts, "train": pool.take(np.arange(min(recipe.train_samples, len(pool.labels))))}
    test = 0.0 if "test" in parts else recipe.test
    validation = 0.0 if "validation" in parts else recipe.validation
    taken: dict[str, list[NDArray[np.intp]]] = {"test": [], "validation": [], "train": []}
    for index in range(classes):
        members = order.permutation(np.flatnonzero(pool.labels == index))
        splits = divide([pool.pictures.content(member) for member in members], test, validation)
        for name, split in (("test", TEST), ("validation", VALIDATION), ("train", TRAIN)):
            taken[name].append(members[splits == split])
    if recipe.train_samples is not None:
        taken["train"] = _fewer(taken["train"], recipe.train_samples)
    return {name: pool.take(np.concatenate(groups)) for name, groups in taken.items()} | {
        name: part for name, part in parts.items() if name != "train"
    }


def _fewer(groups: Sequence[NDArray[np.intp]], wanted: int) -> list[NDArray[np.intp]]:
    """The first of each class, in its share of ``wanted``; largest remainders first where shares are no integers."""
    sizes = np.array([len(group) for group in groups])
    if wanted > sizes.sum():
        raise InvalidRecipe(f"data.train_samples: there are {sizes.sum():,} training pictures, not {wanted:,}")
    shares, remainders = np.divmod(sizes * wanted, sizes.sum())
    shares[np.argsort(-remainders, kind="stable")[: wanted - shares.sum()]] += 1
    return [group[:share] for group, share in zip(groups, shares, strict=True)]


def _sightings(splits: Mapping[str, _Part], classes: tuple[str, ...], recipe: DataRecipe) -> Iterator[Sighting]:
    for name in SPLITS:
        pictures, labels = splits[name].pictures, splits[name].labels.tolist()
        # Where the test pictures are measured after each epoch too, that is meant, and no copy to warn of.
        meant = name == "validation" and recipe.validation_from == "test"
        for index, label in enumerate(labels):
            content = f"{name} {index}" if meant else pictures.content(index)
            yield Sighting(name, classes[label], pictures.name(index), content)


def _require_enough(check: DataCheck, recipe: DataRecipe) -> None:
    short = [
        f"class {count.label} has {count.train} training, {count.validation} validation and {count.test} test pictures"
        + _for_copies(check, count)
        for count in check.counts
        if any(getattr(count, split) < least for split, least in _AT_LEAST.items())
    ]
    if short:
        raise InvalidRecipe(
            f"data: {_listed(short, '; ')}; each class needs 2, 1 and 1: add pictures, leave the class out, or change "
            f"data.validation ({recipe.validation:g}), data.test ({recipe.test:g}) or data.train_samples"
        )


def _for_copies(check: DataCheck, count: ClassCount) -> str:
    """The reason, where it is copies: those of one picture are never in two splits."""
    own = [[copy.name for copy in group if copy.label == count.label] for group in check.duplicates]
    copies = [names for names in own if len(names) > 1]
    surplus = sum(len(names) - 1 for names in copies)
    if not surplus:
        return ""
    total = count.train + count.validation + count.test
    return (
        f", for copies of a picture are kept in one split and only {total - surplus} of its {total} are different "
        f"({' = '.join(sorted(copies[0])[:2])}{' = ...' if len(copies[0]) > 2 else ''})"
    )


def _bad_pictures(recipe: DataRecipe, unreadable: Sequence[BadPicture]) -> BadPictures:
    named = [f"{picture.name}: {picture.reason}" for picture in unreadable]
    count = "1 file" if len(unreadable) == 1 else f"{len(unreadable)} files"
    return BadPictures(
        f"folder {recipe.folder}: {count} cannot be read as pictures; repair or remove them, or leave them out with "
        "--on-bad-image skip:\n  " + _listed(named, "\n  ")
    )


def _listed(items: Sequence[str], separator: str) -> str:
    more = len(items) - _NAMED
    return separator.join(items[:_NAMED]) + (f"{separator}and {more} more" if more > 0 else "")


def _folder(recipe: DataRecipe, data_dir: Path | None) -> Path:
    named = Path(recipe.folder or "").expanduser()
    places = [data_dir / named, named] if data_dir and not named.is_absolute() else [named]
    for place in places:
        if place.is_dir():
            return place
        if place.exists():
            raise DataMissing(f"data.folder: {place} is no folder; unpack it if it is an archive, and name the folder")
    raise DataMissing(
        f"data.folder: there is no folder {' and no folder '.join(str(place.absolute()) for place in places)}; "
        "relative names are looked for in the data folder (--data-dir or HEADWAY_DATA_DIR), then in the working one"
    )


def _folder_parts(found: Mapping[str, FolderPart], classes: tuple[str, ...], image: ImageSpec) -> dict[str, _Part]:
    index_of = {name: index for index, name in enumerate(classes)}
    return {
        name: _Part(FilePictures(part.files, image), np.array([index_of[label] for label in part.labels], np.int32))
        for name, part in found.items()
    }


def _named_parts(
    dataset: str, classes: tuple[str, ...], image: ImageSpec, data_dir: Path | None, rows: RowsRecipe | None = None
) -> dict[str, _Part]:
    """The parts of a named dataset, with the pictures of ``classes`` only, of ``rows`` where they are named."""
    arrays = load_arrays(dataset, data_dir)
    # The index of each of the dataset's classes among the chosen ones; -1 for the others.
    index_of = np.full(len(CLASSES[dataset]), -1, dtype=np.int32)
    index_of[[CLASSES[dataset].index(name) for name in classes]] = np.arange(len(classes))
    parts: dict[str, _Part] = {}
    for name, (pixels, numbers) in arrays.items():
        title = dataset if len(arrays) == 1 else f"{dataset} {name}"
        parts[name] = _Part(ArrayPictures(pixels, title, image), index_of[numbers])
    if rows is not None:
        parts = _rows_of(parts, rows)
    return {name: part.take(np.flatnonzero(part.labels >= 0)) for name, part in parts.items()}


def _rows_of(parts: Mapping[str, _Part], rows: RowsRecipe) -> dict[str, _Part]:
    chosen = {}
    for name, whole in (("train", "train"), ("validation", "train"), ("test", "test")):
        first, end = getattr(rows, name)
        there = len(parts[whole].labels)
        if not first < end <= there:
            raise InvalidRecipe(f"data.rows.{name}: [{first}, {end}) of {there:,} pictures; write [first, end) within")
        chosen[name] = parts[whole].take(np.arange(first, end))
    return chosen
