"""A head at its optimum: what is published with it, fine-tuning behind it, and runs that are interrupted."""

import io
from pathlib import Path
from typing import Any

import pytest

from headway_training.errors import InvalidCheckpoint
from headway_training.recipe import Recipe
from headway_training.recipe_files import make_recipe
from tests.integration.training.runs_here import Workshop

DEPTHS = "fine_tuning.depths=[1]", "fine_tuning.learning_rate=0.005", "fine_tuning.epochs=3", "fitting.batch_size=8"


def convex(workshop: Workshop, name: str, *overrides: str) -> Recipe:
    """The recipe of a convex head on ``coloured-base``: of 180 pictures 54 are for the test and 18 for validation."""
    mapping = {
        "name": name,
        "description": "Linear head on the coloured base",
        "kind": "head",
        "base": "coloured-base",
        "data": {"dataset": "folder", "folder": str(workshop.pictures), "test": 0.3, "validation": 0.1},
        "head": {"hidden": []},
        "fitting": {"solver": "convex", "epochs": 200, "label_smoothing": 0.1},
    }
    return make_recipe(mapping, overrides, name)


def shown_by(workshop: Workshop, recipe: Recipe, **more: Any) -> str:
    shown = io.StringIO()
    workshop.train(recipe, shown, **more)
    return shown.getvalue()


def test_the_head_is_calibrated_by_what_its_folds_answered(workshop: Workshop) -> None:
    """About all 126 pictures that are not the test's, and not about 18 that it has learned from."""
    shown = shown_by(workshop, convex(workshop, "by-folds"))
    record = workshop.record("by-folds")
    assert "logistic regression on 126 pictures" in shown
    assert record.counts == {"train": 108, "validation": 18, "test": 54}
    assert record.validation_accuracy * 126 == pytest.approx(round(record.validation_accuracy * 126))
    assert 0.6 < record.validation_accuracy <= 1
    assert record.phases[0].trainable_parameters == record.trainable_parameters == 8 * 3 + 3
    assert record.evaluation.accuracy.value > 0.7
    assert record.abstention.coverage * 126 == pytest.approx(round(record.abstention.coverage * 126))


def test_equal_runs_publish_equal_weights(workshop: Workshop) -> None:
    recipe = convex(workshop, "twice", "augmentation.flip=true")
    versions = [workshop.train(recipe).version for _ in range(2)]
    digests = {workshop.repository.manifest("twice", version).weights_digest for version in versions}
    assert len(digests) == 1


def test_mirror_images_are_mentioned_only_where_they_are_allowed(workshop: Workshop) -> None:
    assert "; mirror images " in shown_by(workshop, convex(workshop, "mirrored", "augmentation.flip=true"))
    assert "mirror images" not in shown_by(workshop, convex(workshop, "plain"))


def test_a_head_before_fine_tuning_is_fitted_on_the_training_split_alone(workshop: Workshop) -> None:
    """The validation split chooses the depth, so nothing may have learned from it."""
    shown = shown_by(workshop, convex(workshop, "tuned-convex", *DEPTHS))
    record = workshop.record("tuned-convex")
    assert "logistic regression on 108 pictures" in shown
    assert [phase.name for phase in record.phases] == ["head", "fine-tuning, last 1"]
    assert [point.depth for point in record.sweep] == [0, 1]
    assert record.validation_accuracy == max(point.validation_accuracy for point in record.sweep)
    right = [point.validation_accuracy * 18 for point in record.sweep]
    assert right == pytest.approx([round(each) for each in right])


def test_a_fit_of_seconds_writes_no_checkpoint_and_says_so(workshop: Workshop, tmp_path: Path) -> None:
    path = tmp_path / "c.keras"
    shown = shown_by(workshop, convex(workshop, "unchecked"), checkpoint=path)
    assert "no checkpoint of this run: the head is fitted to its optimum within seconds" in shown
    assert not path.exists()
    with pytest.raises(InvalidCheckpoint, match="takes seconds and writes none; run the same command without --resume"):
        workshop.train(convex(workshop, "unchecked"), resume=path)


def test_fine_tuning_behind_a_convex_head_goes_on_from_its_checkpoint(workshop: Workshop, tmp_path: Path) -> None:
    path, recipe = tmp_path / "c.keras", convex(workshop, "resumed-convex", *DEPTHS)
    first = io.StringIO()
    whole = workshop.train(recipe, first, checkpoint=path)
    assert "no checkpoint before fine-tuning" in first.getvalue()
    shown = io.StringIO()
    resumed = workshop.train(recipe, shown, resume=path)
    assert "going on after epoch 3" in shown.getvalue()
    assert resumed.record.evaluation == whole.record.evaluation
    digests = [workshop.repository.manifest(recipe.name, each.version).weights_digest for each in (whole, resumed)]
    assert digests[0] == digests[1]
