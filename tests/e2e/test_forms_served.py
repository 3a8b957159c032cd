"""A repository also holds backbones and heads on them: heads are routed, and their backbone is loaded with them."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from headway_client import Client
from headway_contract.durable_files import write_atomically
from headway_contract.model_repository import ModelRepository
from tests.e2e.conftest import BACKBONE, ON_BASE, TWIN, Trained
from tests.e2e.running import Served, headway, serving
from tests.support.waiting import eventually

STANDALONE = {"digits-0to4", "digits-5to9"}


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


def test_heads_are_routed_and_their_backbone_is_loaded_with_them(served: Served, mixed: Path) -> None:
    assert set(json.loads((mixed / "routes.json").read_text())["models"]) == {*STANDALONE, ON_BASE, TWIN}
    assert f'name: "{BACKBONE}"' in (mixed / "models.config").read_text()
    with Client(served.url) as client:
        assert client.model(ON_BASE).classes == ("cold", "warm")


def test_a_head_on_a_base_gives_the_scores_that_it_was_published_with(served: Served, parts: ModelRepository) -> None:
    golden = parts.manifest(ON_BASE, 1).golden
    assert golden
    for sample in golden:
        predictions = served.classify(ON_BASE, sample.image).json()["results"][0]["predictions"]
        scores = {each["label"]: each["score"] for each in predictions}
        assert [scores["cold"], scores["warm"]] == pytest.approx(sample.scores, abs=1e-4)


def features_calls(url: str) -> float:
    """How often the backbone was run."""
    name = f'headway_batch_rows_count{{model="{BACKBONE}",signature="features",version="1"}}'
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name)), 0.0)


def test_heads_on_one_base_share_a_run_of_it(served: Served, parts: ModelRepository, trained: Trained) -> None:
    picture = parts.manifest(ON_BASE, 1).golden[0].image
    before = features_calls(served.url)
    models = (ON_BASE, TWIN, "digits-0to4", "nobody")
    response = httpx.post(
        f"{served.url}/v1/classify", params=[("model", name) for name in models], content=picture,
        headers={"Content-Type": "image/png"},
    )  # fmt: skip
    assert response.status_code == 200
    answers = response.json()["answers"]
    assert [answer["model"] for answer in answers] == list(models)
    alone = [served.classify(name, picture).json()["results"] for name in models[:2]]
    for answer, expected in zip(answers, alone, strict=False):
        assert answer["results"] == [
            {"index": 0, "predictions": [
                {"label": each["label"], "score": pytest.approx(each["score"], abs=1e-5)}
                for each in expected[0]["predictions"]
            ]}
        ]  # fmt: skip
    assert answers[2]["results"][0]["predictions"], "another geometry and no base"
    assert answers[3]["problem"]["code"] == "model_not_found"
    assert features_calls(served.url) == before + 1 + len(alone)


def test_the_standalone_models_answer(served: Served, trained: Trained) -> None:
    picture = trained.samples["digits-0to4"][0].read_bytes()
    assert served.classify("digits-0to4", picture).status_code == 200
    unrouted = served.classify(BACKBONE, picture)
    assert (unrouted.status_code, unrouted.json()["code"]) == (404, "model_not_found")


def test_a_repository_of_backbones_alone_is_refused_with_the_way_out(parts: ModelRepository, tmp_path: Path) -> None:
    shutil.copytree(parts.root / BACKBONE, tmp_path / "models" / BACKBONE)
    run = headway("serve", "--repository", tmp_path / "models")
    assert run.returncode == 2
    assert "holds only backbones, which have no classes; train a head: headway train --images" in run.stderr
    assert not (tmp_path / "models" / "routes.json").exists()


def test_without_its_base_a_head_is_unavailable_and_the_others_answer(
    served: Served, mixed: Path, trained: Trained
) -> None:
    picture = trained.samples["digits-0to4"][0].read_bytes()
    text = (mixed / "models.config").read_text()
    entry = text[text.index('  config {\n    name: "' + BACKBONE) :].partition('  config {\n    name: "tints"')[0]
    write_atomically(mixed / "models.config", text.replace(entry, "").encode())
    eventually(lambda: served.classify(ON_BASE, picture).status_code == 503, "the base is unloaded")
    problem = served.classify(ON_BASE, picture).json()
    assert problem["code"] == "model_unavailable"
    assert f"version 1 of model '{BACKBONE}' gets traffic but is not loaded" in problem["detail"]
    assert served.classify("digits-0to4", picture).status_code == 200

    def why_not_ready() -> str:
        ready = httpx.get(f"{served.url}/readyz?verbose")
        assert ready.status_code == 200, "the others answer"
        return str(ready.json()["models"][ON_BASE])

    # Probes are answered from what was last heard, two seconds ago at most.
    eventually(lambda: f"its base {BACKBONE} version 1 is" in why_not_ready(), "probes say so")
    assert httpx.get(f"{served.url}/v2/models/{ON_BASE}/ready").status_code != 200
    write_atomically(mixed / "models.config", text.encode())
    eventually(lambda: served.classify(ON_BASE, picture).status_code == 200, "it is loaded again")
