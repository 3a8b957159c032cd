"""``headway rollout`` over a routes file, with a test's clock and traffic: whole rollouts without waiting."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from headway_serving.adapters.files.routes import change_model, read_routes, write_routes
from headway_serving.commands.rollout import Surroundings, main
from headway_serving.core.rollout import changes
from headway_serving.core.rollout_state import OPEN, RolloutPolicy, RolloutStatus
from headway_serving.core.rollout_traffic import Observation
from headway_serving.core.routing import ModelRoutes, RouteTable
from headway_serving.operations.rollout_controller import controlling
from tests.unit.serving.core.rollout.rollout_examples import ME, PROOF, arm, seen

DONE, ALARM, REFUSED, ROLLED_BACK, INCONCLUSIVE = 0, 1, 2, 3, 4
MODEL = "digits"


@dataclass
class World:
    """Time that passes when somebody sleeps, and the traffic of a rollout: what ``traffic`` says, per window."""

    traffic: Callable[[], Observation]
    now: float = 1_000_000.0
    windows: list[float] = field(default_factory=list)
    on_sleep: Callable[[], None] = lambda: None

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.on_sleep()

    def mark(self, model: str) -> None:
        assert model == MODEL

    def rate(self, model: str) -> float:
        assert model == MODEL
        return 50.0

    def window(self, model: str, stable: int, candidate: int, since: float) -> Observation:
        assert (model, stable, candidate) == (MODEL, 1, 2)
        self.windows.append(self.now - since)
        return self.traffic()

    def surroundings(self) -> Surroundings:
        return Surroundings(self.clock, self.sleep, self)


@pytest.fixture
def routes_file(tmp_path: Path) -> Path:
    """A rollout from version 1 to 2 that was interrupted in its first step."""
    path = tmp_path / "routes.json"
    write_routes(path, RouteTable({MODEL: ModelRoutes(stable=1)}))
    change_model(path, MODEL, lambda now: changes.begun(now, PROOF, RolloutPolicy(patience=3), "salt", 0.0, ME))
    return path


def run(routes_file: Path, world: World, verb: str, *arguments: str) -> int:
    return main([verb, MODEL, "--repository", str(routes_file.parent), *arguments], world.surroundings())


def alike() -> Observation:
    return seen(arm(4000), arm(4000))


def failing() -> Observation:
    return seen(candidate=arm(4000, errors=800), stable=arm(4000))


def silent() -> Observation:
    return seen(arm(0), arm(0))


def test_a_good_version_is_promoted_after_all_its_steps(routes_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = World(alike)
    assert run(routes_file, world, "resume", "--json") == DONE
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events][-1] == "promoted"
    assert [event["stage"] for event in events[:-1]] == ["5 %", "25 %", "50 %", "100 %"]
    routes = read_routes(routes_file).of(MODEL)
    assert (routes.stable, routes.candidate) == (2, None)
    # One window of an interval for each step, after gateways had time to follow.
    assert all(60 <= seconds < 62 for seconds in world.windows)
    assert len(world.windows) == 4


def test_a_failing_version_is_rolled_back(routes_file: Path) -> None:
    assert run(routes_file, World(failing), "resume") == ROLLED_BACK
    routes = read_routes(routes_file).of(MODEL)
    assert (routes.stable, routes.candidate) == (1, None)


def test_without_traffic_a_rollout_is_held(routes_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = World(silent)
    assert run(routes_file, world, "resume") == INCONCLUSIVE
    assert len(world.windows) == 3, "as many looks as there is patience"
    assert "undecided after 3 looks" in capsys.readouterr().out


def test_a_person_who_aborts_meanwhile_is_followed(routes_file: Path) -> None:
    world = World(alike)

    def abort_in_the_second_step() -> None:
        rollout = read_routes(routes_file).of(MODEL).rollout
        if rollout is not None and rollout.stage == 1:
            world.on_sleep = lambda: None
            assert run(routes_file, World(alike), "abort", "--why", "seen something") == DONE

    world.on_sleep = abort_in_the_second_step
    assert run(routes_file, world, "resume") == ROLLED_BACK
    history = read_routes(routes_file).of(MODEL).history
    assert history[-1].why == "seen something"
    assert read_routes(routes_file).of(MODEL).stable == 1


def test_a_paused_rollout_waits_and_continues_with_a_new_window(routes_file: Path) -> None:
    world, paused_at = World(alike), list[float]()

    def pause_and_resume() -> None:
        rollout = read_routes(routes_file).of(MODEL).rollout
        if rollout is not None and rollout.stage == 1 and not paused_at:
            paused_at.append(world.now)
            assert run(routes_file, World(alike), "pause") == DONE
        elif paused_at and world.now > paused_at[0] + 1000:
            world.on_sleep = lambda: None
            change_model(routes_file, MODEL, lambda now: changes.resumed(now, world.now, ME))

    world.on_sleep = pause_and_resume
    assert run(routes_file, world, "resume") == DONE
    assert world.now > paused_at[0] + 1000
    assert max(world.windows) < 62, "what happened while it was paused is not looked at"


def test_a_routes_file_that_is_broken_for_a_moment_loses_no_decision(
    routes_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world, good = World(failing), routes_file.read_bytes()

    def broken_for_a_minute() -> None:
        if 1_000_010 < world.now < 1_000_070:
            routes_file.write_text('{"schema":2,')
        elif routes_file.read_text() == '{"schema":2,':
            routes_file.write_bytes(good)

    world.on_sleep = broken_for_a_minute
    assert run(routes_file, world, "resume") == ROLLED_BACK
    assert "trying again for 5 minutes" in capsys.readouterr().err


def test_a_rollout_that_can_no_longer_be_written_is_an_alarm_and_told(
    routes_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(failing)

    def broken() -> None:
        if world.now > 1_000_010:
            routes_file.write_text('{"schema":2,')

    world.on_sleep = broken
    assert run(routes_file, world, "resume", "--notify", f"tee {tmp_path / 'told'}") == ALARM
    assert f"{routes_file}: " in (out := capsys.readouterr().out)
    assert "nobody controls this rollout now, and its versions keep their shares" in out
    assert json.loads((tmp_path / "told").read_text())["event"] == "uncontrolled"
    assert world.now > 1_000_010 + 300


def test_a_rollout_that_nobody_controls_is_an_alarm(routes_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(routes_file, World(alike), "status", "--json") == ALARM
    assert json.loads(capsys.readouterr().out)["controlled"] is False
    with controlling(routes_file, MODEL):
        assert run(routes_file, World(alike), "status") == DONE
    assert "ALARM" not in capsys.readouterr().out


@pytest.mark.parametrize(("verb", "code"), [("status", ALARM), ("history", DONE)])
def test_what_only_shows_changes_nothing(
    routes_file: Path, capsys: pytest.CaptureFixture[str], verb: str, code: int
) -> None:
    before = routes_file.read_bytes()
    assert run(routes_file, World(alike), verb) == code
    assert capsys.readouterr().out
    assert routes_file.read_bytes() == before


def test_status_is_watched_until_the_rollout_is_over(routes_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = World(alike)
    looks: list[None] = []

    def promote_after_three() -> None:
        looks.append(None)
        if len(looks) == 3:
            assert run(routes_file, World(alike), "promote") == DONE

    world.on_sleep = promote_after_three
    assert run(routes_file, world, "status", "--watch") == DONE
    assert len(looks) == 3
    assert "promoted" in capsys.readouterr().out


@pytest.mark.parametrize("as_json", [False, True])
def test_a_policy_that_makes_no_sense_is_refused(
    routes_file: Path, capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    extra = ["--json"] if as_json else []
    assert run(routes_file, World(alike), "start", "--steps", "50,25", *extra) == REFUSED
    said = capsys.readouterr()
    if as_json:
        assert json.loads(said.out)["event"] == "refused"
    else:
        assert said.err.startswith("headway rollout: refused: ")


def test_a_rollout_that_there_is_not_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "routes.json"
    write_routes(path, RouteTable({MODEL: ModelRoutes(stable=1)}))
    for verb in ("resume", "pause", "promote", "abort", "finish", "report"):
        assert run(path, World(alike), verb) == REFUSED
        assert "no rollout" in capsys.readouterr().err


def test_a_start_that_is_repeated_says_how_the_rollout_ended(routes_file: Path) -> None:
    """As a Job does whose pod was killed after the decision and before its exit."""
    again = ("start", "--version", "2", "--resume")
    assert run(routes_file, World(failing), "resume") == ROLLED_BACK
    before = routes_file.read_bytes()
    assert run(routes_file, World(alike), *again) == ROLLED_BACK
    assert routes_file.read_bytes() == before, "what was rolled back is not begun anew"
    change_model(routes_file, MODEL, lambda now: changes.finished(now, ME))
    change_model(routes_file, MODEL, lambda now: changes.begun(now, PROOF, RolloutPolicy(patience=3), "s", 0.0, ME))
    assert run(routes_file, World(silent), "resume") == INCONCLUSIVE
    assert run(routes_file, World(alike), *again) == INCONCLUSIVE, "held, until a person decides"
    change_model(routes_file, MODEL, lambda now: changes.promoted(now, "by hand", ME))
    assert run(routes_file, World(alike), *again) == DONE


def test_a_start_that_is_repeated_leaves_it_to_a_person_what_that_person_has_paused(routes_file: Path) -> None:
    change_model(routes_file, MODEL, lambda now: changes.paused(now, "lunch", ME))
    world = World(alike)

    def look() -> None:
        rollout = read_routes(routes_file).of(MODEL).rollout
        assert rollout is not None
        if world.now > 1_000_060 and rollout.status in OPEN:
            assert rollout.status is RolloutStatus.PAUSED
            change_model(routes_file, MODEL, lambda now: changes.rolled_back(now, "no", ME))

    world.on_sleep = look
    assert run(routes_file, world, "start", "--version", "2", "--resume") == ROLLED_BACK
    assert world.windows == [], "nobody was judged meanwhile"
