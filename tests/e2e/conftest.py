"""The built-in recipes, trained once for all end-to-end tests."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from headway_contract.model_repository import ModelRepository
from tests.e2e.running import headway

RECIPES = ("digits-5to9", "digits-0to4")


@dataclass(frozen=True)
class Trained:
    """A repository with a base and a head, held-out pictures of each, and what the training printed."""

    repository: ModelRepository
    samples: dict[str, list[Path]]
    run: subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("digits")
    run = headway("train", *RECIPES, "--repository", folder / "models", timeout=600)
    assert run.returncode == 0, run.stderr
    samples = {}
    for recipe in RECIPES:
        out = folder / recipe
        written = headway("samples", recipe, "--out", out, "--count", "5", "--repository", folder / "models")
        assert written.returncode == 0, written.stderr
        samples[recipe] = sorted(out.glob("*.png"))
    return Trained(ModelRepository(folder / "models"), samples, run)
