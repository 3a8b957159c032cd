"""``headway train`` refuses, repeats itself and can be killed, without ever publishing a part."""

import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from headway_contract.model_repository import ModelRepository
from tests.integration.training.conftest import TrainedRun
from tests.integration.training.tiny_recipes import environment, headway_train, train_command, write_recipes


def published(root: Path) -> list[str]:
    """Every version directory below ``root``, whole or not."""
    return sorted(str(path.relative_to(root)) for path in root.glob("*/*") if path.name.isdecimal())


@pytest.mark.parametrize(
    ("recipes", "options", "message"),
    [
        (["tiny-base.toml"], ["--set", "fitting.epoch=1"], "fitting.epoch: unknown key; did you mean epochs?"),
        (["digits-5to8"], [], "no built-in recipe is named 'digits-5to8'; did you mean digits-5to9?"),
        (["tiny-base.toml", "absent.toml"], [], "recipe absent.toml cannot be read"),
        (["tiny-head.toml"], [], "headway train tiny-base tiny-head"),
        (["tiny-head.toml"], ["--set", "base=tiny-base/3"], "which is not in"),
    ],
    ids=["unknown key", "unknown recipe", "second recipe absent", "no base", "no base version"],
)
def test_what_cannot_be_trained_is_refused_and_nothing_is_published(
    tmp_path: Path, recipes: list[str], options: list[str], message: str
) -> None:
    write_recipes(tmp_path)
    run = subprocess.run(
        train_command(*recipes, "--repository", "models", *options),
        cwd=tmp_path, env=environment(tmp_path / "cache"), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 2
    assert run.stderr.startswith("headway train: ")
    assert message in run.stderr
    assert "Traceback" not in run.stderr
    assert published(tmp_path / "models") == []


def test_a_head_may_name_the_version_that_its_base_will_get_in_the_same_run(tmp_path: Path) -> None:
    base, head = write_recipes(tmp_path)
    text = Path(head).read_text().replace('base = "tiny-base"', 'base = "tiny-base/1"')
    Path(head).write_text(text)
    run = headway_train(tmp_path / "cache", base, head, "--repository", str(tmp_path / "models"))
    assert run.returncode == 0, run.stderr
    stands_on = ModelRepository(tmp_path / "models").manifest("tiny-head", 1).base
    assert (stands_on.model, stands_on.version) == ("tiny-base", 1)
    Path(head).write_text(text.replace("tiny-base/1", "tiny-base/3"))
    run = headway_train(tmp_path / "cache", base, head, "--repository", str(tmp_path / "models"))
    assert run.returncode == 2
    assert "'tiny-base' has no version 3" in run.stderr
    assert published(tmp_path / "models") == ["tiny-base/1", "tiny-head/1"]


def test_a_repository_that_is_a_file_is_refused_before_training(tmp_path: Path) -> None:
    write_recipes(tmp_path)
    (tmp_path / "models").write_text("mine")
    run = subprocess.run(
        train_command("tiny-base.toml", "--repository", "models"),
        cwd=tmp_path, env=environment(tmp_path / "cache"), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stdout) == (2, "")
    assert "models is a file" in run.stderr
    assert (tmp_path / "models").read_text() == "mine"


@pytest.fixture(scope="module")
def repeated(trained: TrainedRun, tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelRepository, str]:
    """The shared run once more in another process and repository, then a head that diverges; and its stderr."""
    folder = tmp_path_factory.mktemp("repeated")
    diverging = folder / "diverging.toml"
    text = Path(trained.head_recipe).read_text().replace("tiny-head", "diverging")
    diverging.write_text(text + 'optimizer = "sgd"\nlearning_rate = 1e30\n')
    recipes = trained.base_recipe, trained.head_recipe, str(diverging)
    run = headway_train(folder / "cache", *recipes, "--repository", str(folder / "models"))
    assert run.returncode == 2, run.stderr
    return ModelRepository(folder / "models"), run.stderr


@pytest.mark.parametrize("model", ["tiny-base", "tiny-head"])
def test_the_same_recipe_trains_the_same_weights_in_another_process(
    trained: TrainedRun, repeated: tuple[ModelRepository, str], model: str
) -> None:
    first, second = trained.repository.manifest(model, 1), repeated[0].manifest(model, 1)
    assert first.weights_digest == second.weights_digest
    assert first.test_accuracy == second.test_accuracy
    assert first.golden == second.golden
    assert first.provenance.data_digest == second.provenance.data_digest


def test_weights_that_diverge_are_not_published_and_earlier_recipes_stay(
    repeated: tuple[ModelRepository, str],
) -> None:
    repository, stderr = repeated
    assert stderr.startswith("headway train: recipe diverging: the weights diverged")
    assert "lower fitting.learning_rate (1e+30); nothing was published" in stderr
    assert "Traceback" not in stderr
    assert published(repository.root) == ["tiny-base/1", "tiny-head/1"]


def test_a_run_that_is_killed_while_exporting_leaves_no_version(trained: TrainedRun, tmp_path: Path) -> None:
    root = tmp_path / "models"
    shutil.copytree(trained.repository.root / "tiny-base", root / "tiny-base")
    command = train_command(trained.head_recipe, "--repository", str(root))
    with subprocess.Popen(
        command, env=environment(trained.cache), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as training:
        # Once the first file is staged there are seconds of writing and comparing ahead.
        while not list((root / ".staging").glob("tiny-head-*/*")):
            assert training.poll() is None, training.communicate()
            time.sleep(0.005)
        training.kill()
        assert training.wait(30) == -signal.SIGKILL
    assert published(root) == ["tiny-base/1"]
    repository = ModelRepository(root)
    assert repository.models() == ("tiny-base",)
    repository.verify("tiny-base", 1)
