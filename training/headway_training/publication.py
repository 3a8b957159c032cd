"""What was fitted -> evaluated, calibrated, described, exported and published.

Everything is measured on the two halves as they will be exported, after calibration, on every test picture.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from headway_contract.labelled_pictures import (
    TEST_PICTURES_FILE,
)
from headway_contract.model_manifest import (
    Abstention,
    BaseReference,
    Calibration,
    ClassFigures,
    FamiliarityFigures,
    GoldenSample,
    ModelManifest,
    Precision,
    Provenance,
)
from headway_contract.model_repository import ModelRepository
from headway_contract.preprocessing import ImageSpec
from headway_contract.processor import bfloat16_obstacle_here
from headway_training import baselines, calibration, datasets, evaluation, export, golden_samples, head, precision
from headway_training.errors import TrainingError
from headway_training.familiarity import (
    LOW,
    MEANS,
    Familiarity,
    Learned,
    Signs,
    class_means,
    fit_familiarity,
    signs_of,
)
from headway_training.inference import batches, infer
from headway_training.pictures import Pictures, block_means
from headway_training.recipe import Recipe, recipe_mapping
from headway_training.report import render_report
from headway_training.report_galleries import make_galleries
from headway_training.run_record import (
    REPORT_FILE,
    RUN_FILE,
    SCORES_FILE,
    Baseline,
    Evaluation,
    FittingPhase,
    OtherTest,
    RunRecord,
    ScoredPictures,
    SweepPoint,
)
from headway_training.surroundings import git_commit, package_versions

_BASELINE_SIDE = 32
_BASELINE_ROWS = 20_000
_BASELINE_BATCH = 64

Features = NDArray[np.float32]


@dataclass(frozen=True)
class HeldOut:
    """Scores ``float32[M, K]``, not calibrated, of pictures by heads that had not seen them, and their labels.

    ``signs``: of their familiarity to those heads.
    """

    scores: NDArray[np.float32]
    labels: NDArray[np.int32]
    signs: Signs


@dataclass(frozen=True)
class Fitted:
    """What a straight line hands over: the two halves of the model, and what they showed while they were fitted.

    ``validation_features``, ``test_features``: ``float32[N, D]`` under the base as it is now. ``frozen_features``: of
    training and test pictures under the base as the head first saw it; None for a base. ``learned``: pictures that the
    model has learned from, or some. ``held_out``: what stands for the validation split where the head was fitted on
    that, too.
    """

    image: ImageSpec
    base: Any
    head: Any
    phases: tuple[FittingPhase, ...]
    validation_features: Features
    test_features: Features
    learned: Learned
    reference: BaseReference | None = None
    base_epoch_seconds: float | None = None
    frozen_features: tuple[Features, Features] | None = None
    sweep: tuple[SweepPoint, ...] = ()
    held_out: HeldOut | None = None


@dataclass(frozen=True)
class Published:
    """A published version, its record, where its report lies, and wall seconds from recipe to published."""

    version: int
    record: RunRecord
    report: Path
    seconds: float


@dataclass(frozen=True)
class _Measured:
    """Scores of the calibrated model on validation and test, and its calibration.

    ``held_out``: calibrated scores of pictures that it, or heads like it, had not seen, with ``held_out_labels``.
    """

    held_out: NDArray[np.float32]
    held_out_labels: NDArray[np.int32]
    validation: NDArray[np.float32]
    test: NDArray[np.float32]
    temperature: float
    before: Evaluation


def publish(
    recipe: Recipe,
    repository: ModelRepository,
    splits: datasets.Splits,
    fitted: Fitted,
    data_dir: Path | None,
    console: Console,
    seconds: Mapping[str, float],
    started: float,
) -> Published:
    """Evaluate, describe, export, compare and publish; ``seconds`` are of the stages before, ``started`` a clock value.

    Raises :class:`TrainingError` where the scores are no numbers, :class:`ExportRefused`, and what the repository
    raises; nothing is published then.
    """
    clock = time.perf_counter()
    with console.status("evaluating ..."):
        measured = _calibrate(recipe, splits, fitted)
        record = _record(recipe, splits, fitted, measured, data_dir, seconds, clock)
        golden = golden_samples.golden_samples(splits, fitted.image, fitted.base, fitted.head, measured.test)
        familiarity, familiar = _familiarity(recipe, fitted, measured.temperature)
    with console.status("measuring in bfloat16 ..."):
        precisions = _precisions(recipe, splits, fitted, measured, golden, console)
    with console.status("evaluating ..."):
        manifest = _manifest(recipe, splits, fitted, measured, record, golden, precisions)
        manifest = replace(manifest, familiarity=_described(familiarity, familiar))
        page = render_report(record, make_galleries(splits, record.evaluation))

    def write_extra(directory: Path) -> None:
        (directory / RUN_FILE).write_text(record.to_json(), encoding="utf-8")
        (directory / REPORT_FILE).write_text(page, encoding="utf-8")
        pictures = splits.test.pictures
        identities = np.array([pictures.identity(index) for index in range(len(pictures))])
        ScoredPictures(measured.test, splits.test.labels, identities).save(directory / SCORES_FILE)
        if recipe.export.test_pictures:
            (directory / TEST_PICTURES_FILE).write_bytes(golden_samples.stored_test_pictures(splits))

    with console.status("exporting, loading again and comparing ..."):
        expected = export.Expected(splits.test.pictures, fitted.test_features, measured.test, familiar)
        parts = export.Parts(fitted.base, fitted.head, familiarity)
        version = export.export_version(repository, manifest, parts, expected, write_extra)
    path = repository.path(recipe.name, version)
    console.print(f"  published {path}")
    return Published(version, record, path / REPORT_FILE, time.perf_counter() - started)


def _calibrate(recipe: Recipe, splits: datasets.Splits, fitted: Fitted) -> _Measured:
    """Fit the temperature on the validation split, or what stands for it, and put it into the head."""
    validation, test = infer(fitted.head, fitted.validation_features), infer(fitted.head, fitted.test_features)
    if not (np.isfinite(test).all() and np.isfinite(validation).all()):
        raise TrainingError(
            f"recipe {recipe.name}: the weights diverged, the scores are no numbers; "
            f"lower fitting.learning_rate ({recipe.fitting.learning_rate}); nothing was published"
        )
    before = evaluation.evaluate(test, splits.test.labels, splits.classes)
    scores, labels = validation, splits.validation.labels
    if fitted.held_out is not None:
        scores, labels = fitted.held_out.scores, fitted.held_out.labels
    temperature = 1.0
    if recipe.evaluation.calibrated:
        temperature = calibration.fit_temperature(scores, labels)
        head.divide_logits(fitted.head, temperature)
    return _Measured(
        calibration.apply_temperature(scores, temperature) if temperature != 1 else scores,
        labels,
        infer(fitted.head, fitted.validation_features),
        infer(fitted.head, fitted.test_features),
        temperature,
        before,
    )


def _familiarity(
    recipe: Recipe, fitted: Fitted, temperature: float
) -> tuple[Familiarity | None, NDArray[np.float32] | None]:
    """What the version says of how familiar a picture is, and of the test pictures, ``float32[N]``.

    None where its scores or its pictures do not allow it.
    """
    logits_of = head.logits_of(fitted.head)
    if logits_of is None:
        return None, None
    # A pretrained backbone was not taught to gather each of these classes around one mean.
    per_class = MEANS if fitted.frozen_features is not None else 1
    means = class_means(fitted.learned, per_class, recipe.seed)
    if fitted.held_out is not None:
        signs = fitted.held_out.signs
    else:
        logits = np.asarray(logits_of(fitted.validation_features)) * np.float32(temperature)
        signs = signs_of(fitted.validation_features, logits, means)
    found = fit_familiarity(signs, means, temperature)
    if found is None:
        return None, None
    return found, np.asarray(found.of(fitted.test_features, logits_of(fitted.test_features)))


def _described(familiarity: Familiarity | None, familiar: NDArray[np.float32] | None) -> FamiliarityFigures | None:
    if familiarity is None or familiar is None:
        return None
    return FamiliarityFigures(LOW, familiarity.samples, float((familiar < LOW).mean()))


def _record(
    recipe: Recipe,
    splits: datasets.Splits,
    fitted: Fitted,
    measured: _Measured,
    data_dir: Path | None,
    seconds: Mapping[str, float],
    clock: float,
) -> RunRecord:
    composed = head.compose(fitted.base, fitted.head)
    labels = splits.test.labels
    return RunRecord(
        model=recipe.name,
        kind=recipe.kind,
        form=recipe.export.form,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        recipe=recipe_mapping(recipe),
        classes=splits.classes,
        seed=recipe.seed,
        data_digest=splits.digest(),
        counts={name: len(getattr(splits, name)) for name in ("train", "validation", "test")},
        data_warnings=splits.check.warnings(),
        evaluation=evaluation.evaluate(measured.test, labels, splits.classes),
        uncalibrated_ece=measured.before.ece,
        uncalibrated_reliability=measured.before.reliability,
        temperature=measured.temperature,
        validation_accuracy=evaluation.accuracy(measured.held_out, measured.held_out_labels).value,
        abstention=calibration.abstain_threshold(measured.held_out, measured.held_out_labels, measured.test, labels),
        baselines=_baselines(recipe, splits, fitted),
        phases=fitted.phases,
        sweep=fitted.sweep,
        other_tests=tuple(_other_test(composed, name, fitted.image, data_dir) for name in recipe.evaluation.also),
        base=fitted.reference,
        base_epoch_seconds=fitted.base_epoch_seconds,
        parameters=composed.count_params(),
        trainable_parameters=int(sum(np.prod(weight.shape) for weight in composed.trainable_weights)),
        seconds={**seconds, "evaluation": time.perf_counter() - clock},
        packages=package_versions(),
        git_commit=git_commit(),
        expected_accuracy=recipe.expected_accuracy,
    )


def _precisions(
    recipe: Recipe,
    splits: datasets.Splits,
    fitted: Fitted,
    measured: _Measured,
    golden: tuple[GoldenSample, ...],
    console: Console,
) -> tuple[Precision, ...]:
    """What the version is like in bfloat16.

    A base, and a head alone, say nothing: how the one is computed changes what the other answers.
    """
    if recipe.export.form != "standalone" or recipe.kind == "base":
        return ()
    obstacle = bfloat16_obstacle_here()
    if obstacle is not None:
        console.print(f"  bfloat16: not measured, so not used: {obstacle}", markup=False)
        return ()
    composed = head.compose(fitted.base, fitted.head)
    pixels = np.stack([golden_samples.as_asked(sample.image, fitted.image) for sample in golden])
    with precision.computing_in_bfloat16():
        validation, test, samples = (
            infer(composed, inputs) for inputs in (splits.validation.pictures, splits.test.pictures, pixels)
        )
    found = precision.certificate(
        (measured.validation, measured.test),
        (validation, test),
        (splits.validation.labels, splits.test.labels),
        (np.array([sample.scores for sample in golden], np.float32), samples),
    )
    console.print(f"  {precision.sentence(found)}", markup=False)
    return (found,)


def _manifest(
    recipe: Recipe,
    splits: datasets.Splits,
    fitted: Fitted,
    measured: _Measured,
    record: RunRecord,
    golden: tuple[GoldenSample, ...],
    precisions: tuple[Precision, ...],
) -> ModelManifest:
    figures, abstention = record.evaluation, record.abstention
    return ModelManifest(
        model=recipe.name,
        kind=recipe.kind,
        form=recipe.export.form,
        labels=splits.classes,
        image=fitted.image,
        base=fitted.reference,
        test_accuracy=figures.accuracy,
        weights_digest=export.weights_digest(fitted.base, fitted.head),
        parameters=record.parameters,
        trainable_parameters=record.trainable_parameters,
        classes=tuple(ClassFigures(row.label, row.precision, row.recall, row.support) for row in figures.per_class),
        baselines={baseline.name: baseline.accuracy.value for baseline in record.baselines},
        calibration=Calibration(measured.temperature, measured.before.ece, figures.ece),
        abstention=Abstention(abstention.threshold, abstention.test_coverage, abstention.test_risk, abstention.bound),
        golden=golden,
        precisions=precisions,
        provenance=Provenance(
            created=record.created,
            seed=record.seed,
            recipe=record.recipe,
            data_digest=record.data_digest,
            packages=record.packages,
            git_commit=record.git_commit,
        ),
    )


def _baselines(recipe: Recipe, splits: datasets.Splits, fitted: Fitted) -> tuple[Baseline, ...]:
    """On what the classifier sees: a head's features, and for a base small pictures."""
    chosen = np.random.default_rng(recipe.seed).permutation(len(splits.train))[:_BASELINE_ROWS]
    if fitted.frozen_features is not None:
        train, test = fitted.frozen_features[0][chosen], fitted.frozen_features[1]
    else:
        train, test = _small(splits.train.pictures)[chosen], _small(splits.test.pictures)
    return baselines.baselines(train, splits.train.labels[chosen], test, splits.test.labels, recipe.seed)


def _small(pictures: Pictures) -> NDArray[np.float32]:
    """Pixels from 0 to 1 of pictures shrunk to at most 32x32 by block means: ``float32[N, D]``."""

    def shrunk(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        height, width = (-(-size // _BASELINE_SIDE) for size in batch.shape[1:3])
        small: NDArray[np.float32] = block_means(batch, height, width) / np.float32(255)
        return small

    return np.concatenate([shrunk(batch) for batch in batches(pictures, _BASELINE_BATCH)])


def _other_test(composed: Any, dataset: str, image: ImageSpec, data_dir: Path | None) -> OtherTest:
    split = datasets.load_test_split(dataset, None, image, data_dir)
    accuracy = evaluation.accuracy(infer(composed, split.pictures), split.labels)
    return OtherTest(dataset, accuracy, "the model applied unchanged, classes by position")
