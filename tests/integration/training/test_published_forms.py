"""What the tutorials' experiments need of a run: a classifier carried over, depths from the start, bare scores."""

import numpy as np
import pytest

from headway_training.errors import InvalidRecipe
from headway_training.fitting import shifted
from tests.integration.training.runs_here import Workshop

STILL = "fitting.learning_rate=1e-12"
LIKE_THE_BASE = "head.start=base"


@pytest.fixture(scope="module")
def carried(workshop: Workshop) -> Workshop:
    """A head that starts where its base ended and does not move, and one that learns from there at every depth."""
    bare = "evaluation.calibrated=false"
    workshop.train(workshop.head("carried", LIKE_THE_BASE, STILL, bare))
    workshop.train(
        workshop.head(
            "depths", LIKE_THE_BASE, bare, "fine_tuning.depths=[1]", "fine_tuning.after_head=false",
            "fine_tuning.learning_rate=1e-12", "fine_tuning.epochs=1",
        )
    )  # fmt: skip
    return workshop


def test_a_head_that_starts_with_the_bases_classifier_answers_as_the_base_does(carried: Workshop) -> None:
    base, head = (carried.record(model) for model in ("coloured-base", "carried"))
    assert head.evaluation.accuracy == base.evaluation.accuracy
    assert head.phases[0].validation_accuracy[0] == pytest.approx(base.validation_accuracy)


def test_a_depth_can_start_where_the_head_started(carried: Workshop) -> None:
    record, base = carried.record("depths"), carried.record("coloured-base")
    assert record.sweep[1].test_accuracy == base.evaluation.accuracy
    assert record.sweep[1].validation_accuracy == base.validation_accuracy


def test_scores_that_are_not_calibrated_stay_as_they_were_trained(carried: Workshop) -> None:
    record = carried.record("carried")
    assert record.temperature == 1
    assert record.uncalibrated_ece == record.evaluation.ece


def test_the_cpu_seconds_of_a_fit_are_recorded(carried: Workshop) -> None:
    (phase,) = carried.record("carried").phases
    assert phase.cpu_seconds is not None
    assert phase.cpu_seconds > 0


def test_a_head_of_another_shape_cannot_start_with_the_bases_classifier(workshop: Workshop) -> None:
    with pytest.raises(InvalidRecipe, match=r"head.start: the head's weights are .* give it the same hidden layers"):
        workshop.train(workshop.head("other", LIKE_THE_BASE, "head.hidden=[9]"))


def test_shifted_pictures_are_moved_whole_and_filled_with_0() -> None:
    pictures = np.zeros((300, 5, 5, 1), np.uint8)
    pictures[:, 2, 2] = 7
    moved = shifted(pictures, 2, np.random.default_rng(1))
    assert (moved.shape, moved.dtype) == (pictures.shape, pictures.dtype)
    assert (moved.sum(axis=(1, 2, 3)) == 7).all()
    places = {tuple(place) for place in np.argwhere(moved)[:, 1:3].tolist()}
    assert places == {(row, column) for row in range(5) for column in range(5)}
    np.testing.assert_array_equal(shifted(pictures, 2, np.random.default_rng(1)), moved)
    gone = shifted(np.full((50, 3, 3, 2), 9, np.uint8), 1, np.random.default_rng(2))
    assert set(np.unique(gone)) == {0, 9}
