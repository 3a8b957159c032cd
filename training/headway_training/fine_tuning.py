"""The second phase of a head: train the base's last layers too, at each depth asked for, and keep the best."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from headway_training import evaluation, fitting
from headway_training.datasets import Splits
from headway_training.errors import InvalidRecipe
from headway_training.head import augmented, compose
from headway_training.inference import infer
from headway_training.recipe import Recipe
from headway_training.run_record import FittingPhase, SweepPoint


@dataclass(frozen=True)
class Tuned:
    """What the depths showed, the frozen base (depth 0) first, and which was kept."""

    phases: tuple[FittingPhase, ...]
    sweep: tuple[SweepPoint, ...]
    depth: int


def check_depths(base: Any, recipe: Recipe) -> None:
    """Raise :class:`InvalidRecipe` where the base has fewer layers with weights than are to be trained."""
    layers = len(_layers_with_weights(base))
    deepest = max(recipe.fine_tuning.depths, default=0)
    if deepest > layers:
        raise InvalidRecipe(
            f"fine_tuning.depths: {recipe.base} has {layers} layers with weights; {deepest} is too deep"
        )


def fine_tune(
    base: Any, head: Any, splits: Splits, run: fitting.Run, fitted: FittingPhase, unfitted: list[NDArray[np.float32]]
) -> Tuned:
    """Tune the fitted head at every depth of the recipe; ``base`` and ``head`` end with the best one's weights.

    ``unfitted``: the weights that the head started with, from which each depth starts if the recipe says so.

    The best is the one with the highest accuracy on the validation split; of equals, the one that trains less.
    """
    best = base.get_weights(), head.get_weights()
    start = best if run.recipe.fine_tuning.after_head else (best[0], unfitted)
    phases, sweep = [], [_point(0, base, head, splits, fitted)]
    for depth in sorted(set(run.recipe.fine_tuning.depths)):
        base.set_weights(start[0])
        head.set_weights(start[1])
        run.console.print(f"  fine-tuning with the base's last {depth} layers")
        phases.append(_tune(base, head, splits, run, depth))
        sweep.append(_point(depth, base, head, splits, phases[-1]))
        if sweep[-1].validation_accuracy > max(point.validation_accuracy for point in sweep[:-1]):
            best = base.get_weights(), head.get_weights()
    base.set_weights(best[0])
    head.set_weights(best[1])
    kept = max(sweep, key=lambda point: point.validation_accuracy)
    _unfreeze(base, kept.depth)  # so that the parameters counted as trained are those of what is published
    return Tuned(tuple(phases), tuple(sweep), kept.depth)


def _tune(base: Any, head: Any, splits: Splits, run: fitting.Run, depth: int) -> FittingPhase:
    recipe = run.recipe
    _unfreeze(base, depth)
    second = recipe.fitting.model_copy(
        update={"epochs": recipe.fine_tuning.epochs, "learning_rate": recipe.fine_tuning.learning_rate}
    )
    return fitting.fit(
        augmented(compose(base, head), recipe.augmentation),
        fitting.Samples(splits.train.pictures, splits.train.labels),
        fitting.Samples(splits.validation.pictures, splits.validation.labels),
        second,
        run,
        phase=f"fine-tuning, last {depth}",
    )


def _point(depth: int, base: Any, head: Any, splits: Splits, phase: FittingPhase) -> SweepPoint:
    composed = compose(base, head)

    def scores(pictures: Any) -> NDArray[np.float32]:
        return infer(composed, pictures)

    return SweepPoint(
        depth=depth,
        trainable_parameters=phase.trainable_parameters,
        validation_accuracy=evaluation.accuracy(scores(splits.validation.pictures), splits.validation.labels).value,
        test_accuracy=evaluation.accuracy(scores(splits.test.pictures), splits.test.labels),
        seconds=phase.seconds,
        epoch_seconds=phase.median_epoch_seconds,
    )


def _unfreeze(base: Any, depth: int) -> None:
    layers = _layers_with_weights(base)
    base.trainable = True
    for layer in _leaves(base):
        layer.trainable = layer in layers[len(layers) - depth :]


def _layers_with_weights(base: Any) -> list[Any]:
    """The layers that fine-tuning counts, from input to output.

    Batch normalisation is left out: its statistics belong to the pictures that the base was trained on.
    """
    return [
        layer for layer in _leaves(base) if layer.weights and not isinstance(layer, keras.layers.BatchNormalization)
    ]


def _leaves(model: Any) -> list[Any]:
    nested = [_leaves(layer) if isinstance(layer, keras.Model) else [layer] for layer in model.layers]
    return [layer for group in nested for layer in group]
