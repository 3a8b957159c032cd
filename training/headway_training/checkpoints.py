"""One file that a fit can be continued from exactly: weights, optimizer state, epoch, curves, and the recipe.

The file is an ordinary Keras archive (``.keras``) or HDF5 file (``.h5``) that ``keras.models.load_model`` opens. What
Headway itself continues from is added to it under names that begin with ``headway``: HDF5 in Keras 3 neither keeps the
order of the optimizer's state nor has a place for the rest. The file is replaced as a whole after every epoch.
"""

import contextlib
import io
import json
import logging
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from headway_training.errors import InvalidCheckpoint
from headway_training.write_failures import writing

SUFFIXES = (".keras", ".h5")
_PROGRESS = "headway.json"
_WEIGHTS = "headway-weights.npz"
_OPTIMIZER = "headway-optimizer.npz"
_BEST = "headway-best.npz"


@dataclass
class Curves:
    """One figure per epoch done so far. ``epoch_seconds``: the training pass, without validation."""

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    epoch_seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoint:
    """Where a fit stood after an epoch.

    ``base_digest``: of the weights a head stands on, empty for a base. ``weights``, ``optimizer`` and ``best``: arrays
    in Keras' own order.
    """

    phase: str
    recipe: Mapping[str, Any]
    data_digest: str
    base_digest: str
    curves: Curves
    weights: list[NDArray[Any]]
    optimizer: list[NDArray[Any]]
    best: list[NDArray[Any]] | None


def check_suffix(path: Path) -> None:
    """Refuse a name that Keras would not know the format of. Raises :class:`InvalidCheckpoint`."""
    if path.suffix not in SUFFIXES:
        raise InvalidCheckpoint(f"checkpoint {path}: the name must end in {' or '.join(SUFFIXES)}")


def save(
    path: Path,
    model: Any,
    *,
    phase: str,
    recipe: Mapping[str, Any],
    data_digest: str,
    base_digest: str,
    curves: Curves,
    best: list[NDArray[Any]] | None,
) -> None:
    """Replace ``path`` by the state of a compiled model; a reader sees the old file or the new one.

    Raises :class:`InvalidCheckpoint` for its name, and :class:`WriteFailed`.
    """
    check_suffix(path)
    progress = {
        "phase": phase,
        "recipe": recipe,
        "data_digest": data_digest,
        "base_digest": base_digest,
        "curves": asdict(curves),
    }
    members = {
        _PROGRESS: json.dumps(progress).encode(),
        _WEIGHTS: _packed(model.get_weights()),
        _OPTIMIZER: _packed([np.asarray(variable) for variable in model.optimizer.variables]),
    }
    with writing("the checkpoint stays what it was", path):
        _replace(path, model, members | ({_BEST: _packed(best)} if best else {}))


def _replace(path: Path, model: Any, members: Mapping[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    os.close(descriptor)
    temporary = Path(name)
    try:
        with _quiet_keras():
            model.save(temporary)
        _add(temporary, members)
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: Path) -> Checkpoint:
    """Read what :func:`save` wrote. Raises :class:`InvalidCheckpoint` for a missing, damaged or foreign file."""
    check_suffix(path)
    try:
        extra = _extra(path)
        progress = json.loads(extra[_PROGRESS])
        return Checkpoint(
            phase=progress["phase"],
            recipe=progress["recipe"],
            data_digest=progress["data_digest"],
            base_digest=progress["base_digest"],
            curves=Curves(**progress["curves"]),
            weights=_unpacked(extra[_WEIGHTS]),
            optimizer=_unpacked(extra[_OPTIMIZER]),
            best=_unpacked(extra[_BEST]) if _BEST in extra else None,
        )
    except FileNotFoundError as error:
        raise InvalidCheckpoint(f"checkpoint {path} is not there; --checkpoint {path} writes one") from error
    # h5py, zipfile and numpy raise many kinds of errors on damaged files; each means the same to the user.
    except Exception as error:
        raise InvalidCheckpoint(
            f"checkpoint {path} cannot be continued from: {type(error).__name__}: {error}; it must be a whole file "
            "written by headway train --checkpoint"
        ) from error


def _add(path: Path, members: Mapping[str, bytes]) -> None:
    if path.suffix == ".keras":
        with zipfile.ZipFile(path, "a") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return
    with h5py.File(path, "a") as file:
        for name, content in members.items():
            file[name] = np.frombuffer(content, dtype=np.uint8)


def _extra(path: Path) -> dict[str, bytes]:
    names = (_PROGRESS, _WEIGHTS, _OPTIMIZER, _BEST)
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in names if name in archive.namelist()}
    with h5py.File(path, "r") as file:
        return {name: file[name][()].tobytes() for name in names if name in file}


def _packed(arrays: list[NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, *arrays)
    return buffer.getvalue()


def _unpacked(content: bytes) -> list[NDArray[Any]]:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return [arrays[f"arr_{number}"] for number in range(len(arrays.files))]


@contextlib.contextmanager
def _quiet_keras() -> Iterator[None]:
    """Keras warns that HDF5 is an old format; it is the one that was asked for."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
