"""`headway repository` and `headway models`: what is damaged, what may go, what differs, and who gets traffic."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from headway_contract.model_manifest import Accuracy, BaseReference, ModelManifest
from headway_contract.model_repository import MANIFEST_FILE, ModelRepository
from headway_serving.adapters.files.routes import write_routes
from headway_serving.commands import models as models_cli
from headway_serving.commands import repository as repository_cli
from headway_serving.core.rollout import changes
from headway_serving.core.rollout_state import RolloutPolicy, Shadow, Verification
from headway_serving.core.routing import Candidate, ModelRoutes, RouteTable
from headway_serving.operations.models_config import load_also
from tests.support.contract_examples import manifest
from tests.unit.serving.core.rollout.rollout_examples import ME

PROOF_OF_5 = Verification(5, "sha256:0", "2026-01-02T03:04:05Z", 8)

Out = pytest.CaptureFixture[str]


def publish(repository: ModelRepository, document: ModelManifest) -> int:
    with repository.staging(document.model) as staged:
        (staged / MANIFEST_FILE.parent).mkdir()
        (staged / MANIFEST_FILE).write_text(document.to_json(), encoding="utf-8")
        return repository.publish(document.model, staged)


@pytest.fixture
def repository(tmp_path: Path) -> ModelRepository:
    """Bases `strokes` 1 to 6 and heads `letters` 1 to 7; letters/5 stands on strokes/2, letters/2 on strokes/1."""
    made = ModelRepository(tmp_path / "models")
    for _ in range(6):
        publish(made, manifest(model="strokes", kind="base", base=None))
    for version in range(1, 8):
        base = {2: 1, 5: 2}.get(version, 6)
        publish(made, manifest(base=BaseReference("strokes", base, "sha256:22")))
    return made


def run(*arguments: str | Path, repository: ModelRepository) -> int:
    return repository_cli.main([*map(str, arguments), "--repository", str(repository.root)])


def versions(repository: ModelRepository) -> dict[str, tuple[int, ...]]:
    return {model: repository.versions(model) for model in repository.models()}


def test_prune_keeps_the_newest_and_everything_that_is_in_use(repository: ModelRepository, capsys: Out) -> None:
    write_routes(
        repository.root / "routes.json",
        RouteTable({"letters": ModelRoutes(5, Candidate(7, 0.1), labels={"old": 3})}),
    )
    load_also(repository.root / "models.config", repository, "letters", 4)
    assert run("pin", "letters/1", repository=repository) == 0
    before = versions(repository)

    assert run("prune", "--keep", "1", repository=repository) == 0
    shown = capsys.readouterr().out
    assert "Nothing was removed; to remove: --yes" in shown
    assert versions(repository) == before

    assert run("prune", "--keep", "1", "--yes", repository=repository) == 0
    shown = capsys.readouterr().out
    assert versions(repository) == {"letters": (1, 3, 4, 5, 7), "strokes": (2, 6)}
    for line in (
        "keep    letters/1  pinned", "keep    letters/3  routed", "keep    letters/4  loaded",
        "keep    strokes/2  base of letters/5", "removed letters/2", "removed strokes/1",
    ):  # fmt: skip
        assert line in shown
    assert not list((repository.root / ".staging").iterdir())


def test_prune_keeps_all_that_a_rollout_may_need_again_and_its_bases(repository: ModelRepository, capsys: Out) -> None:
    """The version before an unfinished rollout, the shadow, and the bases that routed heads stand on."""
    over = changes.promoted(changes.begun(ModelRoutes(2), PROOF_OF_5, RolloutPolicy(), "", 0.0, ME), "good", ME)
    table = RouteTable({"letters": replace(over, shadow=Shadow(4, 0.1))})
    write_routes(repository.root / "routes.json", table)
    assert run("prune", "--keep", "0", "--yes", repository=repository) == 0
    assert versions(repository) == {"letters": (2, 4, 5), "strokes": (1, 2, 6)}
    assert run("verify", repository=repository) == 0
    capsys.readouterr()


@pytest.mark.parametrize("flag", ["--routes", "--models-config"])
def test_a_file_that_is_named_and_not_there_prunes_nothing(repository: ModelRepository, flag: str, capsys: Out) -> None:
    before = versions(repository)
    assert run("prune", "--keep", "0", "--yes", flag, repository.root / "elsewhere", repository=repository) == 2
    assert "elsewhere is not there; name the file that" in capsys.readouterr().err
    assert versions(repository) == before


def test_a_routed_version_whose_directory_is_gone_is_an_alarm(repository: ModelRepository, capsys: Out) -> None:
    publish(repository, manifest(form="on_base", base=BaseReference("strokes", 6, repository.digest("strokes", 6))))
    routes = ModelRoutes(8, Candidate(7, 0.1), labels={"old": 3})
    write_routes(repository.root / "routes.json", RouteTable({"letters": routes, "faces": ModelRoutes(1)}))
    for name in ("letters/3", "letters/7", "strokes/6"):
        shutil.rmtree(repository.root / name)
    assert run("verify", repository=repository) == 1
    shown = capsys.readouterr().out
    for line in (
        "letters/3  GONE: it is labelled old in", "letters/7  GONE: it is the candidate in",
        "strokes/6  GONE: it is the base of letters/8 in", "faces/1  GONE: it is stable in",
    ):  # fmt: skip
        assert line in shown
    assert run("verify", "letters/2", repository=repository) == 0


@pytest.mark.parametrize(
    ("name", "content"),
    [("routes.json", "{"), ("models.config", "# mine"), ("pins.json", "[1]")],
)
def test_nothing_is_pruned_while_it_is_unknown_what_is_in_use(
    repository: ModelRepository, name: str, content: str, capsys: Out
) -> None:
    (repository.root / name).write_text(content)
    before = versions(repository)
    assert run("prune", "--keep", "0", "--yes", repository=repository) == 2
    assert name in capsys.readouterr().err
    assert versions(repository) == before


def test_a_pin_can_be_taken_back(repository: ModelRepository) -> None:
    assert run("pin", "strokes/1", repository=repository) == 0
    assert run("pin", "strokes/1", "--remove", repository=repository) == 0
    assert run("prune", "--keep", "1", "--yes", repository=repository) == 0
    assert versions(repository)["strokes"] == (6,)


def test_what_is_not_there_cannot_be_pinned(repository: ModelRepository, capsys: Out) -> None:
    assert run("pin", "letters/9", repository=repository) == 2
    assert "no version 9" in capsys.readouterr().err


def test_damage_and_halves_are_found(repository: ModelRepository, capsys: Out) -> None:
    assert run("verify", repository=repository) == 0
    assert capsys.readouterr().out.count("sha256:") == 13
    with (repository.path("letters", 3) / MANIFEST_FILE).open("a") as file:
        file.write(" ")
    (repository.root / ".staging" / "letters-half").mkdir(parents=True)
    assert run("verify", repository=repository) == 1
    shown = capsys.readouterr().out
    assert "letters/3  DAMAGED: " in shown
    assert "assets.extra/manifest.json" in shown
    assert "letters-half  left by a publishing that was interrupted" in shown
    assert run("verify", "letters/2", repository=repository) == 0


def test_the_difference_of_two_versions_is_told_by_name(repository: ModelRepository, capsys: Out) -> None:
    changed = manifest(labels=("a", "b", "c"), test_accuracy=Accuracy(0.95, 0.9, 0.98, 100), golden=())
    publish(repository, changed)
    assert run("diff", "letters/7", "letters/8", "--json", repository=repository) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["labels"] == [["a", "b"], ["a", "b", "c"]]
    assert told["test_accuracy.value"] == [0.9, 0.95]
    assert told["base.version"] == [6, 3]
    assert "golden" not in told
    assert run("diff", "letters/1", "letters/3", repository=repository) == 0
    assert capsys.readouterr().out == "The manifests say the same.\n"


@pytest.mark.parametrize("text", ["letters", "letters/", "/3", "letters/x"])
def test_a_version_is_named_as_model_and_number(repository: ModelRepository, text: str, capsys: Out) -> None:
    with pytest.raises(SystemExit):
        run("verify", text, repository=repository)
    assert "is not MODEL/VERSION" in capsys.readouterr().err


def test_models_are_listed_with_traffic_labels_and_figures(repository: ModelRepository, capsys: Out) -> None:
    write_routes(
        repository.root / "routes.json",
        RouteTable({"letters": ModelRoutes(5, Candidate(7, 0.1), labels={"old": 3}), "faces": ModelRoutes(2)}),
    )
    arguments = ["--repository", str(repository.root), "--url", "http://127.0.0.1:1"]
    assert models_cli.main([*arguments, "--json"]) == 0
    told = {(row["model"], row["version"]): row for row in json.loads(capsys.readouterr().out)["versions"]}
    assert told["letters", 5]["traffic"] == "stable 90 %"
    assert told["letters", 7]["traffic"] == "candidate 10 %"
    assert (told["letters", 3]["traffic"], told["letters", 3]["labels"]) == (None, ["old"])
    assert told["letters", 7]["digest"] == repository.digest("letters", 7)
    assert told["letters", 7]["accuracy"] == 0.9
    assert "faces" in told["faces", 2]["problem"]
    assert models_cli.main(arguments) == 0
    shown = capsys.readouterr()
    assert "90.00%" in shown.out
    assert "states are unknown: http://127.0.0.1:1" in shown.err


def test_states_come_from_the_gateway(
    repository: ModelRepository, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {"models": [{"name": "letters", "states": {"7": "AVAILABLE", "6": "LOADING"}}]}
    monkeypatch.setattr(
        httpx, "get", lambda url, **_: httpx.Response(200, json=answer, request=httpx.Request("GET", url))
    )
    assert models_cli.main(["--repository", str(repository.root), "--json"]) == 0
    told = {(row["model"], row["version"]): row["state"] for row in json.loads(capsys.readouterr().out)["versions"]}
    assert (told["letters", 7], told["letters", 6], told["letters", 5]) == ("AVAILABLE", "LOADING", None)
