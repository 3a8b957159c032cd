"""Pictures of the boards for the documentation, drawn from the same queries; Grafana itself is not needed."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from deploy.dashboards.board import Board, Panel, in_one_place

_MOST_SERIES = 8
_INCHES = (4.6, 2.5)
_DOTS_PER_INCH = 64
_COLUMNS = 3
_UNITS = {"reqps": "requests/s", "percentunit": "share", "s": "s", "bytes": "MB", "short": ""}
_LIMIT_COLOURS = ("orange", "red")

Line = tuple[str, Sequence[float], Sequence[float]]


def draw(board: Board, prometheus: str, start: float, end: float, window: str, path: Path) -> None:
    """Write a PNG of the board for that time (Unix seconds); ``window``: of the rates, such as ``10s``."""
    rows = [panels[first : first + _COLUMNS] for row in board.rows for panels in [row.panels]
            for first in range(0, len(panels), _COLUMNS)]  # fmt: skip
    figure = Figure(figsize=(_INCHES[0] * _COLUMNS, _INCHES[1] * len(rows)), dpi=_DOTS_PER_INCH, layout="constrained")
    figure.suptitle(board.title, fontsize=13, fontweight="bold")
    grid = figure.add_gridspec(len(rows), _COLUMNS * 2)
    for number, panels in enumerate(rows):
        width = _COLUMNS * 2 // len(panels)
        for place, panel in enumerate(panels):
            axes = figure.add_subplot(grid[number, place * width : (place + 1) * width])
            _panel(axes, panel, _lines(panel, prometheus, start, end, window))
    FigureCanvasAgg(figure).print_png(str(path))


def _panel(axes: Axes, panel: Panel, lines: Sequence[Line]) -> None:
    scale = 1e6 if panel.unit == "bytes" else 1.0
    for name, times, values in lines[:_MOST_SERIES]:
        axes.plot(times, [value / scale for value in values], linewidth=1.2, label=name[:44])
    top = max((value for _, _, values in lines for value in values if math.isfinite(value)), default=0.0)
    for limit, colour in zip(panel.limits, _LIMIT_COLOURS, strict=False):
        if limit <= 1.5 * top:
            axes.axhline(limit, color=colour, linewidth=0.8, linestyle="--")
    axes.set_title(panel.title, fontsize=9, loc="left")
    axes.set_ylabel(_UNITS[panel.unit], fontsize=7)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25)
    if lines:
        axes.legend(fontsize=6, loc="upper left", framealpha=0.6)


def _lines(panel: Panel, prometheus: str, start: float, end: float, window: str) -> list[Line]:
    found = []
    for query in panel.queries:
        parameters = {"query": in_one_place(query.expr, window), "start": str(start), "end": str(end), "step": "0.5"}
        answer = httpx.get(f"{prometheus}/api/v1/query_range", params=parameters, timeout=10).json()
        if answer["status"] != "success":
            raise ValueError(f"{panel.title}: Prometheus refuses {query.expr}: {answer.get('error')}")
        found += [_line(query.legend, each, start) for each in answer["data"]["result"]]
    return sorted(found, key=lambda line: -max((value for value in line[2] if math.isfinite(value)), default=0.0))


def _line(legend: str, series: Mapping[str, Any], start: float) -> Line:
    name = legend
    values = [float(value) for _, value in series["values"]]
    for label, value in series["metric"].items():
        name = name.replace("{{" + label + "}}", value)
    name = re.sub(r"\{\{\w+\}\}", "", name)
    return name, [float(at) - start for at, _ in series["values"]], values
