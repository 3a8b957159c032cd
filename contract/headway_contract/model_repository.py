"""The repository of published versions: ``<root>/<model>/<version>/``, the layout TensorFlow Serving reads.

A version is written under ``<root>/.staging`` (same file system, invisible to model servers, which only look into
``<root>/<model>``), flushed, and renamed into place: a reader sees a whole version or none. A published version never
changes; ``assets.extra/SHA256SUMS`` (``sha256sum -c`` reads it) says what it must contain.
"""

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from headway_contract.durable_files import sync_directory, sync_tree
from headway_contract.errors import (
    BaseDiffers,
    InvalidManifest,
    InvalidTestPictures,
    ModelMissing,
    RepositoryError,
    VersionDamaged,
    VersionExists,
    VersionMissing,
)
from headway_contract.labelled_pictures import TEST_PICTURES_FILE, LabelledPicture, read_labelled_pictures
from headway_contract.model_manifest import ModelManifest
from headway_contract.model_name import check_model_name, is_model_name
from headway_contract.regular_files import read_regular_file

MANIFEST_FILE = Path("assets.extra/manifest.json")
CHECKSUMS_FILE = Path("assets.extra/SHA256SUMS")

_VERSION = re.compile(r"0|[1-9][0-9]{0,17}")
_CHECKSUM_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_STALE_STAGING_SECONDS = 24 * 3600


def is_version(name: str) -> bool:
    """Whether a directory of that name is a published version to those who read a repository."""
    return _VERSION.fullmatch(name) is not None


def listed_files(checksums: bytes) -> tuple[str, ...]:
    """The relative paths in a checksum list, in its order.

    Raises :class:`VersionDamaged` for what is no such list, and for a path that would lead out of the version: who
    copies by a list that somebody else wrote must not write elsewhere.
    """
    names = []
    for line in checksums.decode("utf-8", errors="replace").removesuffix("\n").split("\n"):
        match = _CHECKSUM_LINE.fullmatch(line)
        name = match[2] if match else ""
        if not name or "\\" in name or "\0" in name or any(part in {"", ".", ".."} for part in name.split("/")):
            raise VersionDamaged(f"{CHECKSUMS_FILE} has a line that names no file of a version: {line[:200]!r}")
        names.append(name)
    if MANIFEST_FILE.as_posix() not in names or CHECKSUMS_FILE.as_posix() in names:
        raise VersionDamaged(f"{CHECKSUMS_FILE} must name {MANIFEST_FILE} and not itself")
    return tuple(names)


@dataclass(frozen=True)
class ModelRepository:
    """Reads and extends one repository. Safe for concurrent publishers and readers on one file system."""

    root: Path

    def models(self) -> tuple[str, ...]:
        """Names of the models that have at least one version, sorted; empty if the root does not exist."""
        if not self.root.is_dir():
            return ()
        names = [path.name for path in self.root.iterdir() if path.is_dir() and is_model_name(path.name)]
        return tuple(sorted(name for name in names if self.versions(name)))

    def versions(self, model: str) -> tuple[int, ...]:
        """Published versions of ``model``, oldest first; empty if there are none."""
        folder = self.root / check_model_name(model)
        if not folder.is_dir():
            return ()
        return tuple(sorted(int(path.name) for path in folder.iterdir() if is_version(path.name) and path.is_dir()))

    def latest(self, model: str) -> int:
        """The newest version of ``model``. Raises :class:`ModelMissing`."""
        versions = self.versions(model)
        if not versions:
            known = ", ".join(self.models()) or "none"
            raise ModelMissing(f"model {model!r} has no version in repository {self.root} (models there: {known})")
        return versions[-1]

    def path(self, model: str, version: int) -> Path:
        """The directory of one version. Raises :class:`ModelMissing` or :class:`VersionMissing`."""
        self.latest(model)
        path = self.root / model / str(version)
        if not path.is_dir():
            known = ", ".join(map(str, self.versions(model)))
            raise VersionMissing(f"model {model!r} has no version {version} in {self.root} (versions there: {known})")
        return path

    def manifest(self, model: str, version: int) -> ModelManifest:
        """Read a version's manifest. Raises also :class:`InvalidManifest` and :class:`RepositoryError`."""
        path = self.path(model, version) / MANIFEST_FILE
        try:
            return ModelManifest.from_json(read_regular_file(path))
        except InvalidManifest as error:
            raise InvalidManifest(f"{path}: {error}") from error
        except OSError as error:
            raise RepositoryError(f"{path} cannot be read: {error}; was it exported by Headway?") from error

    def test_pictures(self, model: str, version: int) -> tuple[LabelledPicture, ...]:
        """The test pictures that the version stores; none if it was exported without them, or by an earlier release.

        Raises also :class:`InvalidTestPictures`, for a label that the version does not have too.
        """
        path = self.path(model, version) / TEST_PICTURES_FILE
        try:
            pictures = read_labelled_pictures(path)
        except FileNotFoundError:
            return ()
        strange = {each.label for each in pictures} - set(self.manifest(model, version).labels)
        if strange:
            raise InvalidTestPictures(
                f"{path}: {', '.join(map(repr, sorted(strange)))}: not among the version's labels"
            )
        return pictures

    def digest(self, model: str, version: int) -> str:
        """SHA-256 that names the version's whole content: the digest of its checksum list."""
        path = self.path(model, version) / CHECKSUMS_FILE
        try:
            return "sha256:" + hashlib.sha256(read_regular_file(path)).hexdigest()
        except OSError as error:
            raise RepositoryError(f"{path} cannot be read: {error}; was it exported by Headway?") from error

    def verify(self, model: str, version: int) -> None:
        """Compare every file with the published checksums. Raises :class:`VersionDamaged` naming what differs."""
        path = self.path(model, version)
        self.digest(model, version)
        if differing := _differing(path):
            raise VersionDamaged(f"{path} differs from what was published: {', '.join(differing)}")

    def check_writable(self, models: Iterable[str] = ()) -> None:
        """Raise :class:`RepositoryError` if ``models`` cannot be published, as far as rights and the disk tell.

        Makes nothing: a repository that is not there yet is judged by the folder that it would be made in.
        """
        there = self.root.absolute()
        while not there.exists():
            there = there.parent
        for place in (there, self.root / ".staging", *(self.root / model for model in models)):
            if place.exists() and not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
                read_only = os.statvfs(place).f_flag & os.ST_RDONLY
                why = "is no folder" if not place.is_dir() else "is read-only" if read_only else "may not be written to"
                remedy = "mount it for writing" if read_only else "give this user the right to"
                raise RepositoryError(
                    f"repository {self.root} cannot be published to: {place} {why}; {remedy}, or name another folder "
                    "with --repository"
                )

    @contextlib.contextmanager
    def staging(self, model: str, prefix: str = "") -> Iterator[Path]:
        """Give an empty directory to write a version of ``model`` into; :meth:`publish` it, or it is removed.

        Its name begins with ``prefix``. Left-overs of runs that were killed more than a day ago are removed on the way.
        """
        area = self.root / ".staging"
        area.mkdir(parents=True, exist_ok=True)
        for left_over in area.iterdir():
            # Another publisher may rename its directory away at any moment.
            with contextlib.suppress(FileNotFoundError):
                if time.time() - left_over.stat().st_mtime > _STALE_STAGING_SECONDS:
                    shutil.rmtree(left_over, ignore_errors=True)
        directory = Path(tempfile.mkdtemp(prefix=f"{prefix}{check_model_name(model)}-", dir=area))
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def publish(self, model: str, staged: Path, version: int | None = None) -> int:
        """Make a staged directory the next version of ``model`` (or the given one) and return its number.

        Writes the checksums, flushes everything, then renames: all or nothing. Raises :class:`VersionExists` if
        ``version`` is there already, :class:`RepositoryError` if ``staged`` holds no manifest of ``model`` or
        ``version`` cannot be one, and for a head of form ``on_base`` what :meth:`digest` raises if its base is not
        here, or :class:`BaseDiffers`.
        """
        if version is not None and not is_version(str(version)):
            raise RepositoryError(f"{version} cannot be a version: use a whole number from 0 to {10**18 - 1}")
        self._check_staged(model, staged)
        (staged / CHECKSUMS_FILE).write_text(_checksums(staged), encoding="utf-8")
        return self._move_in(model, staged, version)

    def receive(self, model: str, staged: Path, version: int) -> None:
        """Make a staged copy of a version that was published elsewhere visible here, under the number it has there.

        Raises :class:`VersionDamaged` if the copy is not what its checksum list says, and what :meth:`publish` raises.
        """
        if differing := _differing(staged):
            raise VersionDamaged(f"the copy of {model}/{version} is not what was published: {', '.join(differing)}")
        self._check_staged(model, staged)
        self._move_in(model, staged, version)

    def _move_in(self, model: str, staged: Path, version: int | None) -> int:
        """Flush a staged directory and rename it; see :meth:`publish`."""
        # Readable by the model server's user; mkdtemp made it private.
        staged.chmod(0o755)
        sync_tree(staged)
        folder = self.root / model
        folder.mkdir(exist_ok=True)
        sync_directory(self.root)
        while True:
            number = self._next_number(folder) if version is None else version
            try:
                # rename(2) refuses a directory that is not empty: of two publishers one wins, the other tries again.
                staged.rename(folder / str(number))
            except OSError as error:
                if not (folder / str(number)).exists():
                    raise
                if version is not None:
                    raise VersionExists(f"{folder / str(number)} is published; publish under another number") from error
            else:
                sync_directory(folder)
                return number

    def remove(self, model: str, version: int) -> None:
        """Delete a version: first out of everybody's sight in one step, then from the disk."""
        path = self.path(model, version)
        area = self.root / ".staging"
        area.mkdir(exist_ok=True)
        grave = Path(tempfile.mkdtemp(prefix=f"pruned-{model}-{version}-", dir=area))
        path.rename(grave / str(version))
        sync_directory(path.parent)
        shutil.rmtree(grave)
        # Its last version gone, the model is gone too.
        with contextlib.suppress(OSError):
            path.parent.rmdir()

    @staticmethod
    def _next_number(folder: Path) -> int:
        # Whatever bears a number is counted, a stray file too: the next version must not collide with it.
        return max((int(path.name) for path in folder.iterdir() if is_version(path.name)), default=0) + 1

    def _check_staged(self, model: str, staged: Path) -> None:
        try:
            manifest = ModelManifest.from_json(read_regular_file(staged / MANIFEST_FILE))
        except OSError as error:
            raise RepositoryError(f"{staged} holds no {MANIFEST_FILE}: {error}") from error
        if manifest.model != check_model_name(model):
            raise RepositoryError(f"the manifest names model {manifest.model!r}, not {model!r}")
        if manifest.form == "on_base":
            self._check_base(manifest)

    def _check_base(self, manifest: ModelManifest) -> None:
        """A head that is run on its base's features is worth nothing without exactly that base."""
        base = manifest.base
        assert base is not None  # the manifest is checked for it
        found = self.digest(base.model, base.version)
        if found != base.digest:
            raise BaseDiffers(
                f"{manifest.model} was trained on {base.model}/{base.version} with digest {base.digest}, but the one "
                f"in {self.root} has {found}; publish into the repository that the head was trained from"
            )


def _differing(directory: Path) -> list[str]:
    """The files of a version that are not as its checksum list says, or not in it; sorted, empty if all is well."""
    # A damaged list need not be UTF-8 any more; it then differs from every line found.
    expected = (directory / CHECKSUMS_FILE).read_text(encoding="utf-8", errors="replace")
    found = _checksums(directory)
    if found == expected:
        return []
    lines = set(found.splitlines()) ^ set(expected.splitlines())
    # The same lines in another order, or without the last line's end.
    return sorted({line[66:] for line in lines}) or [CHECKSUMS_FILE.as_posix()]


def _checksums(directory: Path) -> str:
    """Return one ``<sha256>  <relative path>`` line per file, sorted by path; the list itself is left out."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    lines = []
    for path in files:
        name = path.relative_to(directory).as_posix()
        if name == CHECKSUMS_FILE.as_posix():
            continue
        with path.open("rb") as stream:
            lines.append(f"{hashlib.file_digest(stream, 'sha256').hexdigest()}  {name}")
    return "\n".join(lines) + "\n"
