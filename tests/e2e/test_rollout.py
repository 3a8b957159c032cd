"""``headway rollout`` on real processes: model server, gateway, controller, and users who keep asking."""

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import httpx
import pytest

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
from tests.e2e.rollout_line import QUICK, Line, Users, line_of
from tests.e2e.test_serving_line import HEAD, copied
from tests.support.waiting import eventually


@pytest.fixture
def line(trained: Trained, tmp_path: Path) -> Iterator[Line]:
    pictures = [path.read_bytes() for path in trained.samples[HEAD]]
    with line_of(copied(trained, tmp_path), HEAD, pictures, tmp_path) as running:
        yield running


def test_a_good_candidate_is_promoted_through_all_steps_under_load(line: Line) -> None:
    assert publish_changed(line.repository, HEAD) == 2
    with Users(line, gateways=[line.served, line.other]) as users:
        run = line.rollout("start", *QUICK, "--gateway", line.other.url, "--json")
    events = [json.loads(each) for each in run.stdout.splitlines()]
    assert (run.returncode, events[-1]["event"]) == (0, "promoted"), (run.stdout, run.stderr)
    users.check_unharmed()
    assert set(users.seconds) == {1, 2}
    advanced = [each["stage"] for each in events if each.get("decision") in ("Advance", "Promote")]
    assert advanced == ["5 %", "25 %", "50 %", "100 %"]
    routes = line.routes()
    assert (routes.stable, routes.candidate) == (2, None)
    whats = [entry.what for entry in routes.history]
    assert whats == [f"version 2 at {weight} %" for weight in (5, 25, 50, 100)] + ["version 2 is stable"]

    # The version before is still loaded, so that it can be had back at once; until the rollout is finished.
    assert line.rollout("abort", "--why", "the logo is wrong").returncode == 0
    eventually(lambda: line.served.classify(HEAD, line.pictures[0]).json()["version"] == 1, "version 1 answers again")
    assert "the logo is wrong" in line.rollout("history").stdout
    assert line.rollout("finish").returncode == 0

    def versions() -> list[int]:
        listed: list[int] = httpx.get(f"{line.served.url}/v1/models/{HEAD}").json()["versions"]
        return listed

    eventually(lambda: versions() == [1], "the version that lost is unloaded")


CANDIDATES = {
    "weights swapped": "golden sample",
    "variables missing": "cannot be loaded: ",
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
            run = line.rollout("start", *QUICK, "--version", str(version), "--load-timeout", "30")
            assert run.returncode == 2, (name, run.stdout, run.stderr)
            assert why in run.stderr, name
            assert (line.repository.root / "routes.json").read_bytes() == before
            assert f"versions: {version}" not in line.loaded()
    users.check_unharmed()
    assert set(users.seconds) == {1}


LIMITS = ("--shadow", "0", "--interval", "1", "--patience", "60", "--steps", "50,100")


def check_rolled_back(line: Line, why: str, code: int, out: str) -> None:
    assert code == 3, out
    assert f"rolled back: {why}" in out, out
    assert (line.routes().stable, line.routes().candidate) == (1, None)
    assert line.routes().history[-1].what == "version 1 has all traffic again"


def test_a_candidate_that_fails_on_5_percent_is_rolled_back_and_nobody_notices(line: Line) -> None:
    assert publish_changed(line.repository, HEAD) == 2
    with (
        Users(line) as users,
        line.controller("start", *LIMITS, "--max-latency-ratio", "4", "--max-work-ratio", "4") as controller,
    ):
        # Its golden samples pass; it is under load that it fails.
        eventually(lambda: line.routes().candidate is not None or controller.poll() is not None, "the first step")
        line.faults.fail_every[2] = 20
        out, _ = controller.communicate(timeout=200)
    check_rolled_back(line, "errors: ", code=controller.returncode, out=out)
    users.check_unharmed()


def test_a_candidate_that_is_three_times_slower_is_rolled_back(line: Line) -> None:
    assert publish_changed(line.repository, HEAD) == 2
    with Users(line, count=2) as users, line.controller("start", *LIMITS, "--min-samples", "30") as controller:
        # It is under load that it is slow, not when its pictures are compared.
        eventually(lambda: line.routes().candidate is not None or controller.poll() is not None, "the first step")
        # Far above what a busy machine adds. Two users, so that nobody waits for another's call.
        line.faults.delays = {1: 0.3, 2: 0.9}
        users.seconds.clear()
        out, _ = controller.communicate(timeout=200)
    # Of few answers p90 may be proof before p50 is.
    check_rolled_back(line, "latency p", code=controller.returncode, out=out)
    users.check_unharmed()
    # A busy machine may add as much to both.
    assert median(users.seconds[1]) >= 0.3
    assert median(users.seconds[2]) >= 0.9


def best_label(line: Line, picture: bytes, version: int) -> str:
    answer = httpx.post(f"{line.served.url}/v1/models/{HEAD}/versions/{version}:classify", content=picture,
                        headers={"Content-Type": "image/png"}, timeout=30).json()  # fmt: skip
    return str(answer["results"][0]["predictions"][0]["label"])


SHADOW = ("--shadow", "50", "--interval", "1", "--min-samples", "40", "--patience", "60")


def test_a_candidate_that_disagrees_on_one_class_is_rolled_back_before_anybody_gets_its_answers(line: Line) -> None:
    assert publish_changed(line.repository, HEAD, never_answering("3")) == 2
    # One class of five is wrong: over all classes that is within the limit given here.
    with Users(line) as users:
        run = line.rollout("start", *SHADOW, "--max-disagreement", "0.5", "--accept-lower-accuracy")
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
    assert set(users.seconds) == {1}

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
        run = line.rollout(
            "start", *SHADOW, "--max-latency-ratio", "4", "--max-work-ratio", "4", "--steps", "50,100", "--json"
        )
    events = [json.loads(each) for each in run.stdout.splitlines()]
    assert (run.returncode, events[-1]["event"]) == (0, "promoted"), (run.stdout, run.stderr)
    users.check_unharmed()
    advanced = [each["stage"] for each in events if each.get("decision") in ("Advance", "Promote")]
    assert advanced == ["shadow 50 %", "50 %", "100 %"]
    report = line.rollout("report", "--json")
    assert (report.returncode, json.loads(report.stdout)["agreement"]) == (0, 1.0)


def test_without_traffic_nothing_is_decided_and_the_rollout_is_held(line: Line) -> None:
    assert publish_changed(line.repository, HEAD) == 2
    quick = ("--shadow", "0", "--interval", "0.5", "--patience", "2", "--steps", "50,100")
    run = line.rollout("start", *quick, "--hold", "keep")
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
    assert "version 2 of digits-0to4 passes" in line.rollout("verify").stdout
    assert line.rollout("promote", "--why", "seen by people").returncode == 0
    assert line.routes().stable == 2
