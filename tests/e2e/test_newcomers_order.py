"""From nothing to a second model and a second version, by nothing but what the commands say comes next."""

import json
import re
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from headway_contract.model_repository import ModelRepository
from tests.e2e.changed_versions import publish_changed, without_variables
from tests.e2e.conftest import Trained
from tests.e2e.running import HEADWAY, headway, serving
from tests.e2e.test_serving_line import BASE, HEAD, copied
from tests.support.ports import free_port
from tests.support.waiting import eventually

QUICK = ("--set", "fitting.epochs=1")


def typed(line: str) -> list[str]:
    """The command that a line ends with, as somebody pastes it."""
    words = shlex.split(line[line.index("headway ", line.lower().index("next: ")) :])
    assert words[0] == "headway"
    return [*HEADWAY, *words[1:]]


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1]


def test_train_serve_train_another_classify_then_a_second_version(trained: Trained, tmp_path: Path) -> None:
    models, picture = tmp_path / "my models", trained.samples[HEAD][0]
    first = headway("train", BASE, *QUICK, "--repository", models)
    assert first.returncode == 0, first.stderr
    assert typed(last_line(first.stdout)) == [*HEADWAY, "serve", "--repository", str(models)]
    with serving(models, tmp_path / "log") as running:
        second = headway("train", HEAD, *QUICK, "--repository", models)
        assert second.returncode == 0, second.stderr
        eventually(lambda: running.classify(HEAD, picture.read_bytes()).status_code == 200, "it is taken up")
        command = [str(picture) if word == "PICTURE" else word for word in typed(last_line(second.stdout))]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stderr
        assert running.ready()

        third = headway("train", BASE, *QUICK, "--repository", models)
        said = re.compile(rf"^version 2 of {BASE} lies there; next: .*$", re.MULTILINE)
        eventually(lambda: said.search(running.log.read_text()), "the newer version is noticed")
        (line,) = said.findall(running.log.read_text())
        assert typed(line) == typed(last_line(third.stdout))
        with subprocess.Popen(typed(line), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as rollout:
            assert rollout.stdout is not None
            heard = [rollout.stdout.readline()]
            while heard[-1] and "is loaded and verified" not in heard[-1]:
                heard.append(rollout.stdout.readline())
            aborted = headway("rollout", "abort", BASE, "--repository", models)
            rollout.communicate(timeout=60)
        assert "version 2 of digits-5to9 is loaded and verified" in heard[-1], heard
        assert aborted.returncode == 0, aborted.stderr


def test_a_model_is_added_and_removed_while_it_is_served(trained: Trained, tmp_path: Path) -> None:
    repository = copied(trained, tmp_path)
    shutil.move(repository.root / HEAD, tmp_path / HEAD)
    picture = trained.samples[HEAD][0].read_bytes()
    with serving(repository.root, tmp_path / "log") as running:
        files = ["--repository", str(repository.root)]
        where = [*files, "--gateway", running.url, "--model-server", f"127.0.0.1:{running.grpc_port}"]
        early = headway("models", "remove", HEAD, *where)
        assert (early.returncode, early.stdout) == (2, "")
        assert "there is no model" in early.stderr
        shutil.copytree(tmp_path / HEAD, repository.root / HEAD)
        eventually(lambda: running.classify(HEAD, picture).status_code == 200, "it is taken up")
        removed = headway("models", "remove", HEAD, *where)
        assert removed.returncode == 0, removed.stderr
        assert running.classify(HEAD, picture).json()["code"] == "model_not_found"
        assert HEAD not in (repository.root / "models.config").read_text()
        assert running.stop() == 0
    with serving(repository.root, tmp_path / "log2") as running:
        assert running.classify(HEAD, picture).status_code == 404, "who removed it meant it"
        where = [*files, "--gateway", running.url, "--model-server", f"127.0.0.1:{running.grpc_port}"]
        added = headway("models", "add", HEAD, *where)
        assert added.returncode == 0, added.stderr
        assert running.classify(HEAD, picture).status_code == 200
        again = headway("models", "add", HEAD, *where)
        assert (again.returncode, "is served already" in again.stderr) == (2, True)
        assert publish_changed(repository, HEAD) == 2
        beside = headway("models", "add", f"{HEAD}/2", *where)
        assert beside.returncode == 0, beside.stderr
        assert publish_changed(repository, HEAD, without_variables) == 3
        broken = headway("models", "add", f"{HEAD}/3", *where)
        assert broken.returncode == 2
        assert re.search(
            rf"version 3 of '{HEAD}' cannot be loaded: 127.0.0.1:\d+: Could not find variable", broken.stderr
        )
        assert "versions: 3" not in (repository.root / "models.config").read_text()
        stable = headway("models", "remove", f"{HEAD}/1", *where)
        assert (stable.returncode, "it is the stable version" in stable.stderr) == (2, True)
        assert headway("models", "remove", f"{HEAD}/2", *where).returncode == 0


def test_a_first_version_by_rollout_start_is_just_added(trained: Trained, tmp_path: Path) -> None:
    repository = copied(trained, tmp_path)
    (repository.root / "routes.json").write_text(json.dumps({"schema": 2, "models": {BASE: {"stable": 1}}}))
    (repository.root / "routes.removed.json").write_text(json.dumps([HEAD]))
    with serving(repository.root, tmp_path / "log") as running:
        run = headway("rollout", "start", HEAD, "--repository", repository.root, "--gateway", running.url,
                      "--model-server", f"127.0.0.1:{running.grpc_port}")  # fmt: skip
        assert run.returncode == 0, run.stderr
        assert f"first version: {HEAD}/1 is served" in run.stdout
        assert running.classify(HEAD, trained.samples[HEAD][0].read_bytes()).status_code == 200


def test_a_model_that_cannot_be_loaded_is_announced_as_that_beside_the_others(trained: Trained, tmp_path: Path) -> None:
    repository = copied(trained, tmp_path)
    assert publish_changed(repository, HEAD, without_variables) == 2
    with serving(repository.root, tmp_path / "log") as running:
        assert running.classify(BASE, trained.samples[BASE][0].read_bytes()).status_code == 200
    said = (tmp_path / "log").read_text()
    assert f"  {BASE}: version 1 is stable" in said
    assert f"  {HEAD}: version 2 cannot answer yet: " in said
    assert f"headway classify PICTURE --model {BASE} " in said


def test_a_moved_repository_is_served_from_where_it_is(trained: Trained, tmp_path: Path) -> None:
    repository = copied(trained, tmp_path)
    with serving(repository.root, tmp_path / "log") as running:
        assert running.stop() == 0
    moved = ModelRepository(repository.root.rename(tmp_path / "elsewhere"))
    with serving(moved.root, tmp_path / "log") as running:
        assert running.classify(HEAD, trained.samples[HEAD][0].read_bytes()).status_code == 200
    said = (tmp_path / "log").read_text()
    assert "Could not find base path" not in said
    assert f"{HEAD} is in {moved.root / HEAD} now" in said


def test_the_second_supervisor_is_refused_and_a_killed_one_leaves_nothing(trained: Trained, tmp_path: Path) -> None:
    repository = copied(trained, tmp_path)
    with serving(repository.root, tmp_path / "log") as running:
        second = headway("serve", "--repository", repository.root, "--port", str(free_port()), "--grpc-port",
                         str(free_port()))  # fmt: skip
        assert second.returncode == 2
        assert f"headway serve (process {running.process.pid}, {running.url}) serves by" in second.stderr
        family = psutil.Process(running.process.pid).children(recursive=True)
        assert len(family) == 2
        running.process.send_signal(signal.SIGKILL)
        running.process.wait()
        psutil.wait_procs(family, timeout=10)
        assert not [child for child in family if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    with serving(repository.root, tmp_path / "log") as running:
        assert running.ready()


@pytest.mark.parametrize("verb", [("rollout", "start"), ("rollout", "verify"), ("models", "add"), ("models", "remove")])
def test_a_wrong_address_is_told_at_once_and_nothing_is_changed(
    trained: Trained, tmp_path: Path, verb: tuple[str, str]
) -> None:
    repository = copied(trained, tmp_path)
    assert publish_changed(repository, HEAD) == 2
    served = BASE if verb == ("models", "add") else HEAD
    routes = repository.root / "routes.json"
    routes.write_text(json.dumps({"schema": 2, "models": {served: {"stable": 1}}}))
    before, began = routes.read_text(), time.monotonic()
    nobody = f"127.0.0.1:{free_port()}"
    run = headway(*verb, HEAD, "--repository", repository.root, "--gateway", f"http://{nobody}", "--model-server",
                  nobody)  # fmt: skip
    # The interpreter's own start is counted too.
    assert time.monotonic() - began < 3 + 3
    assert run.returncode == 2
    assert f"--gateway http://{nobody}: no gateway answers" in run.stderr
    assert f"--model-server {nobody}: no model server answers" in run.stderr
    assert routes.read_text() == before
    assert not (repository.root / "models.config").exists()
