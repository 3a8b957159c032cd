"""``headway train`` is told what to train in one way; mixtures are refused before anything is read."""

import subprocess
import sys
from pathlib import Path

import pytest

from headway_training import cli
from headway_training.cli import train_main
from headway_training.errors import TrainingError
from headway_training.recipe import Recipe
from headway_training.recipe_files import load_recipe
from tests.support.picture_folders import write_classes

RECIPES_OR_PICTURES = "name recipes, or give your own pictures with --images DIR --name NAME"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], RECIPES_OR_PICTURES),
        (["digits-5to9", "--images", "pictures", "--name", "mine"], RECIPES_OR_PICTURES),
        (["--name", "mine"], RECIPES_OR_PICTURES),
        (["--images", "pictures"], "--images DIR and --name NAME belong together"),
        (["digits-5to9", "--name", "mine"], "--images DIR and --name NAME belong together"),
        (["digits-5to9", "digits-0to4", "--resume", "c.keras"], "--checkpoint and --resume are for one recipe"),
        (["digits-5to9", "digits-0to4", "--checkpoint", "c.h5"], "--checkpoint and --resume are for one recipe"),
        (["digits-5to9", "--on-bad-image", "ignore"], "invalid choice: 'ignore'"),
    ],
)
def test_a_mixture_is_a_usage_error(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        train_main(arguments)
    assert refused.value.code == 2
    assert message in capsys.readouterr().err


def test_a_name_that_cannot_be_a_model_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert train_main(["--images", "pictures", "--name", "my pictures"]) == 2
    assert "--images pictures is refused:\n  name: 'my pictures' cannot be a model's name" in capsys.readouterr().err


BEFORE_TENSORFLOW = """
import sys
from headway_training.cli import train_main

code = train_main(sys.argv[1:])
print(sorted({"tensorflow", "keras"} & set(sys.modules)))
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("folder", "says"),
    [
        ("absent", "there is no folder"),
        ("archive.zip", "is no folder; unpack it if it is an archive"),
        ("empty", "has no class folders"),
        ("one", "has one class, cat; a classifier needs two or more"),
    ],
)
def test_a_wrong_folder_is_told_before_tensorflow_is_loaded_and_anything_published(
    tmp_path: Path, folder: str, says: str
) -> None:
    (tmp_path / "archive.zip").write_bytes(b"PK")
    (tmp_path / "empty").mkdir()
    write_classes(tmp_path / "one", {"cat": 3})
    images = "--images", folder, "--name", "mine", "--repository", "models"
    run = subprocess.run(
        [sys.executable, "-c", BEFORE_TENSORFLOW, *images], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout) == (2, "[]\n")
    assert says in run.stderr
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(("flags", "stored"), [([], True), (["--no-test-pictures"], False)])
def test_test_pictures_are_stored_unless_the_command_says_otherwise(
    flags: list[str], stored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Recipe] = []

    def stop(name: str, overrides: list[str]) -> Recipe:
        read.append(load_recipe(name, overrides))
        raise TrainingError("far enough")

    monkeypatch.setattr(cli, "load_recipe", stop)
    assert train_main(["digits-0to4", "--set", "seed=7", *flags]) == 2
    assert (read[0].export.test_pictures, read[0].seed) == (stored, 7)
