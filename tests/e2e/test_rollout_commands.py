"""What happens to a rollout on its way: it is killed, paused, resumed, watched, explained and taken back."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from headway_serving.adapters.files.routes import write_routes
from headway_serving.core.rollout import changes
from headway_serving.core.rollout_state import RolloutPolicy
from headway_serving.core.routing import ModelRoutes, RouteTable
from tests.e2e.changed_versions import publish_changed
from tests.e2e.conftest import Trained
from tests.e2e.rollout_line import QUICK, Line, Users, line_of
from tests.e2e.running import headway
from tests.e2e.test_serving_line import HEAD, copied
from tests.support.waiting import eventually
from tests.unit.serving.core.rollout.rollout_examples import ME, PROOF


@pytest.fixture
def line(trained: Trained, tmp_path: Path) -> Iterator[Line]:
    pictures = [path.read_bytes() for path in trained.samples[HEAD]]
    with line_of(copied(trained, tmp_path), HEAD, pictures, tmp_path) as running:
        yield running


def at_stage(line: Line, stage: int) -> bool:
    state = line.routes().rollout
    return state is not None and state.stage >= stage


def test_a_controller_that_is_killed_again_and_again_is_resumed_from_the_file(line: Line) -> None:
    """While it loads the version, in the first step and in the second: the same command goes on each time."""
    assert publish_changed(line.repository, HEAD) == 2
    start = ("start", *QUICK, "--steps", "30,60,100", "--version", "2", "--resume")
    resumed = 0
    with Users(line) as users:
        for moment in (lambda: "versions: 2" in line.loaded(), lambda: at_stage(line, 0), lambda: at_stage(line, 1)):
            with line.controller(*start) as controller:
                eventually(moment, "the moment to kill it")
                controller.kill()
            state = line.routes().rollout
            assert state is None or state.status == "running"
            resumed += state is not None
        last = line.rollout(*start)
    assert last.returncode == 0, (last.stdout, last.stderr)
    users.check_unharmed()
    assert (line.routes().stable, [entry.what for entry in line.routes().history].count("resumed")) == (2, resumed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_ends_the_command_while_it_verifies_leaves_nothing_loaded(line: Line, number: signal.Signals) -> None:
    """What could not be loaded may have ended the model server, and would again."""
    assert publish_changed(line.repository, HEAD) == 2
    with line.controller("start", *QUICK) as controller:
        eventually(lambda: "versions: 2" in line.loaded() or controller.poll() is not None, "it is being loaded")
        controller.send_signal(number)
        out, _ = controller.communicate(timeout=60)
    assert controller.returncode != 0, out
    assert "versions: 2" not in line.loaded()
    assert line.routes().rollout is None


def test_what_was_changed_since_it_was_verified_is_not_promoted(line: Line) -> None:
    assert publish_changed(line.repository, HEAD) == 2
    assert line.rollout("start", *QUICK, "--interval", "0.5", "--patience", "1").returncode == 4
    with (line.repository.path(HEAD, 2) / "saved_model.pb").open("ab") as file:
        file.write(b"\0")
    for verb in ("promote", "resume"):
        run = line.rollout(verb)
        assert (run.returncode, line.routes().stable) == (2, 1), run.stdout
        assert "differs from what was published: saved_model.pb" in run.stderr
    assert line.rollout("promote", "--force").returncode == 0


@pytest.mark.parametrize(("fail_every", "code"), [(None, 0), (5, 3)], ids=["good", "bad"])
def test_a_gateway_that_is_killed_in_the_middle_changes_no_decision(
    line: Line, fail_every: int | None, code: int
) -> None:
    """Its counters begin at 0 again, and its users come back; only they may notice."""
    assert publish_changed(line.repository, HEAD) == 2
    flags = (*QUICK, "--steps", "50,100", "--min-samples", "100")
    with Users(line) as users, line.controller("start", *flags) as controller:
        eventually(lambda: line.routes().candidate is not None or controller.poll() is not None, "the first step")
        gateway = line.served.child("headway_serving.gateway")
        eventually(lambda: len(users.seconds[2]) > 10, "version 2 is asked")
        gateway.kill()
        if fail_every is not None:
            line.faults.fail_every[2] = fail_every
        out, _ = controller.communicate(timeout=200)
    assert controller.returncode == code, out
    assert line.served.child("headway_serving.gateway").pid != gateway.pid
    assert line.routes().stable == (1 if code else 2)
    assert users.refusals == []


def test_a_rollout_is_paused_resumed_and_watched_from_other_shells(line: Line) -> None:
    assert publish_changed(line.repository, HEAD) == 2
    with line.controller("start", *QUICK, "--steps", "50,100") as controller:
        eventually(lambda: line.routes().candidate is not None, "the first step")
        second = line.rollout("resume")
        assert second.returncode == 2
        assert "another command controls the rollout" in second.stderr
        assert "paused" in line.rollout("pause").stdout
        with line.controller("status", "--watch") as watching, line.controller("resume") as resuming:
            eventually(lambda: line.routes().history[-1].what == "resumed", "it goes on")
            with Users(line) as users:
                out, _ = controller.communicate(timeout=200)
                told, _ = resuming.communicate(timeout=60)
                watched, _ = watching.communicate(timeout=60)
    assert (controller.returncode, resuming.returncode) == (0, 0), (out, told)
    assert "promoted: " in out
    assert "promoted: " in told
    assert "stages     [50 %]  100 %" in watched
    assert watched.rstrip().partition("version 1 -> 2: promoted")[1], "the last table tells the end"
    users.check_unharmed()


def test_who_gets_which_version_is_explained_and_an_abort_is_followed(line: Line) -> None:
    assert publish_changed(line.repository, HEAD) == 2
    with line.controller("start", *QUICK, "--steps", "50,100") as controller:
        eventually(lambda: line.routes().candidate is not None, "the first step")
        listed = headway("models", "--repository", line.repository.root, "--url", line.served.url, "--json")
        rows = {row["version"]: row for row in json.loads(listed.stdout)["versions"] if row["model"] == HEAD}
        assert [(rows[number]["state"], rows[number]["traffic"]) for number in (1, 2)] == [
            ("AVAILABLE", "stable 50 %"), ("AVAILABLE", "candidate 50 %"),
        ]  # fmt: skip
        assert rows[2]["digest"] == line.repository.digest(HEAD, 2)
        eventually(lambda: classified(line, "0").headers["X-Route-Reason"] == "weight", "the gateway follows")
        for key in map(str, range(20)):
            told = httpx.get(f"{line.served.url}/v1/models/{HEAD}/route", params={"key": key}).json()
            answer = classified(line, key)
            assert (told["version"], told["arm"]) == (answer.json()["version"], answer.json()["arm"])
            assert told["reason"] == answer.headers["X-Route-Reason"] == "weight"
            assert "the weight of version 2" in told["why"]
        assert line.rollout("abort").returncode == 0
        out, _ = controller.communicate(timeout=60)
    assert controller.returncode == 3
    assert "rolled back: by hand" in out


def classified(line: Line, key: str) -> httpx.Response:
    return httpx.post(f"{line.served.url}/v1/models/{HEAD}:classify", content=line.pictures[0], timeout=30,
                      headers={"Content-Type": "image/png", "X-Routing-Key": key})  # fmt: skip


def test_an_abort_needs_nothing_but_the_routes(tmp_path: Path) -> None:
    """No repository, gateway, model server or network: what else there is may be what has failed."""
    routes = changes.begun(ModelRoutes(1), PROOF, RolloutPolicy(), "salt", 1000.0, ME)
    path = tmp_path / "routes.json"
    write_routes(path, RouteTable({HEAD: routes}))
    run = headway("rollout", "abort", HEAD, "--routes", path, "--repository", tmp_path / "gone", "--json")
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    assert (told["stable"], told["candidate"], told["rollout"]["status"]) == (1, None, "rolled_back")
    assert {each.name for each in tmp_path.iterdir()} == {"routes.json", ".routes.json.lock"}


def test_refusals_say_why(trained: Trained, tmp_path: Path) -> None:
    repository = copied(trained, tmp_path)
    run = headway("rollout", "abort", HEAD, "--repository", repository.root)
    assert run.returncode == 2
    assert "routes.json cannot be read" in run.stderr
    (repository.root / "routes.json").write_text(json.dumps({"schema": 1, "models": {HEAD: {"stable": 1}}}))
    for arguments, why in (
        (("abort", HEAD), "there is no rollout to take back"),
        (("pause", HEAD), "there is no rollout; begin one with: headway rollout start"),
        (("status", "nothing"), "no model is named 'nothing'"),
        (("start", HEAD), "version 1 is stable already"),
        (("start", HEAD, "--version", "7"), "has no version 7"),
        (("start", HEAD, "--steps", "50,25"), "steps: rising weights above 0, up to 1"),
    ):
        run = headway("rollout", *arguments, "--repository", repository.root)
        assert (run.returncode, run.stdout) == (2, ""), run.stderr
        assert why in run.stderr
        assert "Traceback" not in run.stderr
