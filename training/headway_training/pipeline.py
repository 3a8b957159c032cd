"""The straight lines of training: a base from scratch, a head on a frozen base.

recipe -> splits -> base -> fit (a head: on features, then perhaps the base's last layers) -> publication
"""

import contextlib
import copy
import dataclasses
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from rich.console import Console

from headway_contract.model_manifest import BaseReference
from headway_contract.model_repository import ModelRepository
from headway_contract.plain_paths import plain_path
from headway_contract.preprocessing import ImageSpec
from headway_contract.regular_files import read_regular_file
from headway_training import (
    backbones,
    checkpoints,
    datasets,
    export,
    familiarity,
    features,
    fine_tuning,
    fitting,
    head,
    linear_head,
    near_copies,
    networks,
)
from headway_training.backbone_base import ensure_backbone
from headway_training.errors import InvalidCheckpoint, InvalidRecipe, TrainingError
from headway_training.inference import infer, take
from headway_training.publication import Fitted, HeldOut, Published, publish
from headway_training.recipe import Recipe
from headway_training.recipe_files import base_version
from headway_training.run_record import RUN_FILE, FittingPhase, RunRecord


@dataclass(frozen=True)
class Options:
    """What a run needs beside its recipe.

    ``cache``: a folder for features and scans of folders. ``data_dir``: where named datasets and relative folders are.
    ``on_bad_image``: ``refuse`` or ``skip``. ``on_near_copies``: ``warn`` or ``drop``. ``checkpoint`` is written after
    each epoch, ``resume`` gone on from.
    """

    cache: Path
    data_dir: Path | None = None
    on_bad_image: str = "refuse"
    on_near_copies: str = "warn"
    checkpoint: Path | None = None
    resume: Path | None = None


@dataclass(frozen=True)
class Foundation:
    """What a run builds on: geometry, feature layers, and where they come from unless they are fresh.

    ``classifier``: what the base was trained with, where the head starts from it.
    """

    image: ImageSpec
    base: Any
    reference: BaseReference | None = None
    epoch_seconds: float | None = None
    pretrained: bool = False
    classifier: Any = None


@dataclass
class Stages:
    """Wall seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time within to the stage's."""
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


def train(recipe: Recipe, repository: ModelRepository, console: Console, options: Options) -> Published:
    """Run one recipe and publish the result. Deterministic for equal recipe, data and packages on one machine.

    Raises a :class:`TrainingError` or, for a base that is not there, a ``RepositoryError``; nothing is published then
    (but perhaps the backbone that the head stands on, if the pictures are in order).
    """
    started, stages = time.perf_counter(), Stages()
    keras.backend.clear_session()
    keras.utils.set_random_seed(recipe.seed)
    tf.config.experimental.enable_op_determinism()
    console.print(f"[bold]{recipe.name}[/bold]: {recipe.description}")
    if options.checkpoint is not None:
        checkpoints.check_suffix(options.checkpoint)
    if recipe.fitting.solver == "convex":
        _explain_checkpoints(recipe, options, console)
    resumed = None if options.resume is None else checkpoints.load(options.resume)
    # The pictures first: what is wrong with them must be told before a backbone is built and published.
    with stages.stage("data"):
        image = _geometry(recipe, repository)
        splits = _load_splits(recipe, image, options, console)
    with stages.stage("base"):
        foundation = (
            _fresh_base(recipe, image) if recipe.kind == "base" else _load_base(recipe, image, repository, console)
        )
    base_digest = export.weights_digest(foundation.base) if recipe.kind == "head" else ""
    found = None
    if recipe.kind == "head":
        found = _Features(foundation.base, foundation.image, splits, options.cache, console, stages)
        if foundation.pretrained:
            splits, found = _near_copies(splits, found, options, console, stages)
    run = fitting.Run(recipe, splits.digest(), console, options.checkpoint, resumed, base_digest)
    if found is None:
        fitted = train_base(foundation, splits, run, stages)
    else:
        fitted = train_head(foundation, splits, run, found, options.cache, stages)
    return publish(recipe, repository, splits, fitted, options.data_dir, console, stages.seconds, started)


def _explain_checkpoints(recipe: Recipe, options: Options, console: Console) -> None:
    """Say what a fit of seconds leaves out. Raises :class:`InvalidCheckpoint` where there is nothing to resume."""
    tuned = bool(recipe.fine_tuning.depths)
    if options.resume is not None and not tuned:
        raise InvalidCheckpoint(
            f'checkpoint {options.resume}: a head fitted by fitting.solver = "convex" takes seconds and writes none; '
            "run the same command without --resume"
        )
    if options.checkpoint is not None:
        when = "before fine-tuning" if tuned else "of this run"
        console.print(f"  no checkpoint {when}: the head is fitted to its optimum within seconds")


def train_base(foundation: Foundation, splits: datasets.Splits, run: fitting.Run, stages: Stages) -> Fitted:
    """Train base and head together from scratch."""
    recipe, base = run.recipe, foundation.base
    top = head.build_head(base.output_shape[-1], len(splits.classes), recipe.head)
    with stages.stage("fitting"):
        composed = head.augmented(head.compose(base, top), recipe.augmentation)
        phase = fitting.fit(composed, *_samples(splits), recipe.fitting, run, phase="base")
    with stages.stage("features"):
        found = {name: infer(base, getattr(splits, name).pictures) for name in ("validation", "test")}
        learned = _learned(base, splits, recipe.seed)
    return Fitted(
        image=foundation.image,
        base=base,
        head=top,
        phases=(phase,),
        validation_features=found["validation"],
        test_features=found["test"],
        learned=learned,
    )


def train_head(
    foundation: Foundation, splits: datasets.Splits, run: fitting.Run, found: "_Features", cache: Path, stages: Stages
) -> Fitted:
    """Fit a head on a frozen base, of whose features some are ``found``, then perhaps train its last layers too."""
    recipe, base = run.recipe, foundation.base
    fine_tuning.check_depths(base, recipe)
    # Again: whether the backbone was built just now or found in the repository must not decide how the head starts.
    keras.utils.set_random_seed(recipe.seed)
    top = head.build_head(base.output_shape[-1], len(splits.classes), recipe.head)
    if foundation.classifier is not None:
        head.take_over(top, foundation.classifier)
    unfitted = top.get_weights()
    if recipe.fitting.solver == "convex":
        phase, learned, held_out = _fit_linear_head(top, splits, found, run, stages)
    else:
        phase, held_out = _fit_head(base, top, splits, found, run, stages), None
        learned = familiarity.Learned(found.of("train"), splits.train.labels)
    fitted = Fitted(
        image=foundation.image,
        base=base,
        head=top,
        phases=(phase,),
        validation_features=found.of("validation"),
        test_features=found.of("test"),
        reference=foundation.reference,
        base_epoch_seconds=foundation.epoch_seconds,
        frozen_features=(found.of("train"), found.of("test")),
        learned=learned,
        held_out=held_out,
    )
    if not recipe.fine_tuning.depths:
        return fitted
    with stages.stage("fine-tuning"):
        tuned = fine_tuning.fine_tune(base, top, splits, run, phase, unfitted)
    run.console.print(f"  best on the validation split: the base's last {tuned.depth} layers trained")
    after = _Features(base, foundation.image, splits, cache, run.console, stages) if tuned.depth else found
    return dataclasses.replace(
        fitted,
        phases=(phase, *tuned.phases),
        sweep=tuned.sweep,
        validation_features=after.of("validation"),
        test_features=after.of("test"),
        learned=_learned(base, splits, recipe.seed) if tuned.depth else learned,
    )


def _fit_head(
    base: Any, top: Any, splits: datasets.Splits, found: "_Features", run: fitting.Run, stages: Stages
) -> FittingPhase:
    recipe = run.recipe
    if recipe.head.cache_features:
        train = fitting.Samples(found.of("train"), splits.train.labels)
        validation = fitting.Samples(found.of("validation"), splits.validation.labels)
        model = top
    else:
        train, validation = _samples(splits)
        model = head.augmented(head.compose(base, top), recipe.augmentation)
    with stages.stage("fitting"):
        return fitting.fit(model, train, validation, recipe.fitting, run, phase="head")


def _fit_linear_head(
    top: Any, splits: datasets.Splits, found: "_Features", run: fitting.Run, stages: Stages
) -> tuple[FittingPhase, familiarity.Learned, HeldOut | None]:
    """Fit a head without hidden layers to its optimum, on training and validation pictures.

    Where the base's last layers are trained behind it, on training pictures alone: validation pictures judge that.
    """
    recipe, names = run.recipe, ("train",) if run.recipe.fine_tuning.depths else ("train", "validation")
    used = [datasets.splits_of(splits, name) for name in names]
    rows = linear_head.Rows(
        np.concatenate([found.of(name) for name in names]),
        np.concatenate([split.labels for split in used]),
        tuple(split.pictures.content(index) for split in used for index in range(len(split))),
        np.concatenate([found.of(name, mirrored=True) for name in names]) if recipe.augmentation.flip else None,
    )
    started = time.perf_counter()
    with stages.stage("fitting"), run.console.status("fitting the head ..."):
        settings = recipe.fitting
        fit = linear_head.fit_linear_head(
            rows, len(splits.classes), recipe.seed, settings.epochs, settings.label_smoothing, settings.class_weights
        )
    top.get_layer("scores").set_weights([fit.kernel, fit.bias])
    run.console.print(f"  {linear_head.sentence(fit)}", markup=False)
    phase = FittingPhase(
        name="head",
        loss=(fit.loss,),
        accuracy=(fit.accuracy,),
        validation_loss=(fit.held_out_loss,),
        validation_accuracy=(fit.held_out_accuracy,),
        epoch_seconds=(fit.seconds / max(fit.iterations, 1),),
        seconds=time.perf_counter() - started,
        trainable_parameters=fit.kernel.size + fit.bias.size,
    )
    held_out = HeldOut(fit.held_out, fit.held_out_labels, fit.held_out_signs)
    return phase, familiarity.Learned(rows.features, rows.labels), None if recipe.fine_tuning.depths else held_out


def _learned(base: Any, splits: datasets.Splits, seed: int) -> familiarity.Learned:
    """The features of some training pictures under the base as it is now."""
    some = familiarity.sample(splits.train.labels, seed)
    return familiarity.Learned(infer(base, take(splits.train.pictures, some)), splits.train.labels[some])


class _Features:
    """The features of each split under a base as it is now, extracted when they are first asked for."""

    def __init__(
        self, base: Any, image: ImageSpec, splits: datasets.Splits, cache: Path, console: Console, stages: Stages
    ) -> None:
        self._base, self._digest = base, export.weights_digest(base)
        self._image, self._splits, self._cache, self._console, self._stages = image, splits, cache, console, stages
        self._found: dict[tuple[str, bool], NDArray[np.float32]] = {}

    def of(self, split: str, *, mirrored: bool = False) -> NDArray[np.float32]:
        """Features of ``train``, ``validation`` or ``test``, or of its pictures' mirror images: ``float32[N, D]``."""
        if (split, mirrored) not in self._found:
            what = "mirrored pictures of the" if mirrored else "the"
            with self._stages.stage("features"), self._console.status(f"features of {what} {split} split ..."):
                pictures = datasets.splits_of(self._splits, split).pictures
                self._found[split, mirrored] = features.extract(
                    self._base, self._digest, self._image, pictures, self._cache, mirrored=mirrored
                )
        return self._found[split, mirrored]

    def taken(self, splits: datasets.Splits, kept: Mapping[str, NDArray[np.intp]]) -> "_Features":
        """The features of ``splits``, which have the pictures of the former ones at the places ``kept``."""
        other = copy.copy(self)
        other._splits = splits
        other._found = {(name, mirrored): found[kept[name]] for (name, mirrored), found in self._found.items()}
        return other


def _near_copies(
    splits: datasets.Splits, found: _Features, options: Options, console: Console, stages: Stages
) -> tuple[datasets.Splits, _Features]:
    """Tell of near copies across the splits, and leave them out if that is wished."""
    features = {name: found.of(name) for name in ("train", "validation", "test")}
    told = set(splits.check.warnings())
    with stages.stage("near copies"):
        splits, kept = near_copies.mark_near_copies(splits, features, drop=options.on_near_copies == "drop")
    for warning in splits.check.warnings():
        if warning not in told:
            console.print(f"  data check: {warning}", markup=False)
    return splits, found.taken(splits, kept)


def _samples(splits: datasets.Splits) -> tuple[fitting.Samples, fitting.Samples]:
    return (
        fitting.Samples(splits.train.pictures, splits.train.labels),
        fitting.Samples(splits.validation.pictures, splits.validation.labels),
    )


def _load_splits(recipe: Recipe, image: ImageSpec, options: Options, console: Console) -> datasets.Splits:
    datasets.check_data_of(recipe, options.data_dir)
    with console.status("reading the pictures ...") as status:
        splits = datasets.load_splits(
            recipe.data,
            image,
            recipe.seed,
            options.data_dir,
            options.on_bad_image,
            lambda title, done, total: status.update(f"{title}: {done} of {total} ..."),
            options.cache,
        )
    console.print(
        f"  {len(splits.train)} training, {len(splits.validation)} validation and {len(splits.test)} test pictures of "
        f"{len(splits.classes)} classes: {', '.join(splits.classes)}"
    )
    for warning in splits.check.warnings():
        console.print(f"  data check: {warning}", markup=False)
    return splits


def _fresh_base(recipe: Recipe, image: ImageSpec) -> Foundation:
    return Foundation(image, networks.build_network(recipe.network_layers, image))


def _geometry(recipe: Recipe, repository: ModelRepository) -> ImageSpec:
    """The geometry of the model: the recipe's own, or that of the base, which need not be in the repository yet."""
    if recipe.kind == "base":
        return recipe.image_spec()
    assert recipe.base is not None
    if recipe.base in backbones.BACKBONES:
        return recipe.image_spec() if recipe.image is not None else backbones.default_image(recipe.base)
    if recipe.image is not None or recipe.weights != "imagenet":
        raise InvalidRecipe(
            f"recipe {recipe.name}: [image] and weights are for pretrained backbones; {recipe.base} has its own"
        )
    model, version = base_version(recipe, repository)
    manifest = repository.manifest(model, version)
    if manifest.kind != "base":
        raise TrainingError(f"recipe {recipe.name}: {model}/{version} is a {manifest.kind}; a head stands on a base")
    return manifest.image


def _load_base(recipe: Recipe, image: ImageSpec, repository: ModelRepository, console: Console) -> Foundation:
    if recipe.base in backbones.BACKBONES:
        model, version = recipe.base, ensure_backbone(recipe.base, recipe.weights, image, repository, console)
    else:
        model, version = base_version(recipe, repository)
    repository.verify(model, version)
    with plain_path(repository.path(model, version)) as path:
        base = keras.models.load_model(path / export.FEATURES_FILE, compile=False)
        classifier = _classifier(path, f"{model}/{version}") if recipe.head.start == "base" else None
    base.trainable = False
    reference = BaseReference(model, version, repository.digest(model, version))
    # Only features that were learnt from many things tell near copies from pictures that are merely alike.
    pretrained = repository.manifest(model, version).form == "features"
    return Foundation(image, base, reference, _epoch_seconds(repository, model, version), pretrained, classifier)


def _classifier(path: Path, base: str) -> Any:
    file = path / export.CLASSIFIER_FILE
    if not file.is_file():
        raise InvalidRecipe(
            f'head.start: {base} keeps no classifier (a backbone, or an older version); train it again, or set "fresh"'
        )
    return keras.models.load_model(file, compile=False)


def _epoch_seconds(repository: ModelRepository, model: str, version: int) -> float | None:
    """What an epoch of the base took when it was trained; None for a backbone or where its record is not there."""
    try:
        record = RunRecord.from_json(read_regular_file(repository.path(model, version) / RUN_FILE))
    except (OSError, TrainingError):
        return None
    return record.phases[0].median_epoch_seconds
