"""``headway train --checkpoint`` killed at any moment and continued with ``--resume`` ends as if it had not been."""

import re
import signal
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest

from headway_contract.model_manifest import ModelManifest
from headway_contract.model_repository import ModelRepository
from headway_training.cli import train_main
from headway_training.run_record import RUN_FILE, RunRecord
from tests.integration.training.runs_here import Workshop
from tests.integration.training.tiny_recipes import (
    environment,
    headway_train,
    train_command,
    write_coloured_base,
)

EPOCHS = 12
# Augmentation and dropout: their random numbers must go on too.
OPTIONS = ("--set", "augmentation.translation=0.1", "--set", "augmentation.flip=true", "--set", "head.dropout=0.3")


def of_version(root: Path) -> tuple[RunRecord, ModelManifest]:
    repository = ModelRepository(root)
    text = (repository.path("coloured-base", 1) / RUN_FILE).read_text(encoding="utf-8")
    return RunRecord.from_json(text), repository.manifest("coloured-base", 1)


@pytest.fixture(scope="module")
def recipe(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_coloured_base(tmp_path_factory.mktemp("resumed"), workshop.pictures)


@pytest.fixture(scope="module")
def uninterrupted(recipe: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository of a run in a process of its own that nothing happened to."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    run = headway_train(folder / "cache", recipe, "--repository", str(folder / "models"), *OPTIONS)
    assert run.returncode == 0, run.stderr
    return folder / "models"


def kill_after_second_epoch(recipe: str, folder: Path, checkpoint: Path) -> None:
    command = train_command(recipe, "--repository", str(folder / "models"), "--checkpoint", str(checkpoint), *OPTIONS)
    with subprocess.Popen(
        command, env=environment(folder / "cache"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as training:
        assert training.stdout is not None
        for line in training.stdout:
            if f"epoch   2/{EPOCHS}" in line:
                break
        training.kill()
        assert training.wait(60) == -signal.SIGKILL
    assert not (folder / "models" / "coloured-base").exists()


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_killed_run_continues_to_the_same_model(
    recipe: str, uninterrupted: Path, tmp_path: Path, suffix: str
) -> None:
    checkpoint = tmp_path / f"c{suffix}"
    kill_after_second_epoch(recipe, tmp_path, checkpoint)
    opened = keras.models.load_model(checkpoint)
    assert opened(np.zeros((2, 16, 16, 3), np.uint8), training=False).shape == (2, 3)
    arguments = ("--repository", str(tmp_path / "models"), "--resume", str(checkpoint))
    resumed = headway_train(tmp_path / "cache", recipe, *arguments, *OPTIONS)
    assert resumed.returncode == 0, resumed.stderr
    done = int(re.search(rf"going on after epoch (\d+) of {EPOCHS}", resumed.stdout).group(1))
    assert 1 <= done < EPOCHS
    assert len(re.findall(r"^ +epoch +\d+/", resumed.stdout, re.MULTILINE)) == EPOCHS - done
    (record, manifest), (expected, of_expected) = of_version(tmp_path / "models"), of_version(uninterrupted)
    assert record.phases[0].loss == expected.phases[0].loss
    assert record.phases[0].validation_loss == expected.phases[0].validation_loss
    assert record.phases[0].validation_accuracy == expected.phases[0].validation_accuracy
    assert manifest.weights_digest == of_expected.weights_digest
    assert record.evaluation == expected.evaluation


@pytest.fixture
def checkpoint(recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint of a finished run of two epochs."""
    monkeypatch.setenv("HEADWAY_CACHE_DIR", str(tmp_path / "cache"))
    path = tmp_path / "c.keras"
    options = ["--set", "fitting.epochs=2", "--checkpoint", str(path), "--repository", str(tmp_path / "first")]
    assert train_main([recipe, *options]) == 0
    return path


def test_what_cannot_be_continued_is_refused_with_a_line(
    recipe: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*options: str) -> str:
        capsys.readouterr()
        repository = ["--repository", str(tmp_path / "second")]
        assert train_main([recipe, *repository, "--set", "fitting.epochs=2", *options]) == 2
        shown = capsys.readouterr()
        assert "epoch" not in shown.out
        assert ModelRepository(tmp_path / "second").models() == ()
        (line,) = shown.err.splitlines()
        assert line.startswith("headway train: ")
        return line

    assert "name must end in .keras or .h5" in refused("--checkpoint", str(tmp_path / "c.ckpt"))
    assert "name must end in .keras or .h5" in refused("--resume", str(tmp_path / "c.ckpt"))
    assert "absent.h5 is not there" in refused("--resume", str(tmp_path / "absent.h5"))
    rate = "fitting.learning_rate=0.5"
    assert "written by another recipe: fitting differ" in refused("--resume", str(checkpoint), "--set", rate)
    fewer = 'data.classes=["red", "blue"]'
    assert "written by another recipe: data differ" in refused("--resume", str(checkpoint), "--set", fewer)
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    assert "cannot be continued from" in refused("--resume", str(checkpoint))
