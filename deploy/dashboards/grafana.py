"""Boards as Grafana's JSON, made with its own SDK.

``python -m deploy.dashboards.grafana`` writes ``deploy/grafana/*.json``; a test compares.
"""

from grafana_foundation_sdk.builders.common import GraphThresholdsStyleConfig, StackingConfig
from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DatasourceVariable,
    QueryVariable,
    ThresholdsConfig,
)
from grafana_foundation_sdk.builders.dashboard import Row as GrafanaRow
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.timeseries import Panel as Timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import GraphThresholdsStyleMode, StackingMode
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)

from deploy.dashboards.board import Board, Panel
from deploy.dashboards.boards import BOARDS
from headway_contract.durable_files import write_atomically
from headway_serving.commands.dashboard import FOLDER

_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
_COLOURS = ("orange", "red")
_HEIGHT = 8
_IN_A_ROW = 3


def text(board: Board) -> str:
    """The board as Grafana imports it."""
    builder = (
        Dashboard(board.title).uid(f"headway-{board.name}").description(board.description).tags(["headway"])
        .refresh("30s").time("now-1h", "now").editable()
        .with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(_variable("model", "label_values(headway_requests_total, model)"))
        .with_variable(_variable("version", 'label_values(headway_requests_total{model=~"$model"}, version)'))
    )  # fmt: skip
    number = 0
    for row in board.rows:
        builder = builder.with_row(GrafanaRow(row.title))
        for panel in row.panels:
            number += 1
            made = _panel(panel, 24 // min(_IN_A_ROW, len(row.panels))).id(number)
            builder = builder.with_panel(made)
    return JSONEncoder(sort_keys=True, indent=2).encode(builder.build()) + "\n"


def _variable(name: str, query: str) -> QueryVariable:
    return (
        QueryVariable(name).label(name.capitalize()).datasource(_SOURCE).query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).multi(True).include_all(True).all_value(".*")
    )  # fmt: skip


def _panel(panel: Panel, width: int) -> Timeseries:
    steps = [Threshold(value=None, color="green")]
    steps += [Threshold(value=limit, color=colour) for limit, colour in zip(panel.limits, _COLOURS, strict=False)]
    made = (
        Timeseries().title(panel.title).description(panel.description).unit(panel.unit).min(0)
        .datasource(_SOURCE).span(width).height(_HEIGHT).line_width(1)
        .thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    )  # fmt: skip
    if panel.limits:
        made = made.thresholds_style(GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
    if panel.stacked:
        made = made.stacking(StackingConfig().mode(StackingMode.NORMAL)).fill_opacity(20)
    for number, query in enumerate(panel.queries):
        target = Dataquery().expr(query.expr).legend_format(query.legend).ref_id(chr(ord("A") + number))
        made = made.with_target(target.datasource(_SOURCE))
    return made


if __name__ == "__main__":
    for each in BOARDS:
        write_atomically(FOLDER / f"{each.name}.json", text(each).encode())
