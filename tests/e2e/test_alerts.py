"""Our rules in a real Prometheus beside real processes, in scaled time: what breaks is told, and clears."""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from deploy.dashboards.board import Board, Query, in_one_place
from deploy.dashboards.boards import BOARDS
from deploy.dashboards.pictures import draw
from tests.e2e.changed_versions import publish_changed, with_manifest, without_variables
from tests.e2e.conftest import Trained
from tests.e2e.prometheus import needs_prometheus, scraping
from tests.e2e.rollout_line import line_of
from tests.e2e.scaled_rules import FACTOR, write_scaled_rules
from tests.e2e.test_serving_line import HEAD, copied
from tests.e2e.watched import Flood, People, Watched, stopped_writing, write_routes
from tests.support.waiting import eventually

pytestmark = needs_prometheus

METRICS = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text()
QUERIES = [
    query.replace("\\|", "|")
    for row in re.findall(r"^\| [^|]+\? \| (.*) \|$", METRICS, re.MULTILINE)
    for query in re.findall(r"`([^`]+)`", row)
]
BURNT = {"HeadwayAvailabilityBudgetBurn", "HeadwayAvailabilityBudgetSlowBurn",
         "HeadwayLatencyBudgetBurn", "HeadwayLatencyBudgetSlowBurn"}  # fmt: skip
"""What an outage leaves behind until its windows are over: the ticket too, and both where answers were late."""


@pytest.fixture(scope="module")
def watched(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    repository, pictures = copied(trained, folder), [path.read_bytes() for path in trained.samples[HEAD]]
    publish_changed(repository, HEAD)
    publish_changed(repository, HEAD, with_manifest(two_labels_swapped))
    rules = write_scaled_rules(folder / "rules.yml")
    write_routes(repository.root, HEAD, candidate=2, shadow=2)
    with (
        line_of(repository, HEAD, pictures, folder) as line,
        scraping([line.served.url], folder, "500ms", rules) as prometheus,
    ):
        found = Watched(line, prometheus)
        eventually(lambda: found.get("query", query="headway_build_info")["result"], "a gateway is scraped")
        eventually(lambda: found.firing() == set(), "nothing is left of the beginning")
        yield found


@pytest.fixture(scope="module")
def people(watched: Watched) -> Iterator[None]:
    with People(watched.line):
        yield


def two_labels_swapped(manifest: dict[str, Any]) -> None:
    first, second, *others = manifest["labels"]
    manifest["labels"] = [second, first, *others]


def minutes(number: float) -> float:
    """Seconds of the test for so many minutes of the rules' time."""
    return 60 * number / FACTOR


@pytest.mark.usefixtures("people")
def test_a_healthy_run_fires_nothing(watched: Watched) -> None:
    began = time.time()
    time.sleep(minutes(20))  # four times the five minutes that were asked for
    assert watched.fired(began) == set()


@pytest.mark.usefixtures("people")
def test_a_slow_candidate_is_told_and_clears(watched: Watched) -> None:
    watched.line.faults.delays[2] = 0.08
    seen = watched.until(lambda firing: firing == {"HeadwayCandidateWorse"}, minutes(12) + 10)
    assert seen == {"HeadwayCandidateWorse"}
    watched.line.faults.delays.clear()
    watched.until(lambda firing: not firing, minutes(12) + 10)
    write_routes(watched.line.repository.root, HEAD)


@pytest.mark.usefixtures("people")
def test_a_held_rollout_is_told_and_clears(watched: Watched) -> None:
    began = time.time()
    held = watched.line.rollout("start", "--version", "2", "--shadow", "0", "--interval", "1", "--patience", "1",
                                "--min-samples", "100000")  # fmt: skip
    try:
        assert held.returncode == 4, (held.stdout, held.stderr)
        watched.until(lambda firing: firing == {"HeadwayRolloutHeld"}, minutes(5) + 10)
    finally:
        assert watched.line.rollout("abort").returncode == 0
    watched.until(lambda firing: not firing, minutes(5) + 10)
    assert watched.fired(began) == {"HeadwayRolloutHeld"}


@pytest.mark.usefixtures("people")
def test_a_shadow_that_disagrees_is_told_and_clears(watched: Watched) -> None:
    began = time.time()
    write_routes(watched.line.repository.root, HEAD, shadow=3)
    watched.until(lambda firing: firing == {"HeadwayCandidateWorse"}, minutes(12) + 10)
    write_routes(watched.line.repository.root, HEAD)
    watched.until(lambda firing: not firing, minutes(12) + 10)
    assert watched.fired(began) == {"HeadwayCandidateWorse"}


@pytest.mark.usefixtures("people")
def test_a_refused_routes_file_is_told_and_clears(watched: Watched) -> None:
    began = time.time()
    with stopped_writing(watched.line.repository.root / "routes.json", "{"):
        watched.until(lambda firing: firing == {"HeadwayRoutesRefused"}, minutes(1) + 10)
    watched.until(lambda firing: not firing, minutes(1) + 10)
    assert watched.fired(began) == {"HeadwayRoutesRefused"}


@pytest.mark.usefixtures("people")
def test_a_flood_burns_the_budget_and_clears(watched: Watched) -> None:
    began = time.time()
    with Flood(watched.line):
        seen = watched.until(lambda firing: "HeadwayAvailabilityBudgetBurn" in firing, minutes(5) + 15)
    # What fires for a moment may lie between two evaluations that are asked for afterwards.
    assert seen | watched.fired(began) <= BURNT


@pytest.mark.usefixtures("people")
def test_a_version_that_cannot_be_loaded_is_told(watched: Watched) -> None:
    began = time.time()
    broken = publish_changed(watched.line.repository, HEAD, without_variables)
    config = watched.line.repository.root / "models.config"
    named = re.sub(r"versions: 3\b", f"versions: 3 versions: {broken}", config.read_text())
    assert named != config.read_text()
    with stopped_writing(config, named):
        watched.until(lambda firing: "HeadwayVersionLoadFailed" in firing, minutes(1) + 20)
    # It stays until the model server forgets it: a failed load is the version's last state, as in TensorFlow Serving.
    assert watched.fired(began) <= {"HeadwayVersionLoadFailed"} | BURNT


@pytest.mark.usefixtures("people")
def test_a_model_server_that_is_killed_is_told_and_pages_clear(watched: Watched) -> None:
    began = time.time()
    server: psutil.Process = watched.line.other.child("headway_serving.modelserver")
    server.kill()
    watched.until(lambda firing: "HeadwayModelServerAway" in firing, minutes(1) + 10)
    assert watched.fired(began) <= {"HeadwayModelServerAway", "HeadwayVersionLoadFailed"} | BURNT
    # The tickets about three days stay until six hours have passed, which are three minutes here.
    pages = {"HeadwayModelServerAway", "HeadwayAvailabilityBudgetBurn", "HeadwayLatencyBudgetBurn"}
    pages |= {"HeadwayVersionLoadFailed"}
    watched.until(lambda firing: not firing & pages, minutes(40) + 30)


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("query", QUERIES)
def test_every_question_has_its_answer(watched: Watched, query: str) -> None:
    if "headway_token_requests_total" in query:
        pytest.skip("this gateway asks for no tokens; tests/integration/gateway/test_tokens.py counts them")
    assert watched.answers(query)


BOARD_QUERIES = [(board.name, panel.title, query) for board in BOARDS for panel in board.panels()
                 for query in panel.queries]  # fmt: skip


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(("board", "panel", "query"), BOARD_QUERIES, ids=lambda each: str(each)[:30])
def test_every_panel_has_data(watched: Watched, board: str, panel: str, query: Query) -> None:
    assert watched.answers(in_one_place(query.expr, "10s")), (board, panel)


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_a_board_is_drawn_for_the_documentation(watched: Watched, board: Board, tmp_path: Path) -> None:
    """``make pictures`` keeps them."""
    folder = Path(os.environ.get("HEADWAY_BOARD_PICTURES", tmp_path))
    draw(board, watched.prometheus, watched.began, time.time(), "5s", folder / f"{board.name}.png")
    assert 10_000 < (folder / f"{board.name}.png").stat().st_size < 150_000
