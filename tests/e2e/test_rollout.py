"""``headway rollout`` on real processes: model server, gateway, controller, and users who keep asking."""

import json
import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from headway_contract.model_repository import ModelRepository
from headway_serving.adapters.route_file import read_routes
from headway_serving.core.routing import ModelRoutes
from tests.e2e.changed_versions import (
    Change,
    nearest_filter,
    never_answering,
    publish_changed,
    two_labels_swapped,
    weights_of,
    with_manifest,
    without_variables,
)
from tests.e2e.conftest import Trained
from tests.e2e.faulty_model_server import Faults, faulty_model_server
from tests.e2e.running import HEADWAY, Served, eventually, headway, serving
from tests.e2e.test_serving_line import HEAD, copied

THREADS = 6
QUICK = ("--interval", "1", "--min-samples", "40", "--patience", "60", "--max-p99-ratio", "4")
"""Seconds instead of minutes. Latency hardly counts: on a machine that runs other tests too no two arms are alike."""


@dataclass
class Line:
    """A model server that can be spoiled, a gateway behind it, and the files that both follow."""

    repository: ModelRepository
    served: Served
    faults: Faults
    model_server: str
    pictures: list[bytes]

    @property
    def picture(self) -> bytes:
        return self.pictures[0]

    def routes(self) -> ModelRoutes:
        return read_routes(self.repository.root / "routes.json").of(HEAD)

    def command(self, verb: str, *flags: str) -> list[str]:
        command = [*HEADWAY, "rollout", verb, HEAD, "--repository", str(self.repository.root), *flags]
        if verb in ("start", "resume", "verify", "report"):
            command += ["--gateway", self.served.url]
        if verb in ("start", "verify"):
            command += ["--model-server", self.model_server]
        return command

    def rollout(self, verb: str, *flags: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(verb, *flags), capture_output=True, text=True, timeout=200, check=False)


@pytest.fixture
def line(trained: Trained, tmp_path: Path) -> Iterator[Line]:
    repository, faults = copied(trained, tmp_path), Faults()
    pictures = [path.read_bytes() for path in trained.samples[HEAD]]
    with (
        serving(repository.root, tmp_path / "model-server.log") as models,
        faulty_model_server(f"127.0.0.1:{models.grpc_port}", faults) as address,
        serving(repository.root, tmp_path / "gateway.log", "--model-server", address) as served,
    ):
        yield Line(repository, served, faults, address, pictures)


class Users:
    """People who keep asking for pictures of every class, each request under a key of its own; their answers."""

    def __init__(self, line: Line) -> None:
        self.statuses: Counter[int] = Counter()
        self.versions: Counter[int] = Counter()
        self.failures: list[Exception] = []
        self._line = line
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(THREADS)]

    def __enter__(self) -> "Users":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=60)

    def _run(self, number: int) -> None:
        url, asked = f"{self._line.served.url}/v1/models/{HEAD}:classify", 0
        with httpx.Client(timeout=30) as http:
            while not self._stop.is_set():
                asked += 1
                headers = {"Content-Type": "image/png", "X-Routing-Key": f"user-{number}-{asked}"}
                try:
                    picture = self._line.pictures[asked % len(self._line.pictures)]
                    answer = http.post(url, content=picture, headers=headers)
                except httpx.HTTPError as error:
                    self.failures.append(error)
                    continue
                with self._lock:
                    self.statuses[answer.status_code] += 1
                    if answer.status_code == 200:
                        self.versions[answer.json()["version"]] += 1

    def check_unharmed(self) -> None:
        assert self.failures == []
        assert set(self.statuses) == {200}, self.statuses


def test_a_good_candidate_is_promoted_through_all_steps_under_load(line: Line) -> None:
    assert publish_changed(line.repository, HEAD) == 2
    with Users(line) as users:
        run = line.rollout("start", *QUICK, "--steps", "25,50,100", "--json")
    events = [json.loads(each) for each in run.stdout.splitlines()]
    assert (run.returncode, events[-1]["event"]) == (0, "promoted"), (run.stdout, run.stderr)
    users.check_unharmed()
    assert users.versions[1] > 0
    assert users.versions[2] > 0
    advanced = [each["stage"] for each in events if each.get("decision") in ("Advance", "Promote")]
    assert advanced == ["25 %", "50 %", "100 %"]
    routes = line.routes()
    assert (routes.stable, routes.candidate) == (2, None)
    whats = [entry.what for entry in routes.history]
    assert whats == [f"version 2 at {weight} %" for weight in (25, 50, 100)] + ["version 2 is stable"]

    # The version before is still loaded, so that it can be had back at once; until the rollout is finished.
    assert line.rollout("abort", "--why", "the logo is wrong").returncode == 0
    eventually(lambda: line.served.classify(HEAD, line.picture).json()["version"] == 1, "version 1 answers again")
    assert "the logo is wrong" in line.rollout("history").stdout
    assert line.rollout("finish").returncode == 0
    states = lambda: httpx.get(f"{line.served.url}/v1/models/{HEAD}").json()["versions"]  # noqa: E731
    eventually(lambda: states() == [1], "the version that lost is unloaded")


CANDIDATES = {
    "weights swapped": "golden sample",
    "variables missing": "was not loaded within 4 s",
    "resize filter changed": "geometry: resample bilinear -> nearest; if that is meant: --accept-geometry-change",
    "two labels swapped": "labels: in another order: 0, 1, 2, 3, 4 -> 1, 0, 2, 3, 4",
    "a file changed": "files: ",
}


@pytest.fixture
def wrong(trained: Trained) -> dict[str, Change]:
    return {
        "weights swapped": weights_of(trained.repository.path("digits-5to9", 1)),
        "variables missing": without_variables,
        "resize filter changed": with_manifest(nearest_filter),
        "two labels swapped": with_manifest(two_labels_swapped),
    }


def test_a_candidate_that_fails_verification_never_gets_a_request(line: Line, wrong: dict[str, Change]) -> None:
    with Users(line) as users:
        for name, why in CANDIDATES.items():
            version = publish_changed(line.repository, HEAD, wrong.get(name, lambda _: None))
            if name == "a file changed":
                with (line.repository.path(HEAD, version) / "saved_model.pb").open("ab") as file:
                    file.write(b"\0")
            before = (line.repository.root / "routes.json").read_bytes()
            run = line.rollout("start", *QUICK, "--version", str(version), "--load-timeout", "4")
            assert run.returncode == 2, (name, run.stdout, run.stderr)
            assert why in run.stderr, name
            assert (line.repository.root / "routes.json").read_bytes() == before
            assert f"versions: {version}" not in (line.repository.root / "models.config").read_text()
    users.check_unharmed()
    assert set(users.versions) == {1}


@pytest.mark.parametrize(
    ("faults", "why"),
    [(Faults(fail_every=20), "errors: "), (Faults(delay=0.4), "latency: p99 ")],
    ids=["errors on 5 %", "slow"],
)
def test_a_bad_candidate_is_rolled_back_and_nobody_is_harmed(line: Line, faults: Faults, why: str) -> None:
    assert publish_changed(line.repository, HEAD) == 2
    limits = ("--interval", "1", "--min-samples", "100", "--patience", "60", "--max-error-increase", "0.002",
              "--max-p99-ratio", "2", "--steps", "50,100", "--false-alarm", "0.05")  # fmt: skip
    with (
        Users(line) as users,
        subprocess.Popen(
            line.command("start", *limits), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as controller,
    ):
        eventually(lambda: line.routes().candidate is not None or controller.poll() is not None, "the first step")
        line.faults.fail_every, line.faults.delay, line.faults.version = faults.fail_every, faults.delay, 2
        out, _ = controller.communicate(timeout=200)
    assert controller.returncode == 3, out
    assert f"rolled back: {why}" in out
    assert (line.routes().stable, line.routes().candidate) == (1, None)
    assert line.routes().history[-1].what == "version 1 has all traffic again"
    users.check_unharmed()


def best_label(line: Line, picture: bytes, version: int) -> str:
    answer = httpx.post(f"{line.served.url}/v1/models/{HEAD}/versions/{version}:classify", content=picture,
                        headers={"Content-Type": "image/png"}, timeout=30).json()  # fmt: skip
    return str(answer["results"][0]["predictions"][0]["label"])


SHADOW = ("--shadow", "50", "--interval", "1", "--min-samples", "40", "--patience", "60")


def test_a_candidate_that_disagrees_on_one_class_is_rolled_back_before_anybody_gets_its_answers(line: Line) -> None:
    assert publish_changed(line.repository, HEAD, never_answering("3")) == 2
    # One class of five is wrong: over all classes that is within the limit given here.
    with Users(line) as users:
        run = line.rollout("start", *SHADOW, "--max-disagreement", "0.5")
        assert run.returncode == 3, (run.stdout, run.stderr)
        routes = line.routes()
        flips = {
            (stable, shadow)
            for picture in line.pictures
            if (stable := best_label(line, picture, 1)) != (shadow := best_label(line, picture, 2))
        }
    assert "rolled back: class disagreement: '3': " in run.stdout
    assert (routes.stable, routes.candidate, routes.shadow) == (1, None, None)
    assert [entry.what for entry in routes.history] == ["version 2 at shadow 50 %", "version 1 has all traffic again"]
    users.check_unharmed()
    assert set(users.versions) == {1}

    report = line.rollout("report", "--json")
    document = json.loads(report.stdout)
    assert (report.returncode, document["event"]) == (0, "report")
    assert {(pair["from"], pair["to"]) for pair in document["most_flipped"]} == flips
    (worst,) = document["most_flipped"]
    assert (worst["from"], worst["count"]) == ("3", worst["of"])
    assert 0.5 < document["agreement"] < 1
    assert 0 < document["mean_score_shift"] < 1
    assert f"3 -> {worst['to']}: " in line.rollout("report").stdout


def test_a_shadow_without_traffic_is_an_alarm_and_passes_only_with_traffic(line: Line) -> None:
    assert publish_changed(line.repository, HEAD) == 2
    run = line.rollout("start", *SHADOW, "--patience", "2")
    assert run.returncode == 4, (run.stdout, run.stderr)
    assert "Inconclusive: " in run.stdout
    assert "0 pictures compared, 40 needed" in run.stdout
    held = line.routes()
    assert held.rollout is not None
    assert (held.rollout.status, held.rollout.stage, held.candidate) == ("held", 0, None)
    report = line.rollout("report")
    assert report.returncode == 4
    assert "ALARM: no answer of a shadow was compared" in report.stdout

    assert line.rollout("abort", "--why", "nobody is there at night").returncode == 0
    with Users(line) as users:
        run = line.rollout("start", *SHADOW, "--max-p99-ratio", "4", "--steps", "50,100", "--json")
    events = [json.loads(each) for each in run.stdout.splitlines()]
    assert (run.returncode, events[-1]["event"]) == (0, "promoted"), (run.stdout, run.stderr)
    users.check_unharmed()
    advanced = [each["stage"] for each in events if each.get("decision") in ("Advance", "Promote")]
    assert advanced == ["shadow 50 %", "50 %", "100 %"]
    report = line.rollout("report", "--json")
    assert (report.returncode, json.loads(report.stdout)["agreement"]) == (0, 1.0)


def test_without_traffic_nothing_is_decided_and_the_rollout_is_held(line: Line) -> None:
    assert publish_changed(line.repository, HEAD) == 2
    run = line.rollout("start", "--interval", "0.5", "--patience", "2", "--steps", "50,100")
    assert run.returncode == 4, (run.stdout, run.stderr)
    assert "Inconclusive" in run.stdout
    routes = line.routes()
    assert routes.candidate is not None
    assert routes.candidate.weight == 0.5
    assert routes.rollout is not None
    assert routes.rollout.status == "held"
    status = json.loads(line.rollout("status", "--json").stdout)
    assert status["candidate"] == {"version": 2, "weight": 0.5}
    again = line.rollout("start", "--version", "2")
    assert again.returncode == 2
    assert "resume, promote or abort that rollout first" in again.stderr
    assert line.rollout("promote", "--why", "seen by people").returncode == 0
    assert line.routes().stable == 2


def test_a_killed_controller_is_resumed_from_the_file(line: Line) -> None:
    assert publish_changed(line.repository, HEAD) == 2
    with Users(line) as users:
        with subprocess.Popen(line.command("start", *QUICK, "--steps", "30,60,100"), stdout=subprocess.PIPE) as killed:
            eventually(lambda: (state := line.routes().rollout) and state.stage >= 1, "the second step")
            os.kill(killed.pid, signal.SIGKILL)
        at = line.routes().rollout
        assert at is not None
        assert at.status == "running"
        resumed = line.rollout("start", "--resume", "--version", "2")
    assert resumed.returncode == 0, (resumed.stdout, resumed.stderr)
    users.check_unharmed()
    assert (line.routes().stable, [entry.what for entry in line.routes().history].count("resumed")) == (2, 1)


def test_a_rollout_is_paused_and_aborted_from_another_shell(line: Line) -> None:
    assert publish_changed(line.repository, HEAD) == 2
    with subprocess.Popen(line.command("start", *QUICK), stdout=subprocess.PIPE, text=True) as controller:
        eventually(lambda: line.routes().candidate is not None, "the first step")
        second = line.rollout("resume")
        assert second.returncode == 2
        assert "another command controls the rollout" in second.stderr
        assert "paused" in line.rollout("pause").stdout
        assert line.rollout("abort").returncode == 0
        out, _ = controller.communicate(timeout=60)
    assert controller.returncode == 3
    assert "rolled back: by hand" in out


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
