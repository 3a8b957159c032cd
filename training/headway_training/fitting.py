"""The only caller of ``fit``: optimizer, schedule, order of pictures, early stopping, checkpoints and progress.

Each epoch's order of pictures and its random numbers (dropout, augmentation) follow from the seed and the epoch's
number alone. So a fit that is continued from a checkpoint continues exactly as it would have without the break.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from headway_training import checkpoints
from headway_training.checkpoints import Checkpoint, Curves
from headway_training.errors import InvalidCheckpoint
from headway_training.inference import Inputs, take
from headway_training.recipe import FittingRecipe, Recipe, recipe_mapping
from headway_training.run_record import FittingPhase

# Of a recipe, what may differ between a checkpoint and the run that continues it: what is for people, and where
# pictures and weights lie, since both are compared by content.
_MAY_CHANGE = ("description", "expected_accuracy", "published_accuracy", "weights")


@dataclass(frozen=True)
class Samples:
    """Inputs ``[N, ...]`` or N pictures, and for each the index of its class, ``int32[N]``."""

    inputs: Inputs
    labels: NDArray[np.int32]


@dataclass
class Run:
    """What the fits of one training run share.

    ``data_digest`` and, for a head, ``base_digest`` say what is trained on, by content. ``save_to``: a checkpoint to
    write after each epoch. ``resumed``: where to go on from, until its phase is reached; earlier phases are run again,
    and nothing is written over the checkpoint meanwhile.
    """

    recipe: Recipe
    data_digest: str
    console: Console
    save_to: Path | None = None
    resumed: Checkpoint | None = None
    base_digest: str = ""

    def __post_init__(self) -> None:
        if self.resumed is not None:
            self._check_resumed(self.resumed)

    def _check_resumed(self, checkpoint: Checkpoint) -> None:
        mapping, before = _compared(recipe_mapping(self.recipe)), _compared(checkpoint.recipe)
        differing = [key for key in mapping if mapping[key] != before.get(key)]
        if differing:
            raise InvalidCheckpoint(
                f"the checkpoint was written by another recipe: {', '.join(differing)} differ; continue it with the "
                "recipe and --set values that it was started with"
            )
        if self.data_digest != checkpoint.data_digest:
            raise InvalidCheckpoint("the checkpoint was trained on other pictures; continue it with the same data")
        if self.base_digest != checkpoint.base_digest:
            raise InvalidCheckpoint(
                f"the checkpoint's head stands on another base than today's {self.recipe.base}; continue it on the same"
            )


def _compared(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """What of a recipe must be the same for a checkpoint to be continued."""
    kept = {key: value for key, value in mapping.items() if key not in _MAY_CHANGE}
    return kept | {"data": {key: value for key, value in mapping["data"].items() if key != "folder"}}


def fit(
    model: Any, train: Samples, validation: Samples, recipe: FittingRecipe, run: Run, *, phase: str
) -> FittingPhase:
    """Fit a model whose output is ``float32[N, K]`` scores, K classes, and show each epoch.

    With ``recipe.patience`` the model ends with the weights of the epoch of lowest validation loss, else of the last.
    Raises :class:`InvalidCheckpoint` if ``run.resumed`` does not fit the model, and what Keras raises.
    """
    classes = model.output_shape[-1]
    ordered = _Batches(train, classes, recipe.batch_size, run.recipe.seed, run.recipe.augmentation.shift)
    model.compile(
        _optimizer(recipe, len(ordered)),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing),
        metrics=["accuracy"],
    )
    started, worked = time.perf_counter(), time.process_time()
    with Progress(
        TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=run.console, transient=True, disable=not run.console.is_terminal,
    ) as progress:  # fmt: skip
        watcher = _EpochWatcher(progress, recipe, run, phase, ordered)
        if run.resumed is not None and run.resumed.phase == phase:
            watcher.restore(model, run.resumed)
            run.resumed = None
        model.fit(
            ordered,
            validation_data=_Batches(validation, classes, recipe.batch_size, None),
            initial_epoch=len(watcher.curves.loss),
            epochs=recipe.epochs if not watcher.patience_is_over() else len(watcher.curves.loss),
            callbacks=[watcher],
            shuffle=False,  # Keras would shuffle the order of the batches too, by a state that no checkpoint has
            verbose=0,
        )
    if watcher.best is not None:
        model.set_weights(watcher.best)
    return FittingPhase(
        name=phase,
        loss=tuple(watcher.curves.loss),
        accuracy=tuple(watcher.curves.accuracy),
        validation_loss=tuple(watcher.curves.validation_loss),
        validation_accuracy=tuple(watcher.curves.validation_accuracy),
        epoch_seconds=tuple(watcher.curves.epoch_seconds),
        seconds=time.perf_counter() - started,
        trainable_parameters=int(sum(np.prod(weight.shape) for weight in model.trainable_weights)),
        cpu_seconds=time.process_time() - worked,
    )


def _optimizer(recipe: FittingRecipe, steps_per_epoch: int) -> Any:
    rate: Any = recipe.learning_rate
    steps = steps_per_epoch * recipe.epochs
    if recipe.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, decay_steps=steps)
    if recipe.schedule == "one-cycle":
        # L. N. Smith, A disciplined approach to neural network hyper-parameters, arXiv 1803.09820 (2018).
        rising = steps // 4
        rate = keras.optimizers.schedules.CosineDecay(
            rate / 25, decay_steps=max(1, steps - rising), warmup_target=rate, warmup_steps=rising
        )
    decay = recipe.weight_decay or None
    if recipe.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=recipe.momentum, weight_decay=decay)
    kinds = {"adam": keras.optimizers.Adam, "adadelta": keras.optimizers.Adadelta}
    return kinds[recipe.optimizer](rate, weight_decay=decay)


class _Batches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras ships no types
    """Batches of samples with one-hot labels; shuffled by seed and epoch, or in order where the seed is None.

    ``shift``: the largest shift of a picture, in pixels.
    """

    def __init__(self, samples: Samples, classes: int, size: int, seed: int | None, shift: int = 0) -> None:
        super().__init__()
        self._samples, self._size, self._seed, self._shift, self._epoch = samples, size, seed, shift, 0
        self._one_hot = np.eye(classes, dtype=np.float32)
        self._order: NDArray[np.intp] = np.arange(len(samples.labels))

    def shuffle(self, epoch: int) -> None:
        """Take the order that belongs to the epoch."""
        self._epoch = epoch
        if self._seed is not None:
            self._order = np.random.default_rng([self._seed, epoch]).permutation(len(self._samples.labels))

    def __len__(self) -> int:
        return math.ceil(len(self._samples.labels) / self._size)

    def __getitem__(self, index: int) -> tuple[NDArray[Any], NDArray[np.float32]]:
        chosen = self._order[index * self._size : (index + 1) * self._size]
        inputs = take(self._samples.inputs, chosen)
        if self._shift and self._seed is not None:
            inputs = shifted(inputs, self._shift, np.random.default_rng([self._seed, self._epoch, index]))
        return inputs, self._one_hot[self._samples.labels[chosen]]


def shifted(pictures: NDArray[Any], most: int, random: np.random.Generator) -> NDArray[Any]:
    """Pictures ``[N, H, W, C]``, each moved by up to ``most`` pixels along both axes; what is uncovered is 0."""
    count, height, width = pictures.shape[:3]
    wide = np.pad(pictures, ((0, 0), (most, most), (most, most), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(wide, (height, width), axis=(1, 2))
    down, right = random.integers(0, 2 * most + 1, (2, count))
    return np.ascontiguousarray(np.moveaxis(windows[np.arange(count), down, right], 1, -1))


class _EpochWatcher(keras.callbacks.Callback):  # type: ignore[misc]
    """Sets up each epoch's order and random numbers; keeps curves and best weights; shows and saves progress."""

    def __init__(self, progress: Progress, recipe: FittingRecipe, run: Run, phase: str, ordered: _Batches) -> None:
        super().__init__()
        self.curves = Curves()
        self.best: list[NDArray[Any]] | None = None
        self._progress, self._recipe, self._run, self._phase, self._ordered = progress, recipe, run, phase, ordered
        self._task = progress.add_task("", total=len(ordered))
        self._started = self._ended = 0.0

    def restore(self, model: Any, checkpoint: Checkpoint) -> None:
        """Bring a compiled model to where the checkpoint was written."""
        model.optimizer.build(model.trainable_variables)
        found = [weight.shape for weight in checkpoint.weights], [state.shape for state in checkpoint.optimizer]
        wanted = [weight.shape for weight in model.weights], [tuple(v.shape) for v in model.optimizer.variables]
        if found != wanted:
            raise InvalidCheckpoint("the checkpoint's weights do not fit this network; was Headway or Keras changed?")
        model.set_weights(checkpoint.weights)
        for variable, value in zip(model.optimizer.variables, checkpoint.optimizer, strict=True):
            variable.assign(value)
        self.curves, self.best = checkpoint.curves, checkpoint.best
        self._run.console.print(f"  going on after epoch {len(self.curves.loss)} of {self._recipe.epochs}")

    def patience_is_over(self) -> bool:
        """Whether the validation loss has not fallen for as many epochs as the recipe allows."""
        losses = self.curves.validation_loss
        return bool(
            self._recipe.patience and losses and len(losses) - 1 - losses.index(min(losses)) >= self._recipe.patience
        )

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:  # noqa: ARG002
        """Fix the epoch's order and random numbers; start its clock and bar."""
        self._ordered.shuffle(epoch)
        states = [variable for variable in self.model.variables if variable.name == "seed_generator_state"]
        for number, state in enumerate(states):
            state.assign(np.random.default_rng([self._run.recipe.seed, epoch, number]).integers(0, 2**31, 2))
        self._progress.reset(self._task, description=f"epoch {epoch + 1}/{self._recipe.epochs}")
        self._started = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:  # noqa: ARG002
        """Move the bar; the last batch ends the training pass."""
        self._progress.advance(self._task)
        self._ended = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Keep the epoch's figures, show its line, save the checkpoint, and stop when patience is over."""
        figures, curves = logs or {}, self.curves
        curves.loss.append(figures["loss"])
        curves.accuracy.append(figures["accuracy"])
        curves.validation_loss.append(figures["val_loss"])
        curves.validation_accuracy.append(figures["val_accuracy"])
        curves.epoch_seconds.append(self._ended - self._started)
        self._run.console.print(
            f"  epoch {epoch + 1:>3}/{self._recipe.epochs}  loss {figures['loss']:.4f}  accuracy "
            f"{figures['accuracy']:.4f}  validation {figures['val_accuracy']:.4f}  {curves.epoch_seconds[-1]:.2f} s"
        )
        if self._recipe.patience and figures["val_loss"] <= min(curves.validation_loss):
            self.best = self.model.get_weights()
        self.model.stop_training = self.patience_is_over()
        if self._run.save_to is not None and self._run.resumed is None:
            checkpoints.save(
                self._run.save_to,
                self.model,
                phase=self._phase,
                recipe=recipe_mapping(self._run.recipe),
                data_digest=self._run.data_digest,
                base_digest=self._run.base_digest,
                curves=curves,
                best=self.best,
            )
