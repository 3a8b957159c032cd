"""Run every experiment of the source tutorials, as published and improved, and write the table ``docs/reproduced.md``.

Run by ``make reproduce``. Each recipe is a run of ``headway train`` of its own; one that was run before with the same
recipe is not run again, so that an interrupted reproduction goes on where it stopped.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headway_contract.durable_files import write_atomically
from headway_contract.errors import ContractError
from headway_contract.model_repository import ModelRepository
from headway_training.comparison import load_run, paired_test
from headway_training.errors import TrainingError
from headway_training.recipe import recipe_mapping
from headway_training.recipe_files import load_recipe
from headway_training.run_record import RUN_FILE, RunRecord

HEADWAY = [sys.executable, "-m", "headway_client.cli"]
REPEATED = "mnist-0to4"


@dataclass(frozen=True)
class Experiment:
    """A row: what the source did and reported, our recipe of it, our improved one, and what that must reach."""

    document: str
    title: str
    published: str
    as_published: str | None
    improved: str | None
    bar: float | None = None


EXPERIMENTS = (
    Experiment("000", "MNIST, ten digits from scratch", "~95 % (train)", "mnist-as-published", "mnist", 0.992),
    Experiment("000", "Fashion-MNIST from scratch", "89 %", "fashion-as-published", "fashion", 0.92),
    Experiment(
        "000", "Fashion head, all but the last layer frozen", "< 89 %", "fashion-head-as-published", "fashion-head"
    ),
    Experiment("000", "Fashion head, then fewer layers frozen", "not reported", None, "fashion-sweep"),
    Experiment("001", "MNIST 5-9, base", "0.7147", "mnist-5to9-as-published", "mnist-5to9", 0.99),
    Experiment("001", "MNIST 0-4, head on it", "0.6908", "mnist-0to4-as-published", "mnist-0to4", 0.995),
    Experiment(
        "002", "Fashion, network A on eight classes", "not reported", "fashion-a-8-classes-as-published",
        "fashion-a-8-classes",
    ),
    Experiment(
        "002", "Sandal or shirt, B from scratch on 200 pictures", "0.498 (one-unit softmax)",
        "sandal-or-shirt-scratch-as-published", "sandal-or-shirt-scratch",
    ),
    Experiment(
        "002", "the same B with a correct sigmoid", "not reported", "sandal-or-shirt-sigmoid-as-published", None
    ),
    Experiment("002", "Sandal or shirt, B on A", "0.9886", "sandal-or-shirt-as-published", "sandal-or-shirt", 0.99),
    Experiment("003", "DenseNet121 (ImageNet), dense head, 96x96", "0.877", "densenet121-as-published", "stl10", 0.95),
    Experiment("003", "ten kinds of clothes, own pictures", "not reported", None, "clothing", 0.83),
    Experiment("004", "Fashion 5-9, base", "0.6614", "fashion-5to9-as-published", "fashion-5to9", 0.93),
    Experiment(
        "004", "Fashion 0-4, head on 5-9", "0.5592", "fashion-0to4-on-5to9-as-published", "fashion-0to4-on-5to9", 0.93
    ),
    Experiment("004", "Fashion 0-4, base", "0.6258", "fashion-0to4-as-published", "fashion-0to4", 0.93),
    Experiment(
        "004", "Fashion 5-9, head on 0-4", "0.6988", "fashion-5to9-on-0to4-as-published", "fashion-5to9-on-0to4", 0.93
    ),
)  # fmt: skip


def main() -> int:
    """Reproduce everything. Exit codes: 0; 1 when a bar is missed or a run failed that can run on this machine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(".reproduce"), help="repositories of the runs")
    parser.add_argument("--out", type=Path, default=Path("docs/reproduced.md"), help="the table")
    parser.add_argument("--only", help="run and show only rows of this document, such as 001")
    arguments = parser.parse_args()
    rows = [row for row in EXPERIMENTS if arguments.only in (None, row.document)]
    repository = ModelRepository(arguments.folder / "models")
    failed: dict[str, str] = {}
    for recipe in _recipes(rows):
        print(f"\n== {recipe}", flush=True)
        problem = _run(recipe, repository)
        if problem:
            failed[recipe] = problem
    page = _Page(rows, repository, failed)
    sections = [page.table(), page.other_tests(), page.sweeps(), page.epochs()]
    if any(row.improved == REPEATED for row in rows):
        sections.append(_repeated(repository, arguments.folder / "again"))
    text = "\n\n".join(part for part in (_heading(), *sections) if part) + "\n"
    write_atomically(arguments.out, text.encode())
    print(text)
    return 1 if page.missed() or set(failed) - {"densenet121-as-published"} else 0


def _recipes(rows: list[Experiment]) -> list[str]:
    """Every recipe once, each base before what stands on it."""
    order: list[str] = []

    def add(name: str) -> None:
        base = load_recipe(name).base
        if base in _BUILT:
            add(base)
        if name not in order:
            order.append(name)

    for row in rows:
        for name in (row.as_published, row.improved):
            if name is not None:
                add(name)
    return order


_BUILT = {name for row in EXPERIMENTS for name in (row.as_published, row.improved) if name is not None}


def _run(name: str, repository: ModelRepository) -> str | None:
    """Train unless this very recipe was; return what went wrong."""
    record = _record(repository, name)
    if record is not None and record.recipe == json.loads(json.dumps(recipe_mapping(load_recipe(name)))):
        print(f"   as before: {record.evaluation.accuracy.value:.4f}", flush=True)
        return None
    command = [*HEADWAY, "train", name, "--repository", str(repository.root)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    sys.stderr.write(done.stderr)
    return None if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def _record(repository: ModelRepository, name: str) -> RunRecord | None:
    try:
        path = repository.path(name, repository.latest(name)) / RUN_FILE
        return RunRecord.from_json(path.read_bytes())
    except (ContractError, TrainingError, OSError):
        return None


class _Page:
    """The parts of the page, from the records of the runs."""

    def __init__(self, rows: list[Experiment], repository: ModelRepository, failed: dict[str, str]) -> None:
        self._rows, self._failed = rows, failed
        names = {name for row in rows for name in (row.as_published, row.improved) if name}
        found = {name: _record(repository, name) for name in sorted(names - set(failed))}
        self._records = {name: record for name, record in found.items() if record is not None}

    def missed(self) -> list[str]:
        """Improved recipes that are below their bar."""
        return [
            row.improved
            for row in self._rows
            if row.improved and row.bar and not self._accuracy(row.improved) >= row.bar
        ]

    def table(self) -> str:
        """Published, as published, improved."""
        lines = [
            "| Document | Experiment | Published | As published, here | Improved | Must reach |",
            "|---|---|---|---|---|---|",
        ]
        for row in self._rows:
            bar = "" if row.bar is None else f"{row.bar:g}: {self._reached(row)}"
            cells = (
                row.document,
                row.title,
                row.published,
                self._cell(row.as_published),
                self._cell(row.improved),
                bar,
            )
            lines.append(f"| {' | '.join(cells)} |")
        # A page for everyone: no machine's home folder.
        home = str(Path.home())
        notes = [f"- `{name}` could not run here: {text.replace(home, '~')}" for name, text in self._failed.items()]
        return "\n".join([*lines, "", *notes]).rstrip()

    def _reached(self, row: Experiment) -> str:
        if row.improved not in self._records:
            return "not run"
        return "**no**" if row.improved in self.missed() else "yes"

    def other_tests(self) -> str:
        """Models applied unchanged to another dataset."""
        lines = [
            f"| `{name}` | {other.dataset} | {_shown(other.accuracy)} |"
            for name, record in self._records.items()
            for other in record.other_tests
        ]
        head = ["## Applied unchanged to another test set", "", "| Model | Test set | Accuracy |", "|---|---|---|"]
        return "\n".join([*head, *lines]) if lines else ""

    def sweeps(self) -> str:
        """Where and how deep to fine-tune."""
        parts = []
        for name, record in self._records.items():
            if not record.sweep:
                continue
            lines = [
                f"| {point.depth} | {point.trainable_parameters:,} | {point.validation_accuracy:.4f} "
                f"| {_shown(point.test_accuracy)} | {point.seconds:.1f} | {point.epoch_seconds:.2f} |"
                for point in record.sweep
            ]
            heading = (
                f"## How deep to fine-tune: `{name}`\n\nDepth: how many of the base's last layers with weights are "
                "trained beside the head; 0 is the frozen base.\n\n"
                "| Depth | Trained parameters | Validation | Test (95 % interval) | Seconds | Seconds an epoch |\n"
                "|---|---|---|---|---|---|"
            )
            parts.append("\n".join([heading, *lines]))
        return "\n\n".join(parts)

    def epochs(self) -> str:
        """Heads against the bases they stand on."""
        lines = []
        for name, record in self._records.items():
            if record.base is None or record.base_epoch_seconds is None:
                continue
            own = record.phases[0].median_epoch_seconds
            lines.append(
                f"| `{name}` | `{record.base.model}` | {own:.2f} | {record.base_epoch_seconds:.2f} "
                f"| {record.base_epoch_seconds / own:.1f} |"
            )
        head = [
            "## An epoch of a head against an epoch of its base",
            "",
            "| Head | Base | Seconds, head | Seconds, base | Times faster |",
            "|---|---|---|---|---|",
        ]
        return "\n".join([*head, *lines]) if lines else ""

    def _accuracy(self, name: str) -> float:
        record = self._records.get(name)
        return record.evaluation.accuracy.value if record else float("nan")

    def _cell(self, name: str | None) -> str:
        if name is None:
            return ""
        record = self._records.get(name)
        if record is None:
            return f"`{name}`: not run"
        return f"{_shown(record.evaluation.accuracy)}, {record.total_seconds:.0f} s, `{name}`"


def _repeated(repository: ModelRepository, folder: Path) -> str:
    """The same base and head once more, in other processes and an empty repository: the same accuracy?"""
    base = load_recipe(REPEATED).base
    again = ModelRepository(folder)
    lines = ["## The same seed twice", "", "| Recipe | First | Again | Weights |", "|---|---|---|---|"]
    for name in (str(base), REPEATED):
        problem = _run(name, again)
        if problem:
            return "\n".join([*lines, f"| `{name}` | | {problem} | |"])
        runs = [load_run(each, name, each.latest(name)) for each in (repository, again)]
        digests = {each.manifest(name, each.latest(name)).weights_digest for each in (repository, again)}
        first, second = (run.record.evaluation.accuracy.value for run in runs)
        differing = paired_test(runs[0], runs[1]).verdict
        same = "the same" if len(digests) == 1 else f"other weights ({differing})"
        lines.append(f"| `{name}` | {first:.4f} | {second:.4f} | {same} |")
    return "\n".join(lines)


def _heading() -> str:
    return (
        "# The tutorials' experiments, reproduced\n\n"
        f"Written by `make reproduce` on {os.cpu_count()} cores, Python {platform.python_version()}. Accuracy is of "
        "the whole test split, with its 95 % Wilson interval; seconds are the run's wall time from reading the data "
        "to the evaluated model, on a machine that other work may have shared. `headway recipes show NAME` prints a "
        "recipe, `headway train NAME` runs it, and each run leaves a report with curves, confusion matrix, galleries."
    )


def _shown(accuracy: Any) -> str:
    return f"**{accuracy.value:.4f}** ({accuracy.low:.4f}-{accuracy.high:.4f})"


if __name__ == "__main__":
    sys.exit(main())
