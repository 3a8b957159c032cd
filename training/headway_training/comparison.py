"""Runs side by side, with a paired test for whether a difference in accuracy is more than chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from headway_contract.model_repository import ModelRepository
from headway_contract.regular_files import read_regular_file
from headway_training.errors import TrainingError
from headway_training.run_record import RUN_FILE, SCORES_FILE, RunRecord, ScoredPictures

_LEVEL = 0.05


@dataclass(frozen=True, eq=False)
class StoredRun:
    """A published run: ``name`` is MODEL/VERSION."""

    name: str
    record: RunRecord
    pictures: ScoredPictures


@dataclass(frozen=True)
class McNemar:
    """McNemar's exact test of two classifiers on the same ``pictures``.

    ``only_first`` (b): pictures that only the first labels right; ``only_second`` (c): that only the second does.
    ``p``: two-sided; the probability of a split at least as uneven if both were equally good.
    """

    pictures: int
    only_first: int
    only_second: int
    p: float


@dataclass(frozen=True)
class PairedTest:
    """Run ``second`` against ``first``. ``result`` is None where no test is possible; ``verdict`` says it in words."""

    first: str
    second: str
    result: McNemar | None
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """Runs in the order given.

    ``differing_recipe``: dotted recipe field -> its value in each run (None: not in that recipe), for the fields in
    which the runs differ. ``tests``: every further run against the first.
    """

    runs: tuple[StoredRun, ...]
    differing_recipe: Mapping[str, tuple[Any, ...]]
    tests: tuple[PairedTest, ...]


def load_run(repository: ModelRepository, model: str, version: int) -> StoredRun:
    """Read a published run. Raises :class:`TrainingError` where it left no record, or a ``RepositoryError``."""
    folder = repository.path(model, version)
    try:
        record = RunRecord.from_json(read_regular_file(folder / RUN_FILE))
    except OSError as error:
        raise TrainingError(
            f"{model}/{version} has no record of its run ({error}); train it again to compare it"
        ) from error
    except TrainingError as error:
        raise TrainingError(f"{folder / RUN_FILE}: {error}") from error
    return StoredRun(f"{model}/{version}", record, ScoredPictures.load(folder / SCORES_FILE))


def compare(runs: Sequence[StoredRun]) -> Comparison:
    """Put one or more runs side by side and test every further one against the first."""
    recipes = [_flattened(run.record.recipe) for run in runs]
    fields = sorted(set().union(*recipes))
    values = {field: tuple(recipe.get(field) for recipe in recipes) for field in fields}
    return Comparison(
        runs=tuple(runs),
        differing_recipe={field: row for field, row in values.items() if any(value != row[0] for value in row)},
        tests=tuple(paired_test(runs[0], run) for run in runs[1:]),
    )


def paired_test(first: StoredRun, second: StoredRun) -> PairedTest:
    """McNemar's test on the pictures that are in both test splits, matched by identity."""
    obstacle = _classes_differ(first, second)
    if obstacle is None:
        rows_first, rows_second = _shared_rows(first.pictures, second.pictures)
        obstacle = _pictures_differ(first, second, rows_first, rows_second)
    if obstacle is not None:
        return PairedTest(first.name, second.name, None, f"no test: {obstacle}")
    right_first, right_second = _right(first.pictures)[rows_first], _right(second.pictures)[rows_second]
    result = mcnemar(right_first, right_second)
    return PairedTest(first.name, second.name, result, _verdict(first.name, second.name, result))


def mcnemar(first_right: NDArray[np.bool_], second_right: NDArray[np.bool_]) -> McNemar:
    """The exact test on whether each of N pictures (``bool[N]``, the same in both) was labelled right.

    Under the hypothesis of equal accuracy, of the pictures that only one labels right each is as likely to be the
    one's as the other's: b ~ Binomial(b + c, 1/2).

    Source: Q. McNemar, Note on the sampling error of the difference between correlated proportions or percentages,
    Psychometrika 12 (1947); the binomial probability itself instead of its chi-squared approximation.
    """
    b = int(np.count_nonzero(first_right & ~second_right))
    c = int(np.count_nonzero(second_right & ~first_right))
    p = float(binomtest(b, b + c).pvalue) if b + c else 1.0
    return McNemar(len(first_right), b, c, p)


def _verdict(first: str, second: str, result: McNemar) -> str:
    if result.p >= _LEVEL:
        return f"{first} and {second} are not distinguishable on these pictures"
    better = first if result.only_first > result.only_second else second
    return f"{better} is better: the difference is real at 5 %"


def _classes_differ(first: StoredRun, second: StoredRun) -> str | None:
    odd = sorted(set(first.record.classes) ^ set(second.record.classes))
    return f"the classes differ ({', '.join(odd[:10])})" if odd else None


def _pictures_differ(
    first: StoredRun, second: StoredRun, rows_first: NDArray[np.intp], rows_second: NDArray[np.intp]
) -> str | None:
    if not len(rows_first):
        return "the test splits have no picture in common"
    labels_first = np.array(first.record.classes)[first.pictures.labels[rows_first]]
    labels_second = np.array(second.record.classes)[second.pictures.labels[rows_second]]
    conflicts = int(np.count_nonzero(labels_first != labels_second))
    return f"{conflicts} of the shared pictures have another true class in the other run" if conflicts else None


def _shared_rows(first: ScoredPictures, second: ScoredPictures) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    _, rows_first, rows_second = np.intersect1d(first.identities, second.identities, return_indices=True)
    return rows_first, rows_second


def _right(pictures: ScoredPictures) -> NDArray[np.bool_]:
    right: NDArray[np.bool_] = pictures.scores.argmax(axis=1) == pictures.labels
    return right


def _flattened(recipe: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"fitting": {"epochs": 3}}`` -> ``{"fitting.epochs": 3}``."""
    flat: dict[str, Any] = {}
    for key, value in recipe.items():
        if isinstance(value, Mapping):
            flat |= _flattened(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
