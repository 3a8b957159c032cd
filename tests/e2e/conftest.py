"""The built-in recipes, and heads on a pretrained backbone, trained once for all end-to-end tests."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headway_contract.model_repository import ModelRepository
from tests.e2e.running import headway

RECIPES = ("digits-5to9", "digits-0to4")
BACKBONE, ON_BASE, TWIN = "efficientnet-lite0", "tints", "tints-too"


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


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> ModelRepository:
    """A repository of a backbone and two heads to be run on its features, trained on pictures of two tints.

    The pictures are larger than what the heads see, so that the resize filter matters.
    """
    folder = tmp_path_factory.mktemp("parts")
    noise = np.random.default_rng(0)
    for name, tint in (("warm", (200, 120, 60)), ("cold", (60, 120, 200))):
        (folder / "pictures" / name).mkdir(parents=True)
        for number in range(10):
            pixels = (noise.normal(0, 30, (96, 96, 3)) + tint).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "pictures" / name / f"{number}.png")
    settings = (
        "export.form=on_base", "fitting.epochs=2", "image.height=64", "image.width=64", "image.channels=3",
    )  # fmt: skip
    for name in (ON_BASE, TWIN):
        run = headway(
            "train", "--images", folder / "pictures", "--name", name, "--repository", folder / "models",
            *(part for each in settings for part in ("--set", each)),
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
    return ModelRepository(folder / "models")
