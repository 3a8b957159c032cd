"""The figures of runs that ``make reproduce`` keeps beside the page, so that a row is not lost with its repository."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from headway_contract.durable_files import write_atomically
from headway_training.run_record import RunRecord


@dataclass(frozen=True)
class Depth:
    """One depth of a sweep; ``depth`` 0 is the frozen base."""

    depth: int
    trained: int
    accuracy: float
    seconds: float


@dataclass(frozen=True)
class RunFigures:
    """One run of one recipe. Accuracies are of the whole test split; ``low`` and ``high`` their 95 % Wilson interval.

    ``epochs``: after each epoch on the validation data, in recipes as published the test pictures. ``training``: in the
    last epoch, on training pictures with dropout. ``fit_seconds``, ``cpu_seconds``: of the first phase of the fit.
    ``epoch_seconds``: of its median epoch. ``seconds``: of the whole run. ``measured``: the day.
    """

    recipe: str
    seed: int
    accuracy: float
    low: float
    high: float
    seconds: float
    measured: str
    loss: float | None = None
    training: float | None = None
    epochs: tuple[float, ...] = ()
    fit_seconds: float | None = None
    cpu_seconds: float | None = None
    epoch_seconds: float | None = None
    base: str | None = None
    others: dict[str, float] = field(default_factory=dict)
    depths: tuple[Depth, ...] = ()


@dataclass
class Figures:
    """What the page is made of. ``facts``: title, what the document says, what came out; ``failed``: recipe -> why."""

    runs: list[RunFigures] = field(default_factory=list)
    facts: list[tuple[str, str, str]] = field(default_factory=list)
    again: list[tuple[str, str, str, str]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def of(self, recipe: str | None) -> list[RunFigures]:
        """The runs of a recipe, by seed."""
        return sorted((run for run in self.runs if run.recipe == recipe), key=lambda run: run.seed)

    def put(self, run: RunFigures) -> None:
        """Take a run's figures instead of those of the same recipe and seed."""
        self.runs = [other for other in self.runs if (other.recipe, other.seed) != (run.recipe, run.seed)] + [run]

    def write(self, path: Path) -> None:
        """Replace the file, a run a line."""
        self.runs.sort(key=lambda run: (run.recipe, run.seed))
        parts = asdict(self)
        texts = [f"  {json.dumps(key)}: {_lines(value)}" for key, value in parts.items()]
        write_atomically(path, ("{\n" + ",\n".join(texts) + "\n}\n").encode())

    @classmethod
    def read(cls, path: Path) -> "Figures":
        """Read what :meth:`write` wrote; nothing where there is no file."""
        if not path.exists():
            return cls()
        parts = json.loads(path.read_text(encoding="utf-8"))
        runs = [
            RunFigures(
                **{**run, "epochs": tuple(run["epochs"]), "depths": tuple(Depth(**each) for each in run["depths"])}
            )
            for run in parts["runs"]
        ]
        facts, again = ([tuple(row) for row in parts[name]] for name in ("facts", "again"))
        return cls(runs, facts, again, parts["failed"])


def figures_of(record: RunRecord) -> RunFigures:
    """What the page needs of a run's record."""
    phase, accuracy = record.phases[0], record.evaluation.accuracy
    return RunFigures(
        recipe=record.model,
        seed=record.seed,
        accuracy=accuracy.value,
        low=round(accuracy.low, 4),
        high=round(accuracy.high, 4),
        seconds=round(record.total_seconds, 1),
        measured=record.created[:10],
        loss=round(record.evaluation.log_loss, 4),
        training=round(phase.accuracy[-1], 4),
        epochs=_rounded(phase.validation_accuracy),
        fit_seconds=round(phase.seconds, 1),
        cpu_seconds=None if phase.cpu_seconds is None else round(phase.cpu_seconds, 1),
        epoch_seconds=round(phase.median_epoch_seconds, 2),
        base=None if record.base is None else record.base.model,
        others={other.dataset: round(other.accuracy.value, 4) for other in record.other_tests},
        depths=tuple(
            Depth(point.depth, point.trainable_parameters, round(point.test_accuracy.value, 4), round(point.seconds, 1))
            for point in record.sweep
        ),
    )


def _rounded(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(value, 4) for value in values)


def _lines(value: Any) -> str:
    if isinstance(value, dict):
        return json.dumps(value)
    rows = ",\n".join(f"    {json.dumps(row)}" for row in value)
    return f"[\n{rows}\n  ]" if rows else "[]"
