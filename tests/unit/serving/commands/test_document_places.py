"""``--kubernetes``: every verb of ``headway rollout``, ``models`` and ``repository`` on ConfigMaps instead of files."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headway_contract.model_repository import ModelRepository
from headway_serving.adapters.files.routes import format_routes, parse_routes
from headway_serving.commands import models, repository, rollout
from headway_serving.core.rollout import changes
from headway_serving.core.rollout_state import RolloutPolicy
from headway_serving.core.routing import ModelRoutes, RouteTable
from tests.support.contract_examples import publish
from tests.support.kubernetes_api import KubernetesApi, kubernetes_api
from tests.unit.serving.commands.test_rollout import ALARM, DONE, MODEL, REFUSED, ROLLED_BACK, World, alike, failing
from tests.unit.serving.core.rollout.rollout_examples import ME, PROOF

ROUTES, CONFIG = ("headway", "headway-routes"), ("headway", "headway-models-config")
CONFIG_TEXT = (
    'model_config_list {\n  config {\n    name: "digits"\n    base_path: "/models/digits"\n'
    '    model_platform: "tensorflow"\n'
    "    model_version_policy { specific { versions: 1 versions: 2 } }\n  }\n}\n"
)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    """A rollout from version 1 to 2 that was interrupted in its first step."""
    begun = changes.begun(ModelRoutes(stable=1), PROOF, RolloutPolicy(patience=3), "salt", 0.0, ME)
    with kubernetes_api() as running:
        running.create(*ROUTES, {"routes.json": format_routes(RouteTable({MODEL: begun}))})
        running.create(*CONFIG, {"models.config": CONFIG_TEXT})
        monkeypatch.setenv("KUBECONFIG", str(running.kubeconfig(tmp_path)))
        yield running


def run(world: World, verb: str, *arguments: str) -> int:
    return rollout.main([verb, MODEL, "--kubernetes", "headway", *arguments], world.surroundings())


def routes(server: KubernetesApi) -> ModelRoutes:
    return parse_routes(server.text(*ROUTES, "routes.json")).of(MODEL)


def test_a_rollout_is_carried_through_by_the_api_alone(
    server: KubernetesApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(World(alike), "status") == ALARM, "nobody controls it"
    assert run(World(alike), "resume") == DONE
    assert (routes(server).stable, routes(server).candidate) == (2, None)
    assert run(World(alike), "status") == DONE
    assert run(World(alike), "abort", "--force", "--why", "the logo") == DONE
    assert routes(server).stable == 1
    assert run(World(alike), "history") == DONE
    assert "the logo" in capsys.readouterr().out
    assert run(World(alike), "finish") == DONE
    assert "versions: 1 }" in server.text(*CONFIG, "models.config")
    assert list(tmp_path.glob("models*")) == [], "no file was made"


def test_a_failing_version_is_rolled_back(server: KubernetesApi) -> None:
    assert run(World(failing), "resume") == ROLLED_BACK
    assert routes(server).stable == 1


def test_what_another_writes_during_a_rollout_is_kept(server: KubernetesApi) -> None:
    """Before each write of the controller somebody changes another model."""
    written = list[int]()

    def meddle() -> None:
        table = parse_routes(server.text(*ROUTES, "routes.json"))
        written.append(len(written))
        other = ModelRoutes(1, labels={f"label-{number}": 1 for number in written})
        text = format_routes(RouteTable({**table.models, "other": other}))
        server.edit(*ROUTES, lambda found: found["data"].update({"routes.json": text}))

    world = World(alike, on_sleep=lambda: setattr(server, "before_write", meddle))
    assert run(world, "resume") == DONE
    assert routes(server).stable == 2
    assert len(written) >= 5
    table = parse_routes(server.text(*ROUTES, "routes.json"))
    assert table.of("other").labels == {f"label-{number}": 1 for number in written}


def test_answers_that_are_lost_skip_no_step(server: KubernetesApi, capsys: pytest.CaptureFixture[str]) -> None:
    world = World(alike, on_sleep=lambda: setattr(server, "lost_answers", 1))
    assert run(world, "resume", "--json") == DONE
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["stage"] for event in events[:-1]] == ["5 %", "25 %", "50 %", "100 %"]
    assert [entry.what for entry in routes(server).history].count("version 2 at 25 %") == 1


def test_a_lacking_permission_names_the_rule(
    server: KubernetesApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.rules = {"reader": {("get", *ROUTES)}}
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path, "reader")))
    assert run(World(alike), "abort", "--force") == REFUSED
    assert "resourceNames: [headway-routes], verbs: [update]" in capsys.readouterr().err
    assert run(World(alike), "history") == DONE


def test_an_api_that_is_away_refuses_nothing(server: KubernetesApi, capsys: pytest.CaptureFixture[str]) -> None:
    """A Job ends at what was refused, and is tried again after anything else."""
    server.stop()
    assert run(World(alike), "start", "--version", "2", "--resume") == ALARM
    assert "the Kubernetes API at" in capsys.readouterr().out


def test_a_file_and_a_config_map_are_not_named_together(
    server: KubernetesApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(World(alike), "status", "--routes", "routes.json") == REFUSED
    assert "--routes names a file and --kubernetes a ConfigMap" in capsys.readouterr().err
    assert models.main(["add", MODEL, "--kubernetes", "headway", "--models-config", "x"]) == 2
    assert rollout.main(["status", MODEL, "--kubernetes", "no/such/name"]) == REFUSED
    assert "not NAMESPACE or NAMESPACE/NAME" in capsys.readouterr().err
    monkeypatch.setenv("KUBECONFIG", "/no-such-file")
    assert models.main(["--kubernetes", "headway"]) == 2
    assert "no cluster is known" in capsys.readouterr().err


def test_models_are_listed_and_removed_by_the_api(
    server: KubernetesApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--kubernetes", "headway", "--repository", str(tmp_path / "models")]
    assert models.main([*given, "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["versions"]
    assert [(each["version"], each["traffic"]) for each in listed] == [(1, "stable 95 %"), (2, "candidate 5 %")]
    assert run(World(alike), "abort", "--force") == DONE
    assert models.main(["remove", MODEL, *given, "--offline"]) == 0
    assert parse_routes(server.text(*ROUTES, "routes.json")).models == {}
    assert server.text(*ROUTES, "routes.removed.json") == '["digits"]\n'
    assert "digits" not in server.text(*CONFIG, "models.config")


def test_what_a_cluster_routes_is_not_pruned(
    server: KubernetesApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for version in range(1, 5):
        (tmp_path / "models" / MODEL / str(version)).mkdir(parents=True)
    given = ["--kubernetes", "headway", "--repository", str(tmp_path / "models")]
    assert repository.main(["prune", *given, "--keep", "1", "--yes"]) == 0
    assert sorted(path.name for path in (tmp_path / "models" / MODEL).iterdir()) == ["1", "2", "4"]
    (tmp_path / "models" / MODEL / "1").rmdir()
    assert repository.main(["verify", *given]) == 1
    assert "digits/1  GONE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (models.main, []),
        (models.main, ["add", "digits"]),
        (rollout.main, ["status", "digits"]),
        (rollout.main, ["abort", "digits"]),
        (repository.main, ["verify"]),
    ],
)
def test_a_link_to_itself_in_the_place_of_the_routes_is_refused_in_one_line(
    run: Callable[[list[str]], int], words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(ModelRepository(tmp_path))
    (tmp_path / "routes.json").symlink_to("routes.json")
    assert run([*words, "--repository", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "routes.json") in line
