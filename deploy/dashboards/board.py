"""A board as values: rows of panels, each a question with its queries."""

from collections.abc import Iterator
from dataclasses import dataclass

VERSIONS = 'model=~"$model",version=~"$version"'
"""The selection of the board's variables, for metrics that know the version."""

MODELS = 'model=~"$model"'
"""The same for metrics that only know the model."""

WINDOW = "$__rate_interval"


@dataclass(frozen=True)
class Query:
    """``expr``: PromQL with the board's variables. ``legend``: Grafana's template of a series' name."""

    expr: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """A graph. ``unit``: Grafana's name of it. ``limits``: where the colour turns to orange, and to red if two."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    limits: tuple[float, ...] = ()
    stacked: bool = False


@dataclass(frozen=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Board:
    """``name``: of its file and its address."""

    name: str
    title: str
    description: str
    rows: tuple[Row, ...]

    def panels(self) -> Iterator[Panel]:
        """Every panel, in the order of reading."""
        for row in self.rows:
            yield from row.panels


def in_one_place(expr: str, window: str) -> str:
    """The query as Prometheus takes it: for all models and versions, over ``window`` (such as ``1m``)."""
    return expr.replace(WINDOW, window).replace("$model", ".*").replace("$version", ".*")
