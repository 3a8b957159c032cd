"""The training runs that the tests of this folder share."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from headway_contract.model_repository import ModelRepository
from tests.integration.training.runs_here import Workshop, recipe_of
from tests.integration.training.tiny_recipes import headway_train, write_coloured_base, write_colours, write_recipes


@dataclass(frozen=True)
class TrainedRun:
    """What ``headway train`` left: its repository, its feature cache, the recipes' paths, and what it printed."""

    repository: ModelRepository
    cache: Path
    base_recipe: str
    head_recipe: str
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """Train the tiny base and the tiny head in one real run. Tests read its repository and do not change it."""
    folder = tmp_path_factory.mktemp("trained")
    base, head = write_recipes(folder)
    run = headway_train(folder / "cache", base, head, "--repository", str(folder / "models"))
    assert run.returncode == 0, run.stderr
    return TrainedRun(ModelRepository(folder / "models"), folder / "cache", base, head, run.stdout, run.stderr)


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A folder of coloured pictures and ``coloured-base`` trained on it. Tests may publish more models beside it."""
    folder = tmp_path_factory.mktemp("workshop")
    pictures = write_colours(folder / "pictures")
    made = Workshop(ModelRepository(folder / "models"), folder / "cache", pictures)
    made.train(recipe_of(write_coloured_base(folder, pictures)))
    return made
