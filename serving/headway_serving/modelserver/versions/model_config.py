"""Which models to serve: TensorFlow Serving's ModelServerConfig as values, with its validation rules."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tensorflow_serving.config import model_server_config_pb2

from headway_serving.modelserver.errors import invalid_argument
from headway_serving.modelserver.messages import ModelServerConfig
from headway_serving.modelserver.process import text_config

TENSORFLOW_PLATFORM = "tensorflow"

_ABSOLUTE_PATH_OR_URI = re.compile(r"/|[a-zA-Z][0-9a-zA-Z.]*://")


@dataclass(frozen=True)
class Latest:
    """Serve the ``count`` highest version numbers; count >= 1."""

    count: int = 1


@dataclass(frozen=True)
class AllVersions:
    """Serve every version there is."""


@dataclass(frozen=True)
class Specific:
    """Serve exactly the versions of these numbers, as far as they exist."""

    versions: frozenset[int]


VersionPolicy = Latest | AllVersions | Specific


@dataclass(frozen=True)
class ModelConfig:
    """One model: where its version directories are, which of them to serve, which labels name which version.

    ``logs_requests``: a log of its requests is asked for, which this server does not write.
    """

    name: str
    base_path: str
    policy: VersionPolicy = Latest()
    labels: Mapping[str, int] = field(default_factory=dict)
    platform: str = TENSORFLOW_PLATFORM
    logs_requests: bool = False


def read_config_file(path: Path) -> ModelServerConfig:
    """Return the ModelServerConfig message written as text in ``path``.

    Raises StatusError: NOT_FOUND if the file cannot be read, INVALID_ARGUMENT if it is not such a text.
    """
    return text_config.read(path, model_server_config_pb2.ModelServerConfig())


def single_model_config(name: str, base_path: str) -> ModelServerConfig:
    """Return the ModelServerConfig message that serves the latest version of one model."""
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.config.add(name=name, base_path=base_path, model_platform=TENSORFLOW_PLATFORM)
    return config


def read_models(config_list: Any) -> tuple[ModelConfig, ...]:
    """Return the models of a ModelConfigList message, in its order and not yet validated."""
    return tuple(
        ModelConfig(
            name=model.name,
            base_path=model.base_path,
            policy=_policy(model.model_version_policy),
            labels=dict(model.version_labels),
            platform=_platform(model),
            logs_requests=model.HasField("logging_config"),
        )
        for model in config_list.config
    )


def validate_models(models: Iterable[ModelConfig]) -> None:
    """Raise StatusError INVALID_ARGUMENT if a name stands twice or a base path is relative."""
    seen: set[str] = set()
    for model in models:
        if model.name in seen:
            raise invalid_argument(f"Illegal to list model {model.name} multiple times in config list")
        seen.add(model.name)
    for model in models:
        if not _ABSOLUTE_PATH_OR_URI.match(model.base_path):
            raise invalid_argument(
                f"Expected model {model.name} to have an absolute path or URI; got base_path()={model.base_path}"
            )


def validate_same_platforms(old: Iterable[ModelConfig], new: Iterable[ModelConfig]) -> None:
    """Raise StatusError INVALID_ARGUMENT if a model of both configurations changes its platform."""
    platforms = {model.name: model.platform for model in old}
    for model in new:
        before = platforms.get(model.name, model.platform)
        if before != model.platform:
            raise invalid_argument(
                f"Illegal to change a model's platform. For model {model.name} platform was {before} "
                f"and new platform requested is {model.platform}"
            )


def validate_platforms(models: Iterable[ModelConfig]) -> None:
    """Raise StatusError INVALID_ARGUMENT if a model's platform is missing or is not TensorFlow."""
    for model in models:
        if not model.platform:
            raise invalid_argument(
                "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
                f"ModelServerConfig::model_platform, model name is {model.name}"
            )
        if model.platform != TENSORFLOW_PLATFORM:
            raise invalid_argument(f"Model {model.name} requests unsupported platform {model.platform}")


def _policy(message: Any) -> VersionPolicy:
    choice = message.WhichOneof("policy_choice")
    if choice == "all":
        return AllVersions()
    if choice == "specific":
        return Specific(frozenset(message.specific.versions))
    return Latest(max(message.latest.num_versions, 1))


def _platform(message: Any) -> str:
    if message.model_type == model_server_config_pb2.TENSORFLOW:
        return TENSORFLOW_PLATFORM
    return str(message.model_platform)
