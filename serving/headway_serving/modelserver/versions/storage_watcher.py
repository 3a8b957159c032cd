"""Looks under the models' base paths and tells which versions are aspired.

One look covers every model. If one base path cannot be read nothing is reported for any model, as TensorFlow
Serving does: versions that are loaded stay, and the next look may succeed. In isolation, which TensorFlow Serving
does not have, only the model concerned is passed over, and so is one whose versions have all disappeared: a storage
that blinks unloads nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from headway_serving.modelserver.errors import Code, StatusError, invalid_argument
from headway_serving.modelserver.process.periodic_task import PeriodicTask
from headway_serving.modelserver.versions.model_config import ModelConfig, Specific
from headway_serving.modelserver.versions.policy import aspired_versions

logger = logging.getLogger(__name__)

Aspire = Callable[[str, Mapping[int, Path]], None]


class StorageWatcher:
    """Calls ``aspire(model name, {version: directory})`` for every watched model after every complete look.

    ``poll_wait_seconds``: > 0 looks that often, 0 looks once after each change of the watched models, < 0 never
    looks. With ``isolate`` a model that cannot be looked at, or has no version left, delays no other and stays as
    it is.
    """

    def __init__(self, aspire: Aspire, *, poll_wait_seconds: float, isolate: bool = False) -> None:
        self._aspire = aspire
        self._isolate = isolate
        self._models: tuple[ModelConfig, ...] = ()
        # Held while aspiring, so that a look begun before a change cannot bring back what the change dropped.
        self._aspiring = threading.Lock()
        self._looks = poll_wait_seconds >= 0
        period = poll_wait_seconds if poll_wait_seconds > 0 else None
        self._task = PeriodicTask(self.look, period_seconds=period, name="storage watcher")

    def start(self) -> None:
        """Start looking."""
        if self._looks:
            self._task.start()

    def stop(self) -> None:
        """Stop looking; what is aspired stays as it is."""
        self._task.stop()

    def watch(self, models: Sequence[ModelConfig]) -> None:
        """Watch ``models`` instead of the present ones; of a model that is dropped nothing is aspired any more."""
        kept = {model.name for model in models}
        dropped = [model.name for model in self._models if model.name not in kept]
        with self._aspiring:
            self._models = tuple(models)
            for name in dropped:
                self._aspire(name, {})
        self._task.nudge()

    def look(self) -> None:
        """Look once, now, on the caller's thread."""
        models = self._models
        found: dict[str, dict[int, Path]] = {}
        for model in models:
            try:
                versions = find_versions(model)
            except StatusError as error:
                logger.error("FileSystemStoragePathSource encountered a filesystem access error: %s", error.message)
                if not self._isolate:
                    return
            else:
                if versions or not self._isolate or model.policy == Specific(frozenset()):
                    found[model.name] = versions
        with self._aspiring:
            if models is not self._models:
                return  # the configuration changed meanwhile; its nudge brings a new look
            for name, versions in found.items():
                self._aspire(name, versions)


def find_versions(model: ModelConfig) -> dict[int, Path]:
    """Return the directories of the versions of ``model`` to serve, by version number.

    Raises StatusError INVALID_ARGUMENT if the base path is missing or cannot be read.
    """
    base_path = Path(model.base_path)
    if isinstance(model.policy, Specific) and model.policy.versions:
        named = {number: base_path / str(number) for number in model.policy.versions}
        # Found without a listing, which takes long where there are many versions or the storage is remote.
        if all(directory.exists() for directory in named.values()):
            return named
    try:
        children = [child.name for child in base_path.iterdir()]
    except OSError as error:
        cause = _describe(error, model.base_path)
        raise invalid_argument(
            f"Could not find base path {model.base_path} for servable {model.name} with error {cause}"
        ) from error
    chosen = aspired_versions(model, children)
    return {number: base_path / child for number, child in chosen.items()}


def _describe(error: OSError, path: str) -> StatusError:
    if isinstance(error, FileNotFoundError):
        return StatusError(Code.NOT_FOUND, f"{path} not found")
    return StatusError(Code.FAILED_PRECONDITION, f"{path}; {error.strerror}")
