"""A run that stops in any phase goes on there: earlier phases are run again, and the result is the same."""

import io
import shutil
from pathlib import Path

import pytest

from headway_contract.model_repository import ModelRepository
from headway_training.errors import InvalidCheckpoint
from headway_training.run_record import FittingPhase
from tests.integration.training.runs_here import Workshop, recipe_of
from tests.integration.training.tiny_recipes import write_coloured_base

STOPS = {"the head": "epoch   3/4", "the first depth": "epoch   2/3", "the second depth": "last 2 layers"}


class Stopping(io.StringIO):
    """A terminal at which somebody presses Ctrl-C one line after ``at`` shows."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self._at, self._shown = at, False

    def write(self, text: str) -> int:
        if self._shown and "epoch" in text:
            raise KeyboardInterrupt
        self._shown = self._shown or self._at in text
        return super().write(text)


def curves(phases: tuple[FittingPhase, ...]) -> list[tuple[object, ...]]:
    return [(each.name, each.loss, each.accuracy, each.validation_loss, each.validation_accuracy) for each in phases]


OVERRIDES = "fine_tuning.depths=[1, 2]", "fine_tuning.learning_rate=0.005"


@pytest.fixture(scope="module")
def uninterrupted(workshop: Workshop) -> Workshop:
    workshop.train(workshop.head("two-phases", *OVERRIDES))
    return workshop


@pytest.mark.parametrize("phase", STOPS)
def test_a_run_stopped_in_any_phase_ends_as_the_uninterrupted_one(
    uninterrupted: Workshop, tmp_path: Path, phase: str
) -> None:
    checkpoint, recipe = tmp_path / "c.keras", uninterrupted.head("two-phases", *OVERRIDES)
    with pytest.raises(KeyboardInterrupt):
        uninterrupted.train(recipe, Stopping(STOPS[phase]), checkpoint=checkpoint)
    shown = io.StringIO()
    published = uninterrupted.train(recipe, shown, checkpoint=checkpoint, resume=checkpoint)
    first = uninterrupted.record("two-phases", 1)
    assert "going on after epoch" in shown.getvalue()
    assert curves(published.record.phases) == curves(first.phases)
    assert published.record.evaluation == first.evaluation
    digests = [
        uninterrupted.repository.manifest("two-phases", version).weights_digest for version in (1, published.version)
    ]
    assert digests[0] == digests[1]


def test_a_checkpoint_of_other_pictures_is_refused(uninterrupted: Workshop, tmp_path: Path) -> None:
    """The same recipe, but somebody put one more picture into the folder."""
    checkpoint = tmp_path / "c.h5"
    recipe = uninterrupted.head("other")
    with pytest.raises(KeyboardInterrupt):
        uninterrupted.train(recipe, Stopping("epoch   1/4"), checkpoint=checkpoint)
    added = uninterrupted.pictures / "red" / "added.png"
    added.write_bytes((uninterrupted.pictures / "red" / "000.png").read_bytes())
    try:
        with pytest.raises(InvalidCheckpoint, match="was trained on other pictures; continue it with the same data"):
            uninterrupted.train(recipe, resume=checkpoint)
    finally:
        added.unlink()
    assert uninterrupted.repository.versions("other") == ()


def test_a_folder_that_was_moved_holds_the_same_pictures(uninterrupted: Workshop, tmp_path: Path) -> None:
    checkpoint, moved = tmp_path / "c.keras", tmp_path / "moved"
    uninterrupted.train(uninterrupted.head("unmoved"))
    with pytest.raises(KeyboardInterrupt):
        uninterrupted.train(uninterrupted.head("unmoved"), Stopping("epoch   2/4"), checkpoint=checkpoint)
    shutil.copytree(uninterrupted.pictures, moved)
    shown = io.StringIO()
    uninterrupted.train(uninterrupted.head("unmoved", f'data.folder="{moved}"'), shown, resume=checkpoint)
    assert "going on after epoch 2 of 4" in shown.getvalue()
    first, resumed = (uninterrupted.repository.manifest("unmoved", version) for version in (1, 2))
    assert resumed.weights_digest == first.weights_digest


def test_a_checkpoint_of_a_head_on_another_base_is_refused(uninterrupted: Workshop, tmp_path: Path) -> None:
    """The recipe is the same and names the newest version, but meanwhile there is a newer one."""
    checkpoint, repository = tmp_path / "c.keras", ModelRepository(tmp_path / "models")
    shutil.copytree(uninterrupted.repository.path("coloured-base", 1), repository.root / "coloured-base" / "1")
    recipe = uninterrupted.head("newer")
    with pytest.raises(KeyboardInterrupt):
        uninterrupted.train(recipe, Stopping("epoch   2/4"), repository, checkpoint=checkpoint)
    base = recipe_of(write_coloured_base(tmp_path, uninterrupted.pictures), "seed=2", "fitting.epochs=1")
    uninterrupted.train(base, repository=repository)
    with pytest.raises(InvalidCheckpoint, match="stands on another base than today's coloured-base; continue it on"):
        uninterrupted.train(recipe, repository=repository, resume=checkpoint)
    assert repository.models() == ("coloured-base",)
    uninterrupted.train(recipe, resume=checkpoint)
