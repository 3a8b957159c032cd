"""A repository also holds backbones and heads on them; ``headway serve`` routes what answers pictures by itself."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from headway_client import Client
from headway_contract.model_repository import ModelRepository
from headway_serving.adapters.route_file import write_routes
from headway_serving.core.routing import ModelRoutes, RouteTable
from headway_serving.models_config import write_models_config
from tests.e2e.conftest import Trained
from tests.e2e.running import Served, eventually, headway, serving

STANDALONE = {"digits-0to4", "digits-5to9"}
BACKBONE, ON_BASE = "efficientnet-lite0", "tints"


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> ModelRepository:
    """A repository of a backbone and a head to be run on its features, trained on pictures of two tints."""
    folder = tmp_path_factory.mktemp("parts")
    noise = np.random.default_rng(0)
    for name, tint in (("warm", (200, 120, 60)), ("cold", (60, 120, 200))):
        (folder / "pictures" / name).mkdir(parents=True)
        for number in range(10):
            pixels = (noise.normal(0, 30, (64, 64, 3)) + tint).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "pictures" / name / f"{number}.png")
    settings = (
        "export.form=on_base", "fitting.epochs=2", "image.height=64", "image.width=64", "image.channels=3",
    )  # fmt: skip
    run = headway(
        "train", "--images", folder / "pictures", "--name", ON_BASE, "--repository", folder / "models",
        *(part for each in settings for part in ("--set", each)),
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return ModelRepository(folder / "models")


@pytest.fixture(scope="module")
def mixed(trained: Trained, parts: ModelRepository, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both of them beside two standalone models."""
    root = tmp_path_factory.mktemp("mixed") / "models"
    for repository in (trained.repository, parts):
        for model in repository.models():
            shutil.copytree(repository.root / model, root / model)
    return root


@pytest.fixture(scope="module")
def served(mixed: Path) -> Iterator[Served]:
    with serving(mixed, mixed.parent / "log") as running:
        yield running


def test_backbones_and_heads_on_a_base_are_neither_routed_nor_loaded(served: Served, mixed: Path) -> None:
    assert set(json.loads((mixed / "routes.json").read_text())["models"]) == STANDALONE
    assert (mixed / "models.config").read_text().count("base_path") == 2
    for name in (BACKBONE, ON_BASE):
        assert name not in (mixed / "models.config").read_text()
        assert name not in served.log.read_text()
    with Client(served.url) as client:
        assert {model.name for model in client.models()} == STANDALONE


def test_the_standalone_models_answer(served: Served, trained: Trained) -> None:
    picture = trained.samples["digits-0to4"][0].read_bytes()
    assert served.classify("digits-0to4", picture).status_code == 200
    unrouted = served.classify(ON_BASE, picture)
    assert (unrouted.status_code, unrouted.json()["code"]) == (404, "model_not_found")


def test_a_repository_of_parts_alone_is_refused_with_the_way_out(parts: ModelRepository) -> None:
    run = headway("serve", "--repository", parts.root)
    assert run.returncode == 2
    assert "holds only backbones or heads on a base, and nothing that answers pictures by itself" in run.stderr
    assert 'train a head with export.form = "standalone"' in run.stderr
    assert not (parts.root / "routes.json").exists()


def test_a_head_on_a_base_that_somebody_routes_is_an_incompatible_model(
    served: Served, mixed: Path, trained: Trained
) -> None:
    """It answers nothing and the gateway is not ready, both with the reason; the other models are served as before."""
    picture = trained.samples["digits-0to4"][0].read_bytes()
    table = RouteTable({name: ModelRoutes(1) for name in (*STANDALONE, ON_BASE)})
    write_models_config(mixed / "models.config", ModelRepository(mixed), table)
    write_routes(mixed / "routes.json", table)
    eventually(lambda: served.classify(ON_BASE, picture).json()["code"] == "incompatible_model", "both are followed")
    reason = "tints version 1 takes no pictures by itself: its form is on_base; route a standalone version"
    assert reason in served.classify(ON_BASE, picture).json()["detail"]
    ready = httpx.get(f"{served.url}/readyz")
    assert (ready.status_code, reason in ready.json()["detail"]) == (503, True)
    assert served.classify("digits-0to4", picture).status_code == 200
