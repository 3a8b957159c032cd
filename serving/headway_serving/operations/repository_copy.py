"""Copies versions from one store to another, so that each appears whole or not at all.

A version that is at both is compared by its checksum list and never written over. Bases come before the heads that are
run on them. One version that cannot be copied does not keep the others back.
"""

import contextlib
import hashlib
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from headway_contract.errors import ContractError
from headway_contract.model_manifest import ModelManifest
from headway_contract.model_repository import CHECKSUMS_FILE, MANIFEST_FILE
from headway_serving.adapters.stores.errors import StoreUnavailable
from headway_serving.adapters.stores.version_source import VersionSource

Version = tuple[str, int]


class Store(VersionSource, Protocol):
    """Where versions lie."""

    name: str

    def versions(self) -> Collection[Version]:
        """Every whole version there."""

    def read(self, model: str, version: int, file: str) -> bytes:
        """One small file of a version."""

    def exclusive(self) -> contextlib.AbstractContextManager[None]:
        """Writing to the store without another who does."""

    def receive(self, model: str, version: int, source: VersionSource, progress: Callable[[int], None]) -> None:
        """Copy a version from another store."""

    def remove(self, model: str, version: int) -> None:
        """Delete a version."""


class Progress(Protocol):
    """Who shows how far a copy is."""

    def __call__(self, version: Version, files: int, size: int) -> None:
        """So many files and bytes of a version have been copied."""


@dataclass(frozen=True)
class Copied:
    """A version that was copied: its files, bytes and seconds."""

    files: int
    size: int
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What one pass did. ``problems`` says why a version was not copied or deleted; ``kept``, why one stays."""

    copied: Mapping[Version, Copied]
    there: tuple[Version, ...]
    deleted: tuple[Version, ...]
    kept: Mapping[Version, str]
    problems: Mapping[Version, str]


@dataclass
class RepositoryCopy:
    """One source and one destination. ``wanted``: names of models, or (model, version); empty: everything.

    Remembers which versions it has found equal, so that looking again and again asks little of a store.
    """

    source: Store
    destination: Store
    wanted: Collection[tuple[str, int | None]] = ()
    _equal: set[Version] = field(default_factory=set)

    def run(self, progress: Progress, in_use: Mapping[Version, str] | None = None) -> Outcome:
        """Copy what the destination lacks; with ``in_use`` also delete what the source no longer has, but for those.

        Raises :class:`StoreUnavailable` if a store cannot be listed or written to, and if the source holds nothing.
        """
        here = frozenset(self.source.versions())
        chosen = self._chosen(here)
        if not chosen:
            what = ", ".join(model if version is None else f"{model}/{version}" for model, version in self.wanted)
            raise StoreUnavailable(f"{self.source.name} holds no version{f' of {what}' if what else ''}")
        with self.destination.exclusive():
            there = frozenset(self.destination.versions())
            copied, problems = dict[Version, Copied](), self._differing(chosen & there)
            for each in self._bases_first(chosen - there, problems):
                try:
                    copied[each] = self._copy(each, progress)
                except (ContractError, StoreUnavailable, OSError) as error:
                    problems[each] = str(error)
            going = [each for each in sorted(there - here) if self._is_wanted(each)] if in_use is not None else []
            kept = {each: in_use[each] for each in going if each in in_use} if in_use else {}
            deleted = [each for each in going if each not in kept and self._removed(each, problems)]
        return Outcome(copied, tuple(sorted(chosen & there - set(problems))), tuple(deleted), kept, problems)

    def _chosen(self, here: frozenset[Version]) -> frozenset[Version]:
        """Those that are wanted, with the bases that they are run on."""
        if not self.wanted:
            return here
        chosen = {each for each in here if self._is_wanted(each)}
        fresh = set(chosen)
        while fresh:
            bases = set[Version | None]()
            for each in fresh:
                # One whose manifest cannot be read is told of when it is to be copied.
                with contextlib.suppress(ContractError):
                    bases.add(self._base(each))
            fresh = {each for each in here if each in bases} - chosen
            chosen |= fresh
        return frozenset(chosen)

    def _is_wanted(self, each: Version) -> bool:
        return not self.wanted or each in self.wanted or (each[0], None) in self.wanted

    def _differing(self, both: Collection[Version]) -> dict[Version, str]:
        problems = {}
        for each in sorted(set(both) - self._equal):
            try:
                ours, theirs = (self._digest(store, each) for store in (self.source, self.destination))
            except (ContractError, StoreUnavailable) as error:
                problems[each] = str(error)
                continue
            if ours == theirs:
                self._equal.add(each)
            else:
                problems[each] = (
                    f"{self.destination.name} has another version under this number ({theirs[:19]}..., not "
                    f"{ours[:19]}...); a published version never changes: publish yours under another number"
                )
        return problems

    @staticmethod
    def _digest(store: Store, each: Version) -> str:
        return "sha256:" + hashlib.sha256(store.read(*each, CHECKSUMS_FILE.as_posix())).hexdigest()

    def _bases_first(self, missing: Collection[Version], problems: dict[Version, str]) -> list[Version]:
        """Bases before the heads that are run on them; a version whose manifest cannot be read becomes a problem."""
        ordered = list[Version]()
        waiting = dict[Version, Version | None]()
        for each in sorted(missing):
            try:
                waiting[each] = self._base(each)
            except (ContractError, StoreUnavailable) as error:
                problems[each] = str(error)
        while waiting:
            ready = [each for each, base in waiting.items() if base not in waiting]
            # Two that name each other as base: the destination refuses them.
            ready = ready or list(waiting)
            ordered += ready
            for each in ready:
                del waiting[each]
        return ordered

    def _base(self, each: Version) -> Version | None:
        """The base without which a head cannot run."""
        manifest = ModelManifest.from_json(self.source.read(*each, MANIFEST_FILE.as_posix()))
        base = manifest.base if manifest.form == "on_base" else None
        return None if base is None else (base.model, base.version)

    def _copy(self, each: Version, progress: Progress) -> Copied:
        began, files, size = time.monotonic(), 0, 0

        def one_more(length: int) -> None:
            nonlocal files, size
            files, size = files + 1, size + length
            progress(each, files, size)

        self.destination.receive(*each, self.source, one_more)
        return Copied(files, size, time.monotonic() - began)

    def _removed(self, each: Version, problems: dict[Version, str]) -> bool:
        try:
            self.destination.remove(*each)
        except (ContractError, StoreUnavailable, OSError) as error:
            problems[each] = str(error)
            return False
        return True
