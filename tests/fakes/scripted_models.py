"""Model versions whose behaviour is written down, for the fake and for the real gRPC server alike."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headway_contract.model_manifest import (
    Abstention,
    Accuracy,
    BaseReference,
    FamiliarityFigures,
    ModelManifest,
    Provenance,
)
from headway_contract.preprocessing import ImageSpec

DIGITS = ("0", "1", "2", "3", "4")
DIGIT_SPEC = ImageSpec(height=28, width=28, channels=1)


SLOW_SECONDS = 0.005


class Fault(StrEnum):
    """How a loaded version misbehaves."""

    HANGS = "hangs"
    """Never answers."""
    SLOW = "slow"
    """Takes :data:`SLOW_SECONDS` for every Predict."""
    REFUSES = "refuses"
    """Answers every Predict with an error."""
    REFUSES_ROWS = "refuses rows"
    """Describes itself, and answers every other Predict with an error."""
    MALFORMED = "malformed"
    """Answers scores that are not one row per picture, and no manifest."""
    NOT_A_NUMBER = "not a number"
    """Answers NaN for every score, as broken weights do."""


@dataclass(frozen=True)
class ScriptedVersion:
    """One version: its manifest (JSON) and number of classes, its state at the model server, and its fault, if any.

    ``failure``: why it could not be loaded, as the model server says it beside the state END. ``familiar``: whether it
    answers a familiarity beside the scores.
    """

    manifest: bytes
    classes: int = len(DIGITS)
    state: str = "AVAILABLE"
    fault: Fault | None = None
    failure: str = ""
    familiar: bool = False


ScriptedModels = Mapping[str, Mapping[int, ScriptedVersion]]


def scripted_manifest(
    model: str = "digits", labels: tuple[str, ...] = DIGITS, image: ImageSpec = DIGIT_SPEC, *, head: bool = True
) -> ModelManifest:
    """A manifest as training writes it."""
    return ModelManifest(
        model=model,
        kind="head" if head else "base",
        labels=labels,
        image=image,
        test_accuracy=Accuracy(value=0.98, low=0.96, high=0.99, samples=500),
        weights_digest="sha256:0",
        provenance=Provenance(created="2025-01-01T00:00:00Z", seed=1, recipe={}, data_digest="sha256:1", packages={}),
        parameters=600_165,
        trainable_parameters=590_597,
        base=BaseReference("digits-5to9", 1, "sha256:2") if head else None,
    )


def scripted_version(
    model: str = "digits",
    labels: tuple[str, ...] = DIGITS,
    image: ImageSpec = DIGIT_SPEC,
    *,
    state: str = "AVAILABLE",
    fault: Fault | None = None,
) -> ScriptedVersion:
    """A version whose manifest and scores fit each other."""
    manifest = scripted_manifest(model, labels, image).to_json().encode()
    return ScriptedVersion(manifest, classes=len(labels), state=state, fault=fault)


def familiar_version(threshold: float) -> ScriptedVersion:
    """A version of ``digits`` that answers a familiarity, and would rather not answer below ``threshold``."""
    manifest = replace(
        scripted_manifest(),
        familiarity=FamiliarityFigures(0.05, 800, 0.04),
        abstention=Abstention(threshold, 0.9, 0.02, bound=0.03),
    )
    return ScriptedVersion(manifest.to_json().encode(), familiar=True)


def scripted_answer(rows: NDArray[Any], version: ScriptedVersion, signature: str) -> NDArray[np.float32]:
    """What a signature answers; a picture's features are ``float32[3]``: its first pixel, and 1 and 2.

    The familiarity, where the version has one, is a last column: a tenth of the picture's first pixel.
    """
    if signature == "features":
        return np.stack([np.array([row[0, 0, 0], 1, 2], np.float32) for row in rows])
    flat = rows.reshape(len(rows), -1)
    scores = scripted_scores(flat, version)
    return np.column_stack([scores, (flat[:, 0] / 10).astype(np.float32)]) if version.familiar else scores


def scripted_scores(rows: NDArray[Any], version: ScriptedVersion) -> NDArray[np.float32]:
    """Pixels or features of N pictures, ``[N, D]`` -> ``float32[N, classes]``: 0.9 for class ``[n, 0] % classes``."""
    classes = version.classes
    if version.fault is Fault.NOT_A_NUMBER:
        return np.full((len(rows), classes), np.nan, np.float32)
    scores = np.full((len(rows), classes), 0.1 / (classes - 1), np.float32)
    scores[np.arange(len(rows)), rows[:, 0].astype(np.intp) % classes] = 0.9
    return scores
