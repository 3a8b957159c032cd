"""A repository in a folder, as the source or the destination of copies."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from headway_contract.errors import RepositoryError
from headway_contract.model_repository import CHECKSUMS_FILE, ModelRepository, listed_files
from headway_contract.regular_files import read_regular_file
from headway_serving.adapters.files.locks import locked
from headway_serving.adapters.stores.version_source import VersionSource

_INCOMING = ".incoming-"


class FolderStore:
    """Versions below ``root``. What arrives is staged under ``root/.staging`` and renamed when it has been checked."""

    def __init__(self, root: Path) -> None:
        self._repository = ModelRepository(root)
        self.name = str(root)

    def versions(self) -> frozenset[tuple[str, int]]:
        """Every (model, version) there."""
        here = self._repository
        return frozenset((model, version) for model in here.models() for version in here.versions(model))

    def read(self, model: str, version: int, file: str) -> bytes:
        """One small file of a version. Raises :class:`RepositoryError`."""
        path = self._repository.path(model, version) / file
        try:
            return read_regular_file(path)
        except OSError as error:
            raise RepositoryError(f"{path} cannot be read: {error}; was it exported by Headway?") from error

    def fetch(self, model: str, version: int, into: Path, progress: Callable[[int], None]) -> None:
        """Copy a version's listed files into an empty folder; ``progress`` is called with each file's bytes."""
        checksums = self.read(model, version, CHECKSUMS_FILE.as_posix())
        folder = self._repository.path(model, version)
        for name in listed_files(checksums):
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(folder / name, into / name)
            except OSError as error:
                raise RepositoryError(f"{folder / name} cannot be copied: {error}") from error
            progress((into / name).stat().st_size)
        (into / CHECKSUMS_FILE).write_bytes(checksums)

    @contextlib.contextmanager
    def at(self, model: str, version: int) -> Iterator[Path]:
        """The version's own folder, checked. Raises :class:`VersionDamaged`."""
        self._repository.verify(model, version)
        yield self._repository.path(model, version)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Be the only one that copies into this folder, and remove what killed copies have left."""
        root = self._repository.root
        root.mkdir(parents=True, exist_ok=True)
        with locked(root / "sync"):
            # Nobody else writes under this prefix while the lock is held: whoever began these is gone.
            for left_over in (root / ".staging").glob(f"{_INCOMING}*"):
                shutil.rmtree(left_over, ignore_errors=True)
            yield

    def receive(self, model: str, version: int, source: VersionSource, progress: Callable[[int], None]) -> None:
        """Copy a version into a staged folder, and make it visible if it is what was published."""
        with self._repository.staging(model, prefix=_INCOMING) as staged:
            source.fetch(model, version, staged, progress)
            self._repository.receive(model, staged, version)

    def remove(self, model: str, version: int) -> None:
        """Delete a version."""
        self._repository.remove(model, version)
