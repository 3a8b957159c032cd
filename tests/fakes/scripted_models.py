"""Model versions whose behaviour is written down, for the fake and for the real gRPC server alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from headway_contract.model_manifest import Accuracy, BaseReference, ModelManifest, Provenance
from headway_contract.preprocessing import ImageSpec

DIGITS = ("0", "1", "2", "3", "4")
DIGIT_SPEC = ImageSpec(height=28, width=28, channels=1)


class Fault(StrEnum):
    """How a loaded version misbehaves."""

    HANGS = "hangs"
    """Never answers."""
    REFUSES = "refuses"
    """Answers every Predict with an error."""
    MALFORMED = "malformed"
    """Answers scores that are not one row per picture, and no manifest."""
    NOT_A_NUMBER = "not a number"
    """Answers NaN for every score, as broken weights do."""


@dataclass(frozen=True)
class ScriptedVersion:
    """One version: its manifest (JSON) and number of classes, its state at the model server, and its fault, if any."""

    manifest: bytes
    classes: int = len(DIGITS)
    state: str = "AVAILABLE"
    fault: Fault | None = None


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


def scripted_scores(pixels: NDArray[np.uint8], version: ScriptedVersion) -> NDArray[np.float32]:
    """``uint8[N, H, W, C]`` -> ``float32[N, classes]``: 0.9 for the class ``pixels[n, 0, 0, 0] % classes``."""
    classes = version.classes
    if version.fault is Fault.NOT_A_NUMBER:
        return np.full((len(pixels), classes), np.nan, np.float32)
    scores = np.full((len(pixels), classes), 0.1 / (classes - 1), np.float32)
    scores[np.arange(len(pixels)), pixels[:, 0, 0, 0] % classes] = 0.9
    return scores
