"""The boards: as their source says, such as Grafana reads them, and complete."""

import json

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.dashboards.board import Board
from deploy.dashboards.boards import BOARDS
from deploy.dashboards.grafana import text
from headway_serving.commands.dashboard import FOLDER


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_the_file_is_what_its_source_makes(board: Board) -> None:
    assert (FOLDER / f"{board.name}.json").read_text() == text(board), "make monitoring writes it"


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_grafanas_own_types_read_every_key_of_it(board: Board) -> None:
    register_default_plugins()
    document = json.loads(text(board))
    # What the types do not know would be lost on the way.
    assert json.loads(JSONEncoder().encode(Dashboard.from_json(document))) == document


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_every_panel_says_what_it_shows_and_in_which_unit(board: Board) -> None:
    panels = [each for each in json.loads(text(board))["panels"] if each["type"] != "row"]
    assert len({each["id"] for each in panels}) == len({each["title"] for each in panels}) == len(panels)
    for panel in panels:
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert panel["targets"]
        assert all(target["legendFormat"] for target in panel["targets"])
    assert any(len(panel["fieldConfig"]["defaults"]["thresholds"]["steps"]) > 1 for panel in panels)


def test_boards_can_be_asked_for_a_model_and_a_version() -> None:
    for board in BOARDS:
        variables = [each["name"] for each in json.loads(text(board))["templating"]["list"]]
        assert variables == ["datasource", "model", "version"]
