"""What the services ask: apply a configuration, find the version a request means, tell the states.

Labels are checked against the versions that are AVAILABLE before anything of the new configuration is loaded.
So moving a label safely takes two configurations: one that adds the version, and one that moves the label.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

from headway_serving.modelserver.errors import Code, StatusError, invalid_argument
from headway_serving.modelserver.messages import ModelServerConfig, ModelSpec
from headway_serving.modelserver.versions import model_config
from headway_serving.modelserver.versions.manager import Handle, Servable, VersionManager, VersionStatus
from headway_serving.modelserver.versions.model_config import ModelConfig
from headway_serving.modelserver.versions.storage_watcher import StorageWatcher

logger = logging.getLogger(__name__)

S = TypeVar("S", bound=Servable)


class ServerCore(Generic[S]):
    """Joins the configuration, the watcher of the storage and the manager of the versions.

    With ``isolate`` models without versions are not waited for, and one that fails does not fail the first
    configuration.
    """

    def __init__(
        self,
        manager: VersionManager[S],
        watcher: StorageWatcher,
        *,
        allow_labels_for_unavailable: bool,
        isolate: bool = False,
    ) -> None:
        self._manager = manager
        self._watcher = watcher
        self._isolate = isolate
        self._allow_labels_for_unavailable = allow_labels_for_unavailable
        self._models: tuple[ModelConfig, ...] | None = None
        self._labels: Mapping[str, Mapping[str, int]] | None = None
        self._one_reload = threading.Lock()

    def reload(self, config: ModelServerConfig, give_up: Callable[[], bool] = lambda: False) -> None:
        """Serve the models of ``config``, a ModelServerConfig message, and no others.

        Returns when every model that was not configured before has a version AVAILABLE, and waits for that
        without limit unless ``give_up`` says so (asked whenever ``VersionManager.wake`` is called). Raises
        StatusError if the configuration is refused, or UNKNOWN if such a model failed to load.
        """
        with self._one_reload:
            first = self._models is None
            added = self._apply(config)
            if self._isolate:
                self._watcher.look()
                added = [name for name in added if self._manager.aspires(name)]
            failed = self._manager.wait_until_settled(added, give_up)
        if failed:
            error = _did_not_become_available(failed, "servable(s)" if first else "model(s)")
            if not (first and self._isolate):
                raise error
            logger.error("Starting without some models: %s", error.message)

    def acquire(self, spec: ModelSpec) -> AbstractContextManager[Handle[S]]:
        """Return a context that holds the version a ModelSpec message means: by number, by label, or the highest.

        Raises StatusError: INVALID_ARGUMENT without a name or for an unknown label, and (on entering) NOT_FOUND
        if that version does not serve.
        """
        if not spec.name:
            raise invalid_argument("ModelSpec has no name specified.")
        return self._manager.acquire(spec.name, self._version(spec))

    def statuses(self, name: str, number: int | None) -> list[VersionStatus]:
        """Return the states of all versions of model ``name``, newest first, or of version ``number`` alone.

        Raises StatusError NOT_FOUND if there is none.
        """
        known = self._manager.statuses(name)
        if not known:
            raise StatusError(Code.NOT_FOUND, f"Could not find any versions of model {name}")
        if number is None:
            return known
        chosen = [status for status in known if status.number == number]
        if not chosen:
            raise StatusError(Code.NOT_FOUND, f"Could not find version {number} of model {name}")
        return chosen

    def _apply(self, config: ModelServerConfig) -> list[str]:
        """Validate and adopt ``config``; return the names of the models it adds."""
        if config.WhichOneof("config") is None:
            logger.info("Taking no action for empty config.")
            return []
        models = self._validated(config)
        known = self._models or ()
        labels = self._checked_labels(models)
        model_config.validate_platforms(models)
        # Unlike TensorFlow Serving, which adopts it before the labels and platforms are checked: a configuration that
        # is refused must not be what the next one is compared with.
        self._models, self._labels = models, labels
        # A polled file is applied again at every poll; only a change is worth a line.
        for model in models:
            if model not in known:
                logger.info("Adding/updating model: %s", model.name)
                if model.logs_requests:
                    logger.warning(
                        "Model %s asks for a log of its requests (logging_config); the embedded server writes none",
                        model.name,
                    )
        self._watcher.watch(models)
        before = {model.name for model in known}
        return [model.name for model in models if model.name not in before]

    def _validated(self, config: ModelServerConfig) -> tuple[ModelConfig, ...]:
        if config.WhichOneof("config") != "model_config_list":
            if self._models is None:
                raise StatusError(Code.UNIMPLEMENTED, "ModelServer does not yet support custom model config.")
            raise StatusError(
                Code.FAILED_PRECONDITION,
                "Cannot transition to requested config. It is only legal to transition from one ModelConfigList "
                "to another.",
            )
        models = model_config.read_models(config.model_config_list)
        model_config.validate_models(models)
        model_config.validate_same_platforms(self._models or (), models)
        return models

    def _checked_labels(self, models: Iterable[ModelConfig]) -> Mapping[str, Mapping[str, int]]:
        """Return the labels by model after checking that each names a version that it may name."""
        for model in models:
            assigned = (self._labels or {}).get(model.name, {})
            for label, version in model.labels.items():
                unmoved = self._allow_labels_for_unavailable and assigned.get(label, version) == version
                if not unmoved and not self._manager.is_available(model.name, version):
                    raise StatusError(
                        Code.FAILED_PRECONDITION,
                        f"Request to assign label to version {version} of model {model.name}, which is not "
                        "currently available for inference",
                    )
        return {model.name: dict(model.labels) for model in models}

    def _version(self, spec: ModelSpec) -> int | None:
        choice = spec.WhichOneof("version_choice")
        if choice == "version":
            return int(spec.version.value)
        if choice is None or not spec.version_label:
            return None
        labels = self._labels
        if labels is None:
            raise StatusError(Code.UNAVAILABLE, f"Model labels does not init yet.{spec.version_label}")
        version = labels.get(spec.name, {}).get(spec.version_label)
        if version is None:
            raise invalid_argument(f"Unrecognized servable version label: {spec.version_label}")
        return version


def _did_not_become_available(failed: list[VersionStatus], what: str) -> StatusError:
    reasons = "".join(
        f"{{{{name: {status.name} version: {status.number}}} due to error: {status.error}}}, " for status in failed
    )
    return StatusError(Code.UNKNOWN, f"{len(failed)} {what} did not become available: {{{reasons}}}")
