"""Traffic is never sent to a version that is gone, and a routed version is not pruned; on real processes."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.changed_versions import publish_changed
from tests.e2e.conftest import Trained
from tests.e2e.rollout_line import QUICK, Line, Users, line_of
from tests.e2e.running import headway
from tests.e2e.test_serving_line import HEAD, copied
from tests.support.waiting import eventually

START_SECONDS = 5.0
"""What the command itself takes to start, on a machine that runs other tests too."""


@pytest.fixture
def line(trained: Trained, tmp_path: Path) -> Iterator[Line]:
    pictures = [path.read_bytes() for path in trained.samples[HEAD]]
    with line_of(copied(trained, tmp_path), HEAD, pictures, tmp_path) as running:
        yield running


def test_an_abort_to_a_version_that_is_gone_is_refused_and_the_service_unharmed(line: Line) -> None:
    repository = line.repository
    assert publish_changed(repository, HEAD) == 2
    assert line.rollout("start", *QUICK, "--interval", "0.5", "--patience", "1").returncode == 4
    assert line.rollout("promote").returncode == 0
    pruned = headway("repository", "prune", "--keep", "0", "--yes", "--repository", repository.root)
    assert pruned.returncode == 0, pruned.stderr
    assert repository.versions(HEAD) == (1, 2), "what can be had back is kept"

    shutil.rmtree(repository.path(HEAD, 1))
    with Users(line, count=2) as users:
        before = (repository.root / "routes.json").read_bytes()
        eventually(lambda: len(users.seconds[2]) > 20, "version 2 answers")
        began = time.monotonic()
        run = line.rollout("abort", "--gateway", line.served.url)
        took = time.monotonic() - began
        assert run.returncode == 2, run.stdout
        assert "version 1 of 'digits-0to4' is gone: " in run.stderr
        assert took < 2 + START_SECONDS
        assert (repository.root / "routes.json").read_bytes() == before
        alarm = line.rollout("status")
        assert alarm.returncode == 1
        assert "ALARM      digits-0to4/1 is part of a rollout that is not finished, but its directory" in alarm.stdout
        check = headway("repository", "verify", "--repository", repository.root)
        assert check.returncode == 1
        assert "digits-0to4/1  GONE: " in check.stdout
    users.check_unharmed()
    assert line.rollout("abort", "--force", "--gateway", line.served.url).returncode == 0
    assert line.routes().stable == 1


def test_a_promotion_of_what_is_not_loaded_is_refused(line: Line) -> None:
    """The directory is there and the model server does not have it."""
    assert publish_changed(line.repository, HEAD) == 2
    assert line.rollout("start", *QUICK, "--interval", "0.5", "--patience", "1").returncode == 4
    config = line.repository.root / "models.config"
    config.write_text(config.read_text().replace("versions: 1 versions: 2", "versions: 1"))

    def states() -> dict[str, str]:
        found: dict[str, str] = httpx.get(f"{line.served.url}/v1/models/{HEAD}").json()["states"]
        return found

    eventually(lambda: states().get("2") != "AVAILABLE", "version 2 is unloaded")
    run = line.rollout("promote", "--gateway", line.served.url)
    assert run.returncode == 2
    assert f"version 2 of 'digits-0to4' cannot answer: gateway {line.served.url} says " in run.stderr
    run = line.rollout("abort", "--gateway", line.served.url, "--json")
    assert (run.returncode, json.loads(run.stdout)["stable"], run.stderr) == (0, 1, "")
