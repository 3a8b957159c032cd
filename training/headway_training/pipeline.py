"""The straight lines of training: a base from scratch, a head on a frozen base.

recipe -> splits -> network -> fit -> evaluate on the composed model -> export, reload, compare -> publish
"""

import importlib.metadata
import platform
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from rich.console import Console

from headway_contract.model_manifest import Accuracy, BaseReference, GoldenSample, ModelManifest, Provenance
from headway_contract.model_repository import ModelRepository
from headway_contract.preprocessing import ImageSpec, encode_png
from headway_training import datasets, evaluation, export, features, fitting, head, networks
from headway_training.errors import TrainingError
from headway_training.inference import infer
from headway_training.recipe import Recipe, base_version, recipe_mapping

_GOLDEN_SAMPLES = 10
_PACKAGES = ("headway", "tensorflow", "keras", "numpy", "pillow", "mlxtend")


@dataclass(frozen=True)
class TrainedVersion:
    """A published version and what its training showed. ``seconds`` is the whole run, from recipe to published."""

    model: str
    version: int
    kind: str
    test_accuracy: Accuracy
    expected_accuracy: float
    history: fitting.History
    trainable_parameters: int
    frozen_parameters: int
    seconds: float


@dataclass(frozen=True)
class _Fitted:
    """What a straight line hands to publishing: the two halves of the model, what they were fitted on, and how."""

    splits: datasets.Splits
    image: ImageSpec
    base: Any
    head: Any
    history: fitting.History
    reference: BaseReference | None


def train(recipe: Recipe, repository: ModelRepository, console: Console, cache: Path) -> TrainedVersion:
    """Run one recipe and publish the result. Deterministic for equal recipe, data and packages on one machine.

    Raises :class:`InvalidRecipe`, :class:`ExportRefused` or, for a base that is not there, a ``RepositoryError``;
    nothing is published then.
    """
    started = time.perf_counter()
    keras.backend.clear_session()
    keras.utils.set_random_seed(recipe.seed)
    tf.config.experimental.enable_op_determinism()
    console.print(f"[bold]{recipe.name}[/bold]: {recipe.description}")
    fitted = train_base(recipe, console) if recipe.kind == "base" else train_head(recipe, repository, console, cache)
    return _publish(recipe, repository, fitted, started, console)


def train_base(recipe: Recipe, console: Console) -> _Fitted:
    """Train network and head together from scratch."""
    assert recipe.network is not None
    image = recipe.image_spec()
    splits = datasets.load_splits(recipe.data, image, recipe.seed)
    _announce(splits, console)
    base = networks.build_network(recipe.network, image)
    top = head.build_head(base.output_shape[-1], len(splits.classes), recipe.head)
    history = fitting.fit(
        head.augmented(head.compose(base, top), recipe.augmentation),
        (splits.train.images, splits.train.labels),
        (splits.validation.images, splits.validation.labels),
        recipe.fitting,
        console,
    )
    return _Fitted(splits, image, base, top, history, None)


def train_head(recipe: Recipe, repository: ModelRepository, console: Console, cache: Path) -> _Fitted:
    """Fit a head on the features of a base in the repository; the base's weights stay as they are."""
    reference, image, base = _load_base(recipe, repository)
    splits = datasets.load_splits(recipe.data, image, recipe.seed)
    _announce(splits, console)
    digest = export.weights_digest(base)
    with console.status(f"features of {reference.model}/{reference.version} ..."):
        train_features = features.extract(base, digest, splits.train.images, cache)
        validation_features = features.extract(base, digest, splits.validation.images, cache)
    top = head.build_head(base.output_shape[-1], len(splits.classes), recipe.head)
    history = fitting.fit(
        top,
        (train_features, splits.train.labels),
        (validation_features, splits.validation.labels),
        recipe.fitting,
        console,
    )
    return _Fitted(splits, image, base, top, history, reference)


def _load_base(recipe: Recipe, repository: ModelRepository) -> tuple[BaseReference, ImageSpec, Any]:
    model, version = base_version(recipe, repository)
    manifest = repository.manifest(model, version)
    if manifest.kind != "base":
        raise TrainingError(f"recipe {recipe.name}: {model}/{version} is a {manifest.kind}; a head stands on a base")
    repository.verify(model, version)
    base = keras.models.load_model(repository.path(model, version) / export.FEATURES_FILE, compile=False)
    base.trainable = False
    return BaseReference(model, version, repository.digest(model, version)), manifest.image, base


def _publish(
    recipe: Recipe, repository: ModelRepository, fitted: _Fitted, started: float, console: Console
) -> TrainedVersion:
    splits, composed = fitted.splits, head.compose(fitted.base, fitted.head)
    scores = infer(composed, splits.test.images)
    if not np.isfinite(scores).all():
        raise TrainingError(
            f"recipe {recipe.name}: the weights diverged, the scores are no numbers; "
            f"lower fitting.learning_rate ({recipe.fitting.learning_rate}); nothing was published"
        )
    manifest = ModelManifest(
        model=recipe.name,
        kind=recipe.kind,
        labels=splits.classes,
        image=fitted.image,
        base=fitted.reference,
        test_accuracy=evaluation.accuracy(scores, splits.test.labels),
        weights_digest=export.weights_digest(fitted.base, fitted.head),
        parameters=composed.count_params(),
        trainable_parameters=int(sum(np.prod(weight.shape) for weight in composed.trainable_weights)),
        golden=_golden_samples(splits, scores),
        provenance=_provenance(recipe, splits),
    )
    with console.status("exporting, loading again and comparing ..."):
        version = export.export_version(
            repository, manifest, fitted.base, fitted.head, images=splits.test.images, scores=scores
        )
    console.print(f"  published {repository.root / recipe.name / str(version)}")
    return TrainedVersion(
        model=recipe.name,
        version=version,
        kind=recipe.kind,
        test_accuracy=manifest.test_accuracy,
        expected_accuracy=recipe.expected_accuracy,
        history=fitted.history,
        trainable_parameters=manifest.trainable_parameters,
        frozen_parameters=manifest.parameters - manifest.trainable_parameters,
        seconds=time.perf_counter() - started,
    )


def _announce(splits: datasets.Splits, console: Console) -> None:
    console.print(
        f"  {len(splits.train)} training, {len(splits.validation)} validation and {len(splits.test)} test pictures of "
        f"{len(splits.classes)} classes: {', '.join(splits.classes)}"
    )


def _golden_samples(splits: datasets.Splits, scores: NDArray[np.float32]) -> tuple[GoldenSample, ...]:
    """The first test pictures of every class in turn, so that few samples show every class."""
    chosen: list[int] = []
    members = [np.flatnonzero(splits.test.labels == index) for index in range(len(splits.classes))]
    for rank in range(_GOLDEN_SAMPLES):
        chosen.extend(int(group[rank]) for group in members if rank < len(group))
    return tuple(
        GoldenSample(
            image=encode_png(splits.test.images[index]),
            label=splits.classes[splits.test.labels[index]],
            scores=tuple(float(score) for score in scores[index]),
        )
        for index in chosen[: max(_GOLDEN_SAMPLES, len(splits.classes))]
    )


def _provenance(recipe: Recipe, splits: datasets.Splits) -> Provenance:
    return Provenance(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seed=recipe.seed,
        recipe=recipe_mapping(recipe),
        data_digest=splits.digest(),
        packages={"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in _PACKAGES},
        git_commit=_git_commit(),
    )


def _git_commit() -> str | None:
    """The commit of the folder the run started in; None outside a repository or without git."""
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
