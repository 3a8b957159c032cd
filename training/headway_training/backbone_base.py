"""Puts a pretrained backbone into the repository as a base of form ``features``, once; heads then stand on it."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
from rich.console import Console

from headway_contract.errors import ContractError
from headway_contract.model_manifest import ModelManifest, Provenance
from headway_contract.model_repository import ModelRepository
from headway_contract.preprocessing import ImageSpec
from headway_training import backbones, export
from headway_training.inference import infer
from headway_training.surroundings import git_commit, package_versions

_PICTURES_COMPARED = 8


def ensure_backbone(name: str, weights: str, image: ImageSpec, repository: ModelRepository, console: Console) -> int:
    """The version of model ``name`` that is this backbone with these weights and geometry; published if there is none.

    ``weights``: ``imagenet`` or a file. Raises :class:`InvalidWeights`.
    """
    wanted = {"network": name, "weights": backbones.weights_identity(name, weights)}
    for version in reversed(repository.versions(name)):
        if _is(repository, name, version, wanted, image):
            return version
    with console.status(f"putting {name} into {repository.root} ..."):
        base = backbones.build_backbone(name, image, weights)
        version = _publish(repository, name, base, image, wanted)
    console.print(f"  published {repository.root / name / str(version)}: the pretrained backbone that heads stand on")
    return version


def _is(repository: ModelRepository, name: str, version: int, wanted: dict[str, str], image: ImageSpec) -> bool:
    try:
        manifest = repository.manifest(name, version)
    except ContractError:
        return False
    return (manifest.form, manifest.image, dict(manifest.provenance.recipe)) == ("features", image, wanted)


def _publish(repository: ModelRepository, name: str, base: Any, image: ImageSpec, wanted: dict[str, str]) -> int:
    manifest = ModelManifest(
        model=name,
        kind="base",
        form="features",
        labels=(),
        image=image,
        test_accuracy=None,
        weights_digest=export.weights_digest(base),
        provenance=Provenance(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            seed=0,
            recipe=wanted,
            data_digest="none: pretrained",
            packages=package_versions(),
            git_commit=git_commit(),
        ),
        parameters=base.count_params(),
        trainable_parameters=0,
    )
    noise = np.random.default_rng(0).integers(0, 256, (_PICTURES_COMPARED, *image.shape), dtype=np.uint8)
    expected = export.Expected(pictures=noise, features=infer(base, noise), scores=None)
    return export.export_version(repository, manifest, export.Parts(base), expected)
