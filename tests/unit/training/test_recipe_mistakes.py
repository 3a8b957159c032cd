"""The common mistakes of the tutorials are refused before training, each with its reason and the way out."""

import subprocess
import sys
from pathlib import Path

import pytest

from headway_training.errors import InvalidRecipe
from headway_training.recipe_files import load_recipe

NETWORK = """
name = "mistaken"
description = "A network with a mistake in it"
kind = "base"
layers = [{ type = "conv", filters = 8 }, { type = "max_pool" }, { type = "flatten" }]

[image]
height = 28
width = 28
channels = 1

[data]
dataset = "digits"
classes = ["0", "1", "2"]

[fitting]
epochs = 1
"""

MAPS = '[{ type = "conv", filters = 8 }, { type = "max_pool" }]'
DENSE_ON_MAPS = '[{ type = "conv", filters = 8 }, { type = "dense", units = 5 }, { type = "flatten" }]'
TWO = 'data.classes=["0", "1"]'

MISTAKES = {
    "channels first": (
        ["data_format=channels_first"],
        "TensorFlow has no channels_first convolution on a CPU",
        "remove data_format",
    ),
    "no flatten": (
        [f"layers={MAPS}"],
        "the layers end in feature maps 13x13x8",
        'add a last layer { type = "flatten" }',
    ),
    "dense on maps": (
        [f"layers={DENSE_ON_MAPS}"],
        "layer 2 (dense): its input is 26x26x8: a dense layer would act on each pixel alone",
        'put { type = "flatten" } before it',
    ),
    "too few outputs": (["head.units=2"], "head.units: 2 outputs for 3 classes", "write 3, or remove units"),
    "too many outputs": (["head.units=10"], "head.units: 10 outputs for 3 classes", "write 3, or remove units"),
    "two sigmoid units": (
        ["head.output=sigmoid", "head.units=2", TWO],
        "head.units: 2 outputs for 2 classes",
        "write 1, or remove units",
    ),
    "tanh output": (["head.output=tanh"], "head.output: tanh gives no probabilities", 'use "softmax"'),
    "relu output": (["head.output=relu"], "head.output: relu gives no probabilities", 'use "softmax"'),
    "linear output": (["head.output=linear"], "head.output: linear gives no probabilities", 'use "softmax"'),
    "sigmoid for three": (
        ["head.output=sigmoid"],
        "one sigmoid unit tells two classes apart, not 3",
        'use output = "softmax"',
    ),
    "binary loss for many": (
        ["fitting.loss=binary_crossentropy"],
        "binary_crossentropy judges each of 3 classes alone, and its accuracy counts the many right zeros",
        "remove loss",
    ),
    "binary loss on softmax": (
        ["fitting.loss=binary_crossentropy", TWO],
        "binary_crossentropy judges each of 2 classes alone",
        'or for two classes use output = "sigmoid"',
    ),
    "categorical loss on sigmoid": (
        ["head.output=sigmoid", "fitting.loss=categorical_crossentropy", TWO],
        "one sigmoid unit is judged by binary_crossentropy",
        "remove loss",
    ),
    "one-unit softmax": (
        ["head.units=1", TWO],
        "a softmax over one unit is always 1, so nothing is learnt",
        'use output = "sigmoid", or remove units',
    ),
    "another dataset with other classes": (
        ['evaluation.also=["mnist"]'],
        "evaluation.also: mnist has 10 classes and this model 3",
        "remove it",
    ),
}


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "mistaken.toml"
    path.write_text(NETWORK, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_common_mistake_is_refused_with_its_reason_and_the_fix(recipe: str, mistake: str) -> None:
    overrides, reason, fix = MISTAKES[mistake]
    with pytest.raises(InvalidRecipe) as refused:
        load_recipe(recipe, overrides)
    assert reason in str(refused.value)
    assert fix in str(refused.value)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["data_format=channels_last"],
        ["head.units=3"],
        ["fitting.loss=categorical_crossentropy"],
        ["head.output=sigmoid", TWO],
        ["head.output=sigmoid", "head.units=1", "fitting.loss=binary_crossentropy", TWO],
        ["reproduces_mistake=one-unit-softmax", "head.units=1", TWO],
    ],
)
def test_what_the_fixes_say_is_accepted(recipe: str, overrides: list[str]) -> None:
    assert load_recipe(recipe, overrides).name == "mistaken"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["reproduces_mistake=one-unit-softmax", TWO], 'head.output = "softmax" with head.units = 1'),
        (["reproduces_mistake=one-unit-softmax", "head.units=1"], "a one-unit softmax is for two classes, not 3"),
        (["reproduces_mistake=tanh"], "reproduces_mistake: Input should be 'one-unit-softmax'"),
    ],
)
def test_only_the_known_mistake_may_be_reproduced_and_only_as_it_was(
    recipe: str, overrides: list[str], message: str
) -> None:
    with pytest.raises(InvalidRecipe) as refused:
        load_recipe(recipe, overrides)
    assert message in str(refused.value)


@pytest.mark.parametrize("mistake", ["channels first", "no flatten", "too few outputs", "tanh output",
                                     "binary loss for many", "one-unit softmax"])  # fmt: skip
def test_the_command_refuses_it_before_tensorflow_is_loaded(recipe: str, tmp_path: Path, mistake: str) -> None:
    overrides, reason, _ = MISTAKES[mistake]
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "tensorflow.py").write_text("raise ImportError('TensorFlow was loaded')")
    command = [sys.executable, "-m", "headway_client.cli", "train", recipe, "--repository", str(tmp_path / "models")]
    run = subprocess.run(
        [*command, *(part for override in overrides for part in ("--set", override))],
        env={"PYTHONPATH": str(tmp_path / "blocked")}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("headway train: recipe ")
    assert reason in run.stderr
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "models").exists()


ROWS = "data.rows={train = [10, 20], validation = [0, 10], test = [0, 5]}"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.validation_from=test"], 'rows and validation_from = "test" are for mnist and fashion-mnist'),
        ([ROWS], 'rows and validation_from = "test" are for mnist and fashion-mnist'),
        (["data.dataset=mnist", ROWS, "data.validation_from=test"], "rows names the validation pictures already"),
        (["data.dataset=mnist", ROWS.replace("[10, 20]", "[9, 20]")], "train and validation overlap"),
        (["data.dataset=mnist", ROWS.replace("[10, 20]", "[20, 10]")], "rows end before they begin"),
        (["data.dataset=mnist", "data.validation_from=test"], "set evaluation.calibrated = false"),
        (["head.start=base"], "head.start: a base has no other base to start from"),
    ],
)
def test_what_is_measured_on_what_cannot_be_contradictory(recipe: str, overrides: list[str], message: str) -> None:
    with pytest.raises(InvalidRecipe) as refused:
        load_recipe(recipe, overrides)
    assert message in str(refused.value)
