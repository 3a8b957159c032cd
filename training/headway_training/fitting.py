"""The only caller of ``fit``: optimizer, schedule, history and progress."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from headway_training.recipe import FittingRecipe


@dataclass(frozen=True)
class History:
    """What fitting left behind; one entry per epoch. ``epoch_seconds``: the training pass, without validation."""

    loss: tuple[float, ...]
    accuracy: tuple[float, ...]
    validation_accuracy: tuple[float, ...]
    epoch_seconds: tuple[float, ...]
    seconds: float

    @property
    def median_epoch_seconds(self) -> float:
        """Median wall seconds of an epoch; the first, which also builds the graph, counts only if it is alone."""
        return median(self.epoch_seconds[1:] or self.epoch_seconds)


def fit(
    model: Any,
    train: tuple[NDArray[Any], NDArray[np.int32]],
    validation: tuple[NDArray[Any], NDArray[np.int32]],
    recipe: FittingRecipe,
    console: Console,
) -> History:
    """Fit a softmax classifier to ``(inputs [N, ...], class indices int32[N])`` and show each epoch on ``console``.

    The caller has seeded Keras. Raises what Keras raises.
    """
    steps = -(-len(train[1]) // recipe.batch_size)
    model.compile(_optimizer(recipe, steps), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    started = time.perf_counter()
    with Progress(
        TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    ) as progress:  # fmt: skip
        watcher = _EpochWatcher(progress, console, recipe.epochs, steps)
        history = model.fit(
            *train,
            validation_data=validation,
            batch_size=recipe.batch_size,
            epochs=recipe.epochs,
            callbacks=[watcher],
            verbose=0,
        ).history
    return History(
        loss=tuple(history["loss"]),
        accuracy=tuple(history["accuracy"]),
        validation_accuracy=tuple(history["val_accuracy"]),
        epoch_seconds=tuple(watcher.epoch_seconds),
        seconds=time.perf_counter() - started,
    )


def _optimizer(recipe: FittingRecipe, steps_per_epoch: int) -> Any:
    rate: Any = recipe.learning_rate
    if recipe.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, decay_steps=steps_per_epoch * recipe.epochs)
    kinds = {
        "adam": keras.optimizers.Adam,
        "adadelta": keras.optimizers.Adadelta,
        "sgd": keras.optimizers.SGD,
    }
    return kinds[recipe.optimizer](rate)


class _EpochWatcher(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Shows a bar within an epoch and a line behind it; keeps the seconds of each epoch."""

    def __init__(self, progress: Progress, console: Console, epochs: int, steps: int) -> None:
        super().__init__()
        self.epoch_seconds: list[float] = []
        self._progress, self._console, self._epochs = progress, console, epochs
        self._task = progress.add_task("", total=steps)
        self._started = self._ended = 0.0

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:  # noqa: ARG002
        """Start the epoch's clock and bar."""
        self._progress.reset(self._task, description=f"epoch {epoch + 1}/{self._epochs}")
        self._started = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:  # noqa: ARG002
        """Move the bar; the last batch ends the training pass."""
        self._progress.advance(self._task)
        self._ended = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Keep the training pass's seconds and write the epoch's line."""
        self.epoch_seconds.append(self._ended - self._started)
        figures = logs or {}
        self._console.print(
            f"  epoch {epoch + 1:>3}/{self._epochs}  loss {figures['loss']:.4f}  accuracy {figures['accuracy']:.4f}"
            f"  validation {figures['val_accuracy']:.4f}  {self.epoch_seconds[-1]:.2f} s"
        )
