"""A fit is fixed by its seed, stops when patience is over, and goes on from a checkpoint as if it had never stopped."""

import functools
import io
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from rich.console import Console

from headway_contract.preprocessing import ImageSpec
from headway_training import checkpoints, fitting
from headway_training.errors import InvalidCheckpoint
from headway_training.head import augmented, build_head, compose
from headway_training.networks import build_network
from headway_training.recipe import AugmentationRecipe, HeadRecipe, Recipe
from headway_training.run_record import FittingPhase

RECIPE = Recipe.model_validate(
    {
        "name": "small", "description": "A small base", "kind": "base",
        "layers": [
            {"type": "conv", "filters": 3, "strides": 2}, {"type": "batch_norm"},
            {"type": "dropout", "rate": 0.2}, {"type": "flatten"},
        ],
        "image": {"height": 8, "width": 8, "channels": 1},
        "data": {"dataset": "digits"},
        "augmentation": {"shift": 1},
        "fitting": {"epochs": 5, "batch_size": 16, "learning_rate": 0.01},
    }
)  # fmt: skip
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adam": {"optimizer": "adam"},
    "adam, constant, smoothed": {"schedule": "constant", "label_smoothing": 0.1},
    "sgd": {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.01},
    "adadelta": {"optimizer": "adadelta", "learning_rate": 1.0},
    "one-cycle": {"schedule": "one-cycle"},
}


class Interrupted(io.StringIO):
    """A terminal at which somebody presses Ctrl-C when a line shows; what was shown stays readable."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self._at = at

    def write(self, text: str) -> int:
        if self._at in text:
            raise KeyboardInterrupt
        return super().write(text)


def samples(count: int, seed: int) -> fitting.Samples:
    """Pictures of noise, brighter in class 1; a third has a wrong label, so that learning by heart costs."""
    noise = np.random.default_rng(seed)
    truth = noise.integers(0, 2, count)
    pictures = noise.normal(110 + 20 * truth[:, None, None, None], 60, (count, 8, 8, 1)).clip(0, 255).astype(np.uint8)
    labels = np.where(noise.random(count) < 0.33, 1 - truth, truth).astype(np.int32)
    return fitting.Samples(pictures, labels)


@pytest.fixture(autouse=True)
def _as_training_runs() -> None:
    tf.config.experimental.enable_op_determinism()


TRAIN, VALIDATION = samples(100, 1), samples(60, 2)


def model(recipe: Recipe = RECIPE) -> Any:
    keras.utils.set_random_seed(recipe.seed)
    base = build_network(recipe.network_layers, ImageSpec(8, 8, 1))
    composed = compose(base, build_head(base.output_shape[-1], 2, HeadRecipe(hidden=())))
    return augmented(composed, AugmentationRecipe(flip=True))


def console(file: io.StringIO | None = None) -> Console:
    return Console(file=file or io.StringIO(), width=200)


def with_fitting(**changes: Any) -> Recipe:
    return RECIPE.model_copy(update={"fitting": RECIPE.fitting.model_copy(update=changes)})


def fit(recipe: Recipe = RECIPE, **run: Any) -> tuple[FittingPhase, list[NDArray[Any]]]:
    """One fit from the start or a checkpoint: its figures and the weights it ends with."""
    fitted = model(recipe)
    shared = fitting.Run(recipe, "sha256:1", run.pop("console", console()), **run)
    phase = fitting.fit(fitted, TRAIN, VALIDATION, recipe.fitting, shared, phase="base")
    return phase, fitted.get_weights()


@functools.cache
def whole_fit(optimizer: str = "adam") -> tuple[FittingPhase, list[NDArray[Any]]]:
    """The fit without a break and without a checkpoint."""
    return fit(with_fitting(**OPTIMIZERS[optimizer]))


@functools.cache
def checkpoint_of_two_epochs(suffix: str) -> bytes:
    """A checkpoint file of the default recipe."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"c{suffix}"
        interrupt(RECIPE, path, 3)
        return path.read_bytes()


@pytest.fixture(params=checkpoints.SUFFIXES)
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A checkpoint file of the default recipe after two epochs, in either format."""
    path = tmp_path / f"c{request.param}"
    path.write_bytes(checkpoint_of_two_epochs(request.param))
    return path


@pytest.fixture
def keras_checkpoint(tmp_path: Path) -> Path:
    """The same as a .keras file, where the format makes no difference."""
    path = tmp_path / "c.keras"
    path.write_bytes(checkpoint_of_two_epochs(".keras"))
    return path


def curves(phase: FittingPhase) -> tuple[tuple[float, ...], ...]:
    return phase.loss, phase.accuracy, phase.validation_loss, phase.validation_accuracy


def interrupt(recipe: Recipe, path: Path, epoch: int) -> None:
    """Fit with a checkpoint until Ctrl-C while the line of ``epoch`` is shown: before it is saved."""
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, save_to=path, console=console(Interrupted(f"epoch {epoch:>3}/")))


def assert_same(found: Any, expected: Any) -> None:
    assert curves(found[0]) == curves(expected[0])
    for weight, other in zip(found[1], expected[1], strict=True):
        np.testing.assert_array_equal(weight, other)


def test_the_same_seed_fits_the_same_weights_and_another_seed_others() -> None:
    first = whole_fit()
    assert_same(fit(), first)
    assert fit(RECIPE.model_copy(update={"seed": 2}))[0].loss != first[0].loss
    assert len(first[0].loss) == len(first[0].validation_accuracy) == len(first[0].epoch_seconds) == 5
    assert first[0].trainable_parameters == 3 * 9 + 3 + 2 * 3 + 27 * 2 + 2


@pytest.mark.parametrize(
    ("optimizer", "suffix"), [(name, checkpoints.SUFFIXES[i % 2]) for i, name in enumerate(OPTIMIZERS)]
)
def test_a_resumed_fit_is_the_uninterrupted_one(tmp_path: Path, optimizer: str, suffix: str) -> None:
    recipe, path = with_fitting(**OPTIMIZERS[optimizer]), tmp_path / f"c{suffix}"
    interrupt(recipe, path, 3)
    shown = io.StringIO()
    resumed = fit(recipe, resumed=checkpoints.load(path), console=console(shown))
    assert_same(resumed, whole_fit(optimizer))
    assert "going on after epoch 2 of 5" in shown.getvalue()
    assert "epoch   2/5" not in shown.getvalue()
    assert "epoch   3/5" in shown.getvalue()


def test_a_fit_can_be_interrupted_again_over_the_same_file(keras_checkpoint: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(
            save_to=keras_checkpoint,
            resumed=checkpoints.load(keras_checkpoint),
            console=console(Interrupted("epoch   5/")),
        )
    assert len(checkpoints.load(keras_checkpoint).curves.loss) == 4
    assert_same(fit(resumed=checkpoints.load(keras_checkpoint)), whole_fit())


def test_writing_checkpoints_changes_nothing_and_one_of_the_end_is_the_end(tmp_path: Path) -> None:
    path = tmp_path / "made" / "c.h5"
    assert_same(fit(save_to=path), whole_fit())
    assert_same(fit(resumed=checkpoints.load(path)), whole_fit())
    assert [file.name for file in path.parent.iterdir()] == ["c.h5"]


def test_keras_opens_a_checkpoint_as_the_model_it_was_written_from(checkpoint: Path) -> None:
    opened = keras.models.load_model(checkpoint)
    fitted = model()
    fitted.set_weights(checkpoints.load(checkpoint).weights)
    pictures = VALIDATION.inputs
    np.testing.assert_allclose(opened(pictures, training=False), fitted(pictures, training=False), atol=1e-6)
    assert type(opened.optimizer) is keras.optimizers.Adam


PATIENT = with_fitting(patience=2, epochs=30, learning_rate=0.05, schedule="constant")


def validation_loss(weights: list[NDArray[Any]]) -> float:
    fitted = model(PATIENT)
    fitted.set_weights(weights)
    scores = np.asarray(fitted(VALIDATION.inputs, training=False))
    return float(-np.log(scores[np.arange(len(scores)), VALIDATION.labels]).mean())


@functools.cache
def patient_fit() -> tuple[FittingPhase, list[NDArray[Any]]]:
    return fit(PATIENT)


def test_patience_ends_the_fit_and_the_best_epochs_weights_are_taken() -> None:
    phase, weights = patient_fit()
    best = int(np.argmin(phase.validation_loss))
    assert len(phase.loss) == best + 1 + 2 < 30
    assert validation_loss(weights) == pytest.approx(phase.validation_loss[best], abs=1e-5)
    assert phase.validation_loss[-1] > phase.validation_loss[best] + 1e-3


@pytest.mark.parametrize("behind_best", [1, 2])
def test_the_best_weights_and_patience_survive_an_interruption(tmp_path: Path, behind_best: int) -> None:
    """The best epoch lies before the break: its weights must come from the checkpoint."""
    whole = patient_fit()
    best, path = int(np.argmin(whole[0].validation_loss)) + 1, tmp_path / "c.keras"
    interrupt(PATIENT, path, best + behind_best)
    assert_same(fit(PATIENT, resumed=checkpoints.load(path)), whole)


def test_a_fit_whose_patience_was_over_goes_no_further(tmp_path: Path) -> None:
    path = tmp_path / "c.h5"
    fit(PATIENT, save_to=path)
    assert_same(fit(PATIENT, resumed=checkpoints.load(path)), patient_fit())


def test_a_checkpoint_of_another_phase_waits_and_is_not_written_over(keras_checkpoint: Path) -> None:
    waiting = replace(checkpoints.load(keras_checkpoint), phase="fine-tuning, last 1")
    content = keras_checkpoint.read_bytes()
    run = fitting.Run(RECIPE, "sha256:1", console(), keras_checkpoint, waiting)
    phase = fitting.fit(model(), TRAIN, VALIDATION, RECIPE.fitting, run, phase="base")
    assert curves(phase) == curves(whole_fit()[0])
    assert keras_checkpoint.read_bytes() == content
    assert run.resumed is waiting


@pytest.mark.parametrize(
    ("recipe", "digest", "message"),
    [
        (with_fitting(learning_rate=0.02), "sha256:1", "written by another recipe: fitting differ"),
        (RECIPE.model_copy(update={"seed": 3}), "sha256:1", "another recipe: seed differ; continue it with the recipe"),
        (RECIPE, "sha256:2", "the checkpoint was trained on other pictures"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(
    keras_checkpoint: Path, recipe: Recipe, digest: str, message: str
) -> None:
    with pytest.raises(InvalidCheckpoint, match=message):
        fitting.Run(recipe, digest, console(), resumed=checkpoints.load(keras_checkpoint))


def test_what_is_written_for_people_may_change_between_the_two(keras_checkpoint: Path) -> None:
    reworded = RECIPE.model_copy(update={"description": "Another line", "expected_accuracy": 0.5})
    run = fitting.Run(reworded, "sha256:1", console(), resumed=checkpoints.load(keras_checkpoint))
    assert run.resumed is not None


def test_weights_that_do_not_fit_the_network_are_refused(keras_checkpoint: Path) -> None:
    foreign = replace(checkpoints.load(keras_checkpoint), weights=[np.zeros(3, np.float32)])
    with pytest.raises(InvalidCheckpoint, match="the checkpoint's weights do not fit this network"):
        fit(resumed=foreign)


def damaged(sound: bytes, how: str) -> bytes:
    # Within the values of the last array: numpy's header takes 128 bytes.
    middle, within = len(sound) // 2, sound.rindex(b"\x93NUMPY") + 128
    return {
        "empty": b"",
        "text": b"no checkpoint",
        "half": sound[:middle],
        "one bit": sound[:within] + bytes([sound[within] ^ 8]) + sound[within + 1 :],
    }[how]


@pytest.mark.parametrize("how", ["empty", "text", "half", "one bit"])
def test_a_damaged_checkpoint_is_refused(checkpoint: Path, how: str) -> None:
    sound = checkpoint.read_bytes()
    checkpoint.write_bytes(damaged(sound, how))
    assert checkpoint.read_bytes() != sound
    with pytest.raises(InvalidCheckpoint, match=r"cannot be continued from: .*must be a whole file written by headway"):
        checkpoints.load(checkpoint)


@pytest.mark.parametrize("suffix", checkpoints.SUFFIXES)
def test_a_model_that_keras_alone_wrote_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"c{suffix}"
    model().save(path)
    with pytest.raises(InvalidCheckpoint, match="cannot be continued from"):
        checkpoints.load(path)


def test_a_missing_file_and_another_suffix_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidCheckpoint, match=r"c\.keras is not there; --checkpoint .*c\.keras writes one"):
        checkpoints.load(tmp_path / "c.keras")
    with pytest.raises(InvalidCheckpoint, match=r"c\.ckpt: the name must end in \.keras or \.h5"):
        checkpoints.load(tmp_path / "c.ckpt")


def test_a_break_while_a_checkpoint_is_written_leaves_the_old_one(
    keras_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = keras_checkpoint.read_bytes()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(save_to=keras_checkpoint, resumed=checkpoints.load(keras_checkpoint))
    assert keras_checkpoint.read_bytes() == content
    assert list(keras_checkpoint.parent.iterdir()) == [keras_checkpoint]
