"""A repository in an object store or on a web server, through fsspec: ``s3://``, ``gs://``, ``az://``, ``https://``.

The layout is that of a folder: ``<root>/<model>/<version>/<file>``. Object stores know no rename, so a version cannot
appear in one step. What makes it one is its checksum list, ``assets.extra/SHA256SUMS``: it is written last, when every
file it names is there, and removed first. A version without it does not exist to anybody who reads through this class,
whatever else lies under its number; the next push writes over that.
"""

import contextlib
import hashlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import fsspec.core

from headway_contract.errors import BaseDiffers, ModelMissing, RepositoryError, VersionDamaged, VersionExists
from headway_contract.model_manifest import ModelManifest
from headway_contract.model_name import is_model_name
from headway_contract.model_repository import CHECKSUMS_FILE, MANIFEST_FILE, ModelRepository, is_version, listed_files
from headway_serving.adapters.stores.errors import StoreUnavailable, translated
from headway_serving.adapters.stores.version_source import VersionSource

_MARKER = CHECKSUMS_FILE.as_posix()
_READ_ONLY = ("http", "https")


class ObjectStore:
    """Versions below a URL. Raises :class:`StoreUnavailable` for whatever the store or its library refuses."""

    def __init__(self, url: str) -> None:
        self.name = url.rstrip("/")
        with translated(self.name):
            # Each look asks the store anew: somebody else writes to it.
            self._files, root = fsspec.core.url_to_fs(self.name, use_listings_cache=False, skip_instance_cache=True)
        self._root: str = root.rstrip("/")
        self._read_only = self.name.partition(":")[0] in _READ_ONLY

    def versions(self) -> frozenset[tuple[str, int]]:
        """Every (model, version) whose checksum list is there; one listing for all."""
        with translated(self.name):
            if not self._files.exists(self._root):
                return self._nothing_there()
            paths = self._files.find(self._root)
        found = (path[len(self._root) :].strip("/").split("/", 2) for path in paths)
        return frozenset(
            (parts[0], int(parts[1]))
            for parts in found
            if len(parts) == 3 and parts[2] == _MARKER and is_model_name(parts[0]) and is_version(parts[1])
        )

    def read(self, model: str, version: int, file: str) -> bytes:
        """One small file of a version. Raises also :class:`RepositoryError` if it is not there."""
        with translated(self.name):
            try:
                content = self._files.cat_file(self._path(model, version, file))
            except FileNotFoundError as error:
                raise RepositoryError(f"{self._path(model, version, file)} is not there") from error
        return bytes(content)

    def fetch(self, model: str, version: int, into: Path, progress: Callable[[int], None]) -> None:
        """Copy a version's listed files into an empty folder; ``progress`` is called with each file's bytes."""
        checksums = self.read(model, version, _MARKER)
        for name in listed_files(checksums):
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            with translated(self.name):
                self._files.get_file(self._path(model, version, name), str(into / name))
            progress((into / name).stat().st_size)
        (into / CHECKSUMS_FILE).write_bytes(checksums)

    @contextlib.contextmanager
    def at(self, model: str, version: int) -> Iterator[Path]:
        """The version in a folder for temporary files, checked. Raises also :class:`VersionDamaged`."""
        with tempfile.TemporaryDirectory(prefix="headway-") as made:
            folder = Path(made, model, str(version))
            folder.mkdir(parents=True)
            self.fetch(model, version, folder, lambda _: None)
            ModelRepository(Path(made)).verify(model, version)
            yield folder

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Nothing to hold: of two who push one version, the first to write the checksum list wins.

        Raises :class:`StoreUnavailable` for a web server, which can only be read.
        """
        if self._read_only:
            raise StoreUnavailable(f"{self.name}: a web server is only read from; push to a folder or an object store")
        yield

    def receive(self, model: str, version: int, source: VersionSource, progress: Callable[[int], None]) -> None:
        """Copy a version that has been checked on this machine, its checksum list last.

        Raises also :class:`VersionExists` if another has put the version there meanwhile, :class:`VersionDamaged` if
        an object has not the file's size, and :class:`BaseDiffers` or :class:`ModelMissing` for a head without its
        base.
        """
        with source.at(model, version) as folder:
            self._upload(model, version, folder, progress)

    def _upload(self, model: str, version: int, folder: Path, progress: Callable[[int], None]) -> None:
        self._check_base(ModelManifest.from_json((folder / MANIFEST_FILE).read_bytes()))
        checksums = (folder / CHECKSUMS_FILE).read_bytes()
        for name in listed_files(checksums):
            target, size = self._path(model, version, name), (folder / name).stat().st_size
            with translated(self.name):
                self._files.put_file(str(folder / name), target)
                written = self._files.info(target)["size"]
            if written != size:
                raise VersionDamaged(f"{target} has {written} bytes after copying, not {size}; push it again")
            progress(size)
        with translated(self.name):
            try:
                self._files.pipe_file(self._path(model, version, _MARKER), checksums, mode="create")
            except FileExistsError as error:
                raise VersionExists(f"{self.name}/{model}/{version} was put there by somebody else") from error

    def remove(self, model: str, version: int) -> None:
        """Delete a version: its checksum list first, so that nobody takes what is left."""
        with translated(self.name):
            self._files.rm_file(self._path(model, version, _MARKER))
            self._files.rm(f"{self._root}/{model}/{version}", recursive=True)

    def _path(self, model: str, version: int, file: str) -> str:
        return f"{self._root}/{model}/{version}/{file}"

    def _nothing_there(self) -> frozenset[tuple[str, int]]:
        """An empty answer for a prefix that nothing lies under yet; a bucket that is not there is an error."""
        bucket = self._root.lstrip("/").partition("/")[0]
        if self._read_only or not self._files.exists(bucket):
            raise StoreUnavailable(f"{self.name} is not there; make the bucket, or name one that is")
        return frozenset()

    def _check_base(self, manifest: ModelManifest) -> None:
        """A head that is run on its base's features is worth nothing without exactly that base."""
        if manifest.form != "on_base" or (base := manifest.base) is None:
            return
        try:
            checksums = self.read(base.model, base.version, _MARKER)
        except RepositoryError as error:
            raise ModelMissing(
                f"{manifest.model} needs {base.model}/{base.version} in {self.name}: push it too"
            ) from error
        found = "sha256:" + hashlib.sha256(checksums).hexdigest()
        if found != base.digest:
            raise BaseDiffers(
                f"{manifest.model} was trained on {base.model}/{base.version} with digest {base.digest}, but the one "
                f"in {self.name} has {found}"
            )
