"""Fine-tuning shows every depth, publishes the one that validates best, and leaves the base's statistics alone."""

import io

import keras
import numpy as np
import pytest
import tensorflow as tf

from headway_training.errors import InvalidRecipe
from headway_training.run_record import RunRecord
from tests.integration.training.runs_here import Workshop

# The coloured base has two convolutions that count, and batch normalisation that does not.
DEPTHS = "fine_tuning.depths=[2, 1]"
RATE = "fine_tuning.learning_rate=0.005"
CONVOLUTIONS = {1: 6 * 9 * 8 + 8, 2: 6 * 9 * 8 + 8 + 3 * 9 * 6 + 6}
HEAD = 8 * 8 + 8 + 8 * 3 + 3


@pytest.fixture(scope="module")
def tuned(workshop: Workshop) -> Workshop:
    """A head alone; the same with a second phase that can only do harm; and a poor head with one that helps."""
    workshop.train(workshop.head("untuned"))
    workshop.train(workshop.head("tuned", "fitting.epochs=1", "fitting.learning_rate=0.00001", DEPTHS, RATE))
    workshop.train(workshop.head("spoiled", DEPTHS, "fine_tuning.learning_rate=10.0", "fine_tuning.epochs=1"))
    return workshop


def test_the_record_shows_every_depth_the_frozen_base_first(tuned: Workshop) -> None:
    record = tuned.record("tuned")
    assert [point.depth for point in record.sweep] == [0, 1, 2]
    assert [point.trainable_parameters for point in record.sweep] == [
        HEAD,
        HEAD + CONVOLUTIONS[1],
        HEAD + CONVOLUTIONS[2],
    ]
    assert [phase.name for phase in record.phases] == ["head", "fine-tuning, last 1", "fine-tuning, last 2"]
    assert [len(phase.loss) for phase in record.phases] == [1, 3, 3]
    assert all(point.seconds > 0 and point.test_accuracy.samples == 54 for point in record.sweep)


def test_depth_0_is_the_head_alone(tuned: Workshop) -> None:
    untuned, record = tuned.record("untuned"), tuned.record("spoiled")
    assert untuned.sweep == ()
    assert record.phases[0].loss == untuned.phases[0].loss
    assert record.sweep[0].validation_accuracy == untuned.validation_accuracy
    assert record.sweep[0].test_accuracy == untuned.evaluation.accuracy


def published_depth(record: RunRecord) -> int:
    return max(record.sweep, key=lambda point: (point.validation_accuracy, -point.depth)).depth


@pytest.mark.parametrize("model", ["tuned", "spoiled"])
def test_what_is_published_is_the_depth_that_validates_best(tuned: Workshop, model: str) -> None:
    record = tuned.record(model)
    kept = record.sweep[published_depth(record)]
    assert record.validation_accuracy == kept.validation_accuracy
    assert record.evaluation.accuracy == kept.test_accuracy
    assert record.trainable_parameters == kept.trainable_parameters


def test_a_second_phase_that_does_harm_is_not_published(tuned: Workshop) -> None:
    record = tuned.record("spoiled")
    assert published_depth(record) == 0
    assert record.sweep[1].validation_accuracy < record.sweep[0].validation_accuracy
    spoiled, untuned = (tuned.repository.manifest(model, 1) for model in ("spoiled", "untuned"))
    assert spoiled.weights_digest == untuned.weights_digest
    assert [sample.scores for sample in spoiled.golden] == [sample.scores for sample in untuned.golden]


def test_the_published_graph_holds_the_tuned_layers_and_the_bases_own_statistics(tuned: Workshop) -> None:
    """Every depth starts from the base; batch normalisation is the base's to the last bit, convolutions are not."""
    assert published_depth(tuned.record("tuned")) > 0
    path = tuned.repository.path("coloured-base", 1) / "assets.extra" / "features.keras"
    base = keras.models.load_model(path, compile=False)
    stored = str(tuned.repository.path("tuned", 1) / "variables" / "variables")
    names = [name for name, shape in tf.train.list_variables(stored) if shape]
    variables = [tf.train.load_variable(stored, name) for name in names]
    statistics = [layer for layer in base.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for weight in statistics[0].get_weights():
        assert any(each.shape == weight.shape and (each == weight).all() for each in variables)
    last = [layer for layer in base.layers if isinstance(layer, keras.layers.Conv2D)][-1].get_weights()[0]
    (tuned_kernel,) = [each for each in variables if each.shape == last.shape]
    assert 1e-4 < np.abs(tuned_kernel - last).max() < 1


def test_a_base_with_fewer_layers_is_refused_before_the_head_is_fitted(tuned: Workshop) -> None:
    shown = io.StringIO()
    with pytest.raises(InvalidRecipe, match=r"coloured-base has 2 layers with weights; 3 is too deep"):
        tuned.train(tuned.head("deep", "fine_tuning.depths=[1, 3]"), shown)
    assert "epoch" not in shown.getvalue()
    assert tuned.repository.versions("deep") == ()


def test_augmented_fine_tuning_needs_no_cached_features(tuned: Workshop) -> None:
    overrides = "head.cache_features=false", "augmentation.flip=true", "fitting.epochs=2", "fine_tuning.depths=[1]"
    published = tuned.train(tuned.head("augmented", *overrides, "fine_tuning.epochs=1"))
    assert [len(phase.loss) for phase in published.record.phases] == [2, 1]
    assert published.record.evaluation.accuracy.value > 0.5
