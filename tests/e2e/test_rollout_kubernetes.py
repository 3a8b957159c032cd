"""``headway rollout --kubernetes`` on real processes: nobody loses a request, whoever is killed, quicker, or away.

``HEADWAY_TEST_API_AWAY_SECONDS``: how long the API server is away (3; a minute shows no more).
"""

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from headway_serving.adapters.files.routes import change_model
from headway_serving.adapters.kubernetes.api import ConfigMapApi, ConfigMapName
from headway_serving.adapters.kubernetes.cluster import Cluster
from headway_serving.adapters.kubernetes.config_map import ConfigMapDocument
from headway_serving.core.rollout_state import RolloutStatus
from headway_serving.core.routing import ModelRoutes
from tests.e2e.changed_versions import publish_changed
from tests.e2e.cluster_line import OTHER, ROUTES, ClusterLine, InForce, cluster_line
from tests.e2e.conftest import Trained
from tests.e2e.rollout_line import QUICK, Users
from tests.e2e.test_serving_line import HEAD, copied
from tests.support.threads import Repeating
from tests.support.waiting import eventually

AWAY_SECONDS = float(os.environ.get("HEADWAY_TEST_API_AWAY_SECONDS", "3"))
START = (*QUICK, "--steps", "50,100")


@pytest.fixture(scope="module")
def line(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterLine]:
    folder = tmp_path_factory.mktemp("cluster")
    pictures = [path.read_bytes() for path in trained.samples[HEAD]]
    with cluster_line(copied(trained, folder), HEAD, pictures, folder) as running:
        before = os.environ.get("KUBECONFIG")
        os.environ["KUBECONFIG"] = str(running.kubeconfig)
        yield running
        os.environ.pop("KUBECONFIG") if before is None else os.environ.update(KUBECONFIG=before)


class Writer(Repeating):
    """Somebody who changes another model's labels all the time; ``written``: how often."""

    def __init__(self, line: ClusterLine) -> None:
        super().__init__(1)
        self.written = 0
        api = ConfigMapApi(Cluster(line.api.url, lambda: None, None, "writer"))
        self._document = ConfigMapDocument(api, ConfigMapName(*ROUTES), "routes.json")

    def run(self, _: int, /) -> None:
        def one_more(routes: ModelRoutes) -> ModelRoutes:
            count = len(routes.labels)
            return replace(routes, labels={**routes.labels, f"written-{count}": 1})

        while not self.stopping.wait(0.2):
            change_model(self._document, OTHER, one_more)
            self.written += 1


def test_a_good_candidate_is_promoted_and_nobody_loses_a_request(line: ClusterLine) -> None:
    version = publish_changed(line.repository, HEAD)
    before = line.routes().stable
    with Users(line, 3, line.gateways) as users:
        run = line.rollout("start", *START, "--version", str(version))
    assert (run.returncode, line.routes().stable) == (0, version), (run.stdout, run.stderr)
    users.check_unharmed()
    assert set(users.seconds) == {before, version}
    assert line.rollout("finish").returncode == 0
    eventually(
        lambda: all(line.shown(each)["versions"] == [version] for each in line.gateways), "the other is unloaded"
    )


def test_a_bad_candidate_is_rolled_back_and_both_gateways_follow_within_a_second(line: ClusterLine) -> None:
    version, before = publish_changed(line.repository, HEAD), line.routes().stable
    in_force = InForce(line)
    with (
        Users(line, 3, line.gateways) as users,
        line.controller("start", *START, "--version", str(version)) as run,
    ):
        eventually(lambda: line.routes().candidate is not None or run.poll() is not None, "the first step")
        line.faults.fail_every[version] = 20
        in_force.start()
        out, _ = run.communicate(timeout=200)
    line.faults.fail_every.clear()
    in_force.join(20)
    assert (run.returncode, line.routes().stable) == (3, before), out
    users.check_unharmed()
    assert len(in_force.seconds) == 2
    sys.stdout.write(f"in force on both gateways after {max(in_force.seconds.values()):.2f} s\n")
    assert max(in_force.seconds.values()) < 1, in_force.seconds
    # A Job that is started again says how it ended, and does not begin anew.
    assert line.rollout("start", *START, "--version", str(version), "--resume").returncode == 3


def test_killed_at_each_stage_beside_another_writer_it_ends_the_same(line: ClusterLine) -> None:
    version, killed = publish_changed(line.repository, HEAD), list[str]()
    start = ("start", *START, "--version", str(version), "--resume")

    def stage() -> str:
        rollout = line.routes().rollout
        if rollout is None or rollout.candidate != version:
            return "loading" if f"versions: {version}" in line.loaded() else "before"
        return str(rollout.stage) if rollout.status is RolloutStatus.RUNNING else str(rollout.status)

    with Users(line, 3, line.gateways) as users, Writer(line) as writer:
        while stage() != "promoted":
            with line.controller(*start) as run:
                eventually(lambda: stage() not in ("before", *killed) or run.poll() is not None, "the next stage")
                killed.append(stage())
                run.kill()
                out, _ = run.communicate()
            assert len(killed) < 6, (killed, out)
        assert line.rollout(*start).returncode == 0, "started again, it says that it is promoted"
    assert killed[:4] == ["loading", "0", "1", "promoted"]
    users.check_unharmed()
    assert line.routes().stable == version
    assert [entry.what for entry in line.routes().history].count(f"version {version} is stable") == 1
    assert len(line.table().of(OTHER).labels) == writer.written > 20, "no change of the other is lost"


def test_while_the_api_is_away_traffic_goes_on_and_the_rollout_too_when_it_is_back(line: ClusterLine) -> None:
    version = publish_changed(line.repository, HEAD)
    with (
        Users(line, 3, line.gateways) as users,
        line.controller("start", *START, "--version", str(version)) as run,
    ):
        eventually(lambda: line.routes().candidate is not None or run.poll() is not None, "the first step")
        line.api.stop()
        asked = sum(map(len, users.seconds.values()))
        time.sleep(AWAY_SECONDS)
        for gateway in line.gateways:
            source = httpx.get(f"{gateway.url}/readyz?verbose", timeout=10).json()["routes"]["source"]
            assert (source["followed"], "does not answer" in source["trouble"]) == (False, True)
        assert sum(map(len, users.seconds.values())) > asked
        line.api.start()
        out, _ = run.communicate(timeout=200)
    assert (run.returncode, line.routes().stable) == (0, version), out
    users.check_unharmed()
    eventually(lambda: all(line.shown(each)["stable"] == version for each in line.gateways), "both follow again")


def test_a_person_sees_and_aborts_it_from_a_shell_with_kubectl_beside(line: ClusterLine, tmp_path: Path) -> None:
    assert "stable" in line.rollout("status").stdout
    before = line.routes().rollout
    assert before is not None
    began = time.monotonic()
    assert line.rollout("abort", "--force", "--why", "the logo is wrong").returncode == 0
    eventually(lambda: all(line.shown(each)["stable"] == before.previous for each in line.gateways), "it is back")
    assert time.monotonic() - began < 30
    assert "the logo is wrong" in line.rollout("history").stdout
