"""Training runs in the test's own process, on folders of small pictures."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from headway_contract.model_repository import ModelRepository
from headway_training.pipeline import Options, train
from headway_training.publication import Published
from headway_training.recipe import Recipe
from headway_training.recipe_files import load_recipe, make_recipe
from headway_training.run_record import RUN_FILE, RunRecord


@dataclass(frozen=True)
class Workshop:
    """A repository, a cache and a folder of pictures, for many runs."""

    repository: ModelRepository
    cache: Path
    pictures: Path

    def train(
        self, recipe: Recipe, shown: io.StringIO | None = None, repository: ModelRepository | None = None, **more: Any
    ) -> Published:
        """Run a recipe; what it prints goes to ``shown``. ``more``: further options of the run."""
        console = Console(file=shown or io.StringIO(), width=200)
        return train(recipe, repository or self.repository, console, Options(self.cache, **more))

    def record(self, model: str, version: int = 1) -> RunRecord:
        """What the run of a version left beside it."""
        return RunRecord.from_json((self.repository.path(model, version) / RUN_FILE).read_text(encoding="utf-8"))

    def head(self, name: str, *overrides: str) -> Recipe:
        """The recipe of a head on ``coloured-base``, on the same pictures."""
        mapping = {
            "name": name,
            "description": "Head on the coloured base",
            "kind": "head",
            "base": "coloured-base",
            "data": {"dataset": "folder", "folder": str(self.pictures), "test": 0.3},
            "head": {"hidden": [8], "dropout": 0.1},
            "fitting": {"epochs": 4, "batch_size": 8, "learning_rate": 0.02},
        }
        return make_recipe(mapping, overrides, name)


def recipe_of(path: str, *overrides: str) -> Recipe:
    """A recipe file with overrides."""
    return load_recipe(path, overrides)
