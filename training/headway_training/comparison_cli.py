"""``headway compare``: published runs side by side."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from headway_contract.errors import ContractError
from headway_contract.model_repository import ModelRepository
from headway_training.comparison import Comparison, PairedTest, StoredRun, compare, load_run
from headway_training.errors import TrainingError

_WIDTH = 160  # of a file or a pipe, which has none
_FIGURES: tuple[tuple[str, Callable[[StoredRun], str]], ...] = (
    ("accuracy", lambda run: f"{run.record.evaluation.accuracy.value:.4f}"),
    (
        "95 % interval",
        lambda run: f"{run.record.evaluation.accuracy.low:.4f}-{run.record.evaluation.accuracy.high:.4f}",
    ),
    ("test pictures", lambda run: f"{run.record.evaluation.accuracy.samples:,}"),
    ("log loss", lambda run: f"{run.record.evaluation.log_loss:.4f}"),
    ("calibration error", lambda run: f"{run.record.evaluation.ece:.4f}"),
    ("seconds", lambda run: f"{run.record.total_seconds:.1f}"),
    ("parameters", lambda run: f"{run.record.parameters:,}"),
    ("trained parameters", lambda run: f"{run.record.trainable_parameters:,}"),
    ("epochs", lambda run: " + ".join(str(len(phase.loss)) for phase in run.record.phases)),
)


def compare_main(argv: Sequence[str]) -> int:
    """``headway compare RUN...``. Exit codes: 0, or 2 for a run that is not there or cannot be read."""
    parser = argparse.ArgumentParser(
        prog="headway compare",
        description="Put published runs side by side and test every further one against the first (McNemar).",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="MODEL (its newest version) or MODEL/VERSION")
    parser.add_argument(
        "--repository", type=Path, default=Path("models"), help="where the models are (default: models)"
    )
    arguments = parser.parse_args(argv)
    try:
        repository = ModelRepository(arguments.repository)
        comparison = compare([_load(repository, name) for name in arguments.runs])
    except (TrainingError, ContractError) as error:
        sys.stderr.write(f"headway compare: {error}\n")
        return 2
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = _WIDTH
    _show(comparison, console)
    return 0


def _load(repository: ModelRepository, name: str) -> StoredRun:
    model, separator, number = name.partition("/")
    if separator and not (number.isascii() and number.isdecimal()):
        raise TrainingError(f"{name!r} is neither MODEL nor MODEL/VERSION")
    return load_run(repository, model, int(number) if separator else repository.latest(model))


def _show(comparison: Comparison, console: Console) -> None:
    table = Table(box=SIMPLE, show_edge=False)
    table.add_column("")
    for run in comparison.runs:
        table.add_column(run.name, justify="right", overflow="fold")
    for label, figure in _FIGURES:
        table.add_row(label, *(figure(run) for run in comparison.runs))
    if comparison.differing_recipe:
        table.add_section()
    for field, values in comparison.differing_recipe.items():
        table.add_row(field, *(_value(value) for value in values))
    console.print(table)
    for test in comparison.tests:
        console.print(_sentence(test), soft_wrap=True)


def _value(value: Any) -> str:
    if value is None:
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _sentence(test: PairedTest) -> str:
    if test.result is None:
        return f"{test.first} against {test.second}: {test.verdict}."
    result = test.result
    return (
        f"{test.verdict}: of {result.pictures:,} shared test pictures only {test.first} labels {result.only_first:,} "
        f"right and only {test.second} {result.only_second:,} (McNemar, exact, p = {result.p:.2g})."
    )
