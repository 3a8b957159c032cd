"""An export that does not answer as the trained model did is refused, and nothing is published."""

import dataclasses
import re
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headway_contract.model_manifest import Accuracy, BaseReference, ModelManifest, Provenance
from headway_contract.model_repository import ModelRepository
from headway_contract.preprocessing import ImageSpec
from headway_training.errors import ExportRefused, WriteFailed
from headway_training.export import Expected, Parts, export_version, weights_digest
from headway_training.head import build_head, compose
from headway_training.inference import infer
from headway_training.layers import NETWORKS
from headway_training.networks import build_network
from headway_training.recipe import HeadRecipe
from tests.integration.training.saved_model_session import loaded

SPEC = ImageSpec(10, 10, 1)


@dataclasses.dataclass(frozen=True)
class Untrained:
    """A small model with random weights, its answers, and what it says of itself."""

    base: Any
    head: Any
    images: Any
    features: Any
    scores: Any
    manifest: ModelManifest

    def export(self, repository: ModelRepository, **changes: Any) -> int:
        """Export it, with what ``changes`` replaces."""
        values = dataclasses.replace(self, **changes)
        expected = Expected(values.images, values.features, values.scores)
        return export_version(repository, values.manifest, Parts(values.base, values.head), expected)


@pytest.fixture(scope="module")
def untrained() -> Untrained:
    base = build_network(NETWORKS["seed-cnn"], SPEC)
    head = build_head(base.output_shape[-1], 3, HeadRecipe(hidden=(4,)))
    images = np.random.default_rng(0).integers(0, 256, (300, 10, 10, 1), dtype=np.uint8)
    manifest = ModelManifest(
        model="untrained",
        kind="base",
        labels=("ä", "b", "c"),
        image=SPEC,
        test_accuracy=Accuracy(0.3, 0.2, 0.4, 300),
        weights_digest=weights_digest(base, head),
        provenance=Provenance("2026-01-02T03:04:05+00:00", 1, {}, "sha256:11", {}),
        parameters=1,
        trainable_parameters=1,
    )
    return Untrained(base, head, images, infer(base, images), infer(compose(base, head), images), manifest)


def test_scores_that_agree_are_published(untrained: Untrained, tmp_path: Path) -> None:
    repository = ModelRepository(tmp_path)
    assert untrained.export(repository) == 1
    assert repository.manifest("untrained", 1) == untrained.manifest
    with loaded(repository.path("untrained", 1)) as model:
        np.testing.assert_allclose(model.run("serving_default", untrained.images), untrained.scores, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["models[2]", "mod]els", "mod\\els", "mod*ls?"])
def test_a_repository_may_have_a_name_that_looks_like_a_pattern(
    untrained: Untrained, tmp_path: Path, name: str
) -> None:
    repository = ModelRepository(tmp_path / name)
    assert untrained.export(repository) == 1
    base = BaseReference("untrained", 1, repository.digest("untrained", 1))
    head = dataclasses.replace(untrained.manifest, model="head", kind="head", form="on_base", base=base)
    assert untrained.export(repository, manifest=head) == 1


@pytest.mark.parametrize("most", [2_000, 60_000])
def test_a_limit_on_file_sizes_is_one_line_with_the_file(untrained: Untrained, tmp_path: Path, most: int) -> None:
    """As on a full disk, the operating system refuses in the middle of a file."""
    repository = ModelRepository(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        with pytest.raises(WriteFailed) as refused:
            untrained.export(repository)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert re.fullmatch(
        rf"untrained: nothing was published in {re.escape(str(tmp_path))}: [a-z/0-9._-]+ cannot be written: "
        r"File too large; .*raise the limit \(ulimit -f\).*",
        str(refused.value),
    ), refused.value
    assert repository.models() == ()
    assert list((tmp_path / ".staging").iterdir()) == []


@pytest.mark.parametrize("wrong", [1e-3, float("nan")])
def test_one_score_that_differs_refuses_the_export(untrained: Untrained, tmp_path: Path, wrong: float) -> None:
    scores = untrained.scores.copy()
    # In the last picture: the comparison must reach it.
    scores[-1, 1] += wrong
    repository = ModelRepository(tmp_path)
    with pytest.raises(ExportRefused, match=r"untrained: signature serving_default .*300 pictures.*nothing was"):
        untrained.export(repository, scores=scores)
    assert repository.models() == ()
    assert list((tmp_path / ".staging").iterdir()) == []


def test_a_feature_that_differs_refuses_the_export(untrained: Untrained, tmp_path: Path) -> None:
    features = untrained.features.copy()
    features[3, 7] += 0.01 * np.abs(features).max()
    repository = ModelRepository(tmp_path)
    with pytest.raises(ExportRefused, match=r"untrained: signature features of the exported model differs"):
        untrained.export(repository, features=features)
    assert repository.models() == ()


def test_weights_that_changed_since_they_were_evaluated_refuse_the_export(untrained: Untrained, tmp_path: Path) -> None:
    head = build_head(untrained.base.output_shape[-1], 3, HeadRecipe(hidden=(4,)))
    repository = ModelRepository(tmp_path)
    with pytest.raises(ExportRefused, match="differs from the trained model"):
        untrained.export(repository, head=head)
    assert repository.models() == ()


def test_a_head_is_compared_behind_the_base_as_it_is_published(untrained: Untrained, tmp_path: Path) -> None:
    """The features that it was fitted on are right; those that it would get are of version 1, with other weights."""
    repository = ModelRepository(tmp_path)
    other = build_network(NETWORKS["seed-cnn"], SPEC)
    scores = infer(compose(other, untrained.head), untrained.images)
    untrained.export(repository, base=other, features=infer(other, untrained.images), scores=scores)
    untrained.export(repository)

    def on(version: int) -> ModelManifest:
        base = BaseReference("untrained", version, repository.digest("untrained", version))
        return dataclasses.replace(untrained.manifest, model="head", kind="head", form="on_base", base=base)

    with pytest.raises(ExportRefused, match=r"head: signature from_features .* on 300 pictures"):
        untrained.export(repository, manifest=on(1))
    assert repository.versions("head") == ()
    assert untrained.export(repository, manifest=on(2)) == 1
