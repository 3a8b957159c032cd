"""A small run for tests: three classes, scores with mistakes in them, and every optional part filled."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headway_contract.model_manifest import Accuracy, BaseReference
from headway_training import calibration, evaluation
from headway_training.run_record import Baseline, FittingPhase, OtherTest, RunRecord, ScoredPictures, SweepPoint

CLASSES = ("cat", "dog", "fox")


def scores_of(
    labels: NDArray[np.int32], classes: int, seed: int, skill: float = 2.0, sharpness: float = 1.0
) -> NDArray[np.float32]:
    """Softmax scores that favour the labels by ``skill`` nats amid unit noise; ``sharpness`` multiplies the logits."""
    logits = np.random.default_rng(seed).normal(size=(len(labels), classes))
    logits[np.arange(len(labels)), labels] += skill
    weights = np.exp(logits * sharpness)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def labels_of(count: int, classes: int, seed: int = 7) -> NDArray[np.int32]:
    return np.random.default_rng(seed).integers(0, classes, count).astype(np.int32)


def a_record(classes: tuple[str, ...] = CLASSES, count: int = 300, **changes: Any) -> RunRecord:
    labels = labels_of(count, len(classes))
    before, validation = scores_of(labels, len(classes), 1), scores_of(labels, len(classes), 2)
    temperature = calibration.fit_temperature(validation, labels)
    after = calibration.apply_temperature(before, temperature)
    uncalibrated = evaluation.evaluate(before, labels, classes)
    record = RunRecord(
        model="pets",
        kind="head",
        form="standalone",
        created="2025-01-02T03:04:05+00:00",
        recipe={"name": "pets", "description": "Three pets", "fitting": {"epochs": 3, "optimizer": "adam"}},
        classes=classes,
        seed=11,
        data_digest="sha256:d1",
        counts={"train": 900, "validation": count, "test": count},
        data_warnings=("2 pictures lie in both train and test",),
        evaluation=evaluation.evaluate(after, labels, classes),
        uncalibrated_ece=uncalibrated.ece,
        uncalibrated_reliability=uncalibrated.reliability,
        temperature=temperature,
        validation_accuracy=0.8125,
        abstention=calibration.abstain_threshold(validation, labels, after, labels),
        baselines=(Baseline("linear", Accuracy(0.625, 0.57, 0.68, count), 900, 0.5),),
        phases=(a_phase("head"), a_phase("fine-tuning")),
        sweep=(
            SweepPoint(0, 303, 0.81, Accuracy(0.8, 0.75, 0.84, count), 3.0, 1.0),
            SweepPoint(4, 4_303, 0.86, Accuracy(0.85, 0.8, 0.89, count), 30.0, 10.0),
        ),
        other_tests=(OtherTest("zoo", Accuracy(0.125, 0.1, 0.15, 800), "applied unchanged"),),
        base=BaseReference("animals", 3, "sha256:b5"),
        base_epoch_seconds=12.0,
        parameters=70_000,
        trainable_parameters=303,
        seconds={"data": 1.0, "fitting": 5.5, "export": 2.25},
        packages={"python": "3.11.2"},
        git_commit="c0ffee",
        expected_accuracy=0.5,
    )
    return replace(record, **changes)


def a_phase(name: str) -> FittingPhase:
    return FittingPhase(
        name=name,
        loss=(1.0, 0.5, 0.25),
        accuracy=(0.5, 0.7, 0.8),
        validation_loss=(1.1, 0.6, 0.5),
        validation_accuracy=(0.4, 0.6, 0.75),
        epoch_seconds=(9.0, 2.0, 4.0),
        seconds=15.0,
        trainable_parameters=303,
    )


def pictures_of(record: RunRecord, seed: int, first: int = 0) -> ScoredPictures:
    """Scored pictures named ``p<first>`` onwards for the record's classes; their labels depend on the name alone."""
    count = record.evaluation.accuracy.samples
    labels = ((np.arange(count) + first) % len(record.classes)).astype(np.int32)
    identities = np.array([f"p{first + number}" for number in range(count)])
    return ScoredPictures(scores_of(labels, len(record.classes), seed), labels, identities)
