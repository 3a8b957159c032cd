"""Run every experiment of the source tutorials, as published and improved, and write ``docs/reproduced.md``.

Run by ``make reproduce``. Each recipe and seed is a run of ``headway train`` of its own; one that was run before with
the same recipe is not run again, so that an interrupted reproduction continues where it stopped. The figures of all
runs are kept in ``docs/reproduced.json``; ``--only`` renews those of one document.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headway_contract.durable_files import write_atomically
from headway_contract.errors import ContractError
from headway_contract.model_repository import ModelRepository
from headway_training.comparison import load_run, paired_test
from headway_training.datasets import load_splits
from headway_training.errors import TrainingError
from headway_training.recipe import Recipe
from headway_training.recipe_files import load_recipe
from headway_training.run_record import RUN_FILE, SCORES_FILE, RunRecord, ScoredPictures
from scripts.published_figures import EXPERIMENTS, RANDOM_WEIGHTS, Experiment
from scripts.reproduced_page import missed, page
from scripts.run_figures import Figures, figures_of

HEADWAY = [sys.executable, "-m", "headway_client.cli"]
WITHOUT_A_NETWORK = "densenet121-as-published"
"""Needs weights that are downloaded, or a file (``--densenet-weights``)."""

WALKED_THROUGH = "mnist-as-published"
REPEATED = "mnist-0to4"


@dataclass(frozen=True)
class Place:
    """Where runs are kept, the data they read, and DenseNet121's weights file, if any."""

    folder: Path
    data_dir: Path | None
    densenet_weights: str | None

    def repository(self, seed: int) -> ModelRepository:
        """A repository for each seed: a head finds the base of its own seed there."""
        return ModelRepository(self.folder / f"seed-{seed}" / "models")

    def recipe(self, name: str, seed: int) -> tuple[list[str], Recipe]:
        """The recipe's name and overrides as ``headway train`` takes them, and what they make."""
        overrides = [f"seed={seed}"]
        if name == RANDOM_WEIGHTS:
            overrides += [f"name={name}", f"weights={self.folder / 'densenet121-random.weights.h5'}"]
            name = WITHOUT_A_NETWORK
        elif name == WITHOUT_A_NETWORK and self.densenet_weights:
            overrides.append(f"weights={self.densenet_weights}")
        return [name, *(part for override in overrides for part in ("--set", override))], load_recipe(name, overrides)


def main() -> int:
    """Reproduce everything. Exit codes: 0; 1 when a bar is missed or a run failed that can run on this machine."""
    arguments = _arguments()
    rows = [row for row in EXPERIMENTS if arguments.only in (None, row.document)]
    data_dir = os.environ.get("HEADWAY_DATA_DIR")
    place = Place(arguments.folder, Path(data_dir) if data_dir else None, arguments.densenet_weights)
    kept = arguments.out.with_suffix(".json")
    figures = Figures.read(kept)
    for seed in range(1, arguments.seeds + 1):
        for name in _recipes(rows, improved=not arguments.as_published):
            if arguments.train_nothing:
                _take_up(name, seed, place, figures)
            else:
                _measure(name, seed, place, figures)
            _write(figures, kept, arguments.out)
    if not arguments.train_nothing:
        _look_closer(rows, place, arguments, figures)
    _write(figures, kept, arguments.out)
    print(page(figures))
    return 1 if missed(figures, rows) or set(figures.failed) - {WITHOUT_A_NETWORK} else 0


def _look_closer(rows: Sequence[Experiment], place: Place, arguments: argparse.Namespace, figures: Figures) -> None:
    """What is more than an accuracy: document 000 step by step, the predictions of 003, the same seed twice."""
    if any(row.as_published == WALKED_THROUGH for row in rows):
        _walk_through(place, arguments.out.parent / "pictures", figures)
    if any(row.as_published == RANDOM_WEIGHTS for row in rows):
        _predictions(place, arguments.folder / "predictions.png")
    if not arguments.as_published and any(row.improved == REPEATED for row in rows):
        figures.again = _repeated(place)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(".reproduce"), help="repositories of the runs")
    parser.add_argument("--out", type=Path, default=Path("docs/reproduced.md"), help="the page; figures lie beside it")
    parser.add_argument("--only", help="run only rows of this document, such as 001")
    parser.add_argument("--seeds", type=int, default=3, help="seeds for each recipe, from 1")
    parser.add_argument("--as-published", action="store_true", help="leave the improved recipes' figures as they are")
    parser.add_argument("--train-nothing", action="store_true", help="only take the figures of runs that are there")
    parser.add_argument("--densenet-weights", metavar="FILE", help="DenseNet121's ImageNet weights, else downloaded")
    return parser.parse_args()


def _write(figures: Figures, kept: Path, out: Path) -> None:
    figures.write(kept)
    write_atomically(out, page(figures).encode())


def _recipes(rows: Sequence[Experiment], *, improved: bool) -> list[str]:
    """Every recipe once, each base before what stands on it."""
    built = {name for row in EXPERIMENTS for name in (row.as_published, row.improved) if name is not None}
    order: list[str] = []

    def add(name: str) -> None:
        base = None if name == RANDOM_WEIGHTS else load_recipe(name).base
        if base in built:
            add(base)
        if name not in order:
            order.append(name)

    for row in rows:
        for name in (row.as_published, row.improved if improved else None):
            if name is not None:
                add(name)
    return order


def _measure(name: str, seed: int, place: Place, figures: Figures) -> None:
    """Train unless this very recipe was, and keep the figures or the reason why there are none."""
    repository = place.repository(seed)
    arguments, recipe = place.recipe(name, seed)
    print(f"\n== {name}, seed {seed}", flush=True)
    if name == RANDOM_WEIGHTS:
        _write_random_weights(Path(recipe.weights))
    if not _take_up(name, seed, place, figures):
        command = [*HEADWAY, "train", *arguments, "--repository", str(repository.root)]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        sys.stderr.write(done.stderr)
        record = _record(repository, name)
        if done.returncode or record is None:
            # A page for everyone: no machine's home folder.
            figures.failed[name] = done.stderr.strip().splitlines()[-1].replace(str(Path.home()), "~")
            return
        _take_up(name, seed, place, figures)
    figures.failed.pop(name, None)


def _take_up(name: str, seed: int, place: Place, figures: Figures) -> bool:
    """Keep the figures of a run of this very recipe, if there is one."""
    record = _record(place.repository(seed), name)
    # As recipes and not as texts: a field that a release added since then has its default in both.
    if record is None or Recipe.model_validate(record.recipe) != place.recipe(name, seed)[1]:
        return False
    figures.put(figures_of(record))
    print(f"   {record.evaluation.accuracy.value:.4f}", flush=True)
    return True


def _record(repository: ModelRepository, name: str) -> RunRecord | None:
    try:
        path = repository.path(name, repository.latest(name)) / RUN_FILE
        return RunRecord.from_json(path.read_bytes())
    except (ContractError, TrainingError, OSError):
        return None


def _write_random_weights(file: Path) -> None:
    """A weights file of DenseNet121 that knows nothing, once."""
    if file.exists():
        return
    import keras  # noqa: PLC0415  # loads TensorFlow: only when the file is not there

    keras.utils.set_random_seed(1)
    file.parent.mkdir(parents=True, exist_ok=True)
    keras.applications.DenseNet121(weights=None, include_top=False, pooling="avg").save_weights(file)


def _walk_through(place: Place, pictures: Path, figures: Figures) -> None:
    from scripts.published_walkthrough import walk_through  # noqa: PLC0415  # loads TensorFlow: only when it is wanted

    repository = place.repository(1)
    version = repository.path(WALKED_THROUGH, repository.latest(WALKED_THROUGH))
    found = walk_through(version, place.data_dir, pictures)
    figures.facts = [(fact.title, fact.published, fact.here) for fact in found]


def _predictions(place: Place, file: Path) -> None:
    """The picture of predictions of document 003: names come from the order of the folders, as the model has them."""
    from scripts.published_walkthrough import grid  # noqa: PLC0415  # loads TensorFlow: only when it is wanted

    repository = place.repository(1)
    recipe = place.recipe(RANDOM_WEIGHTS, 1)[1]
    splits = load_splits(recipe.data, recipe.image_spec(), recipe.seed, place.data_dir)
    path = repository.path(RANDOM_WEIGHTS, repository.latest(RANDOM_WEIGHTS))
    called = ScoredPictures.load(path / SCORES_FILE).scores.argmax(axis=1)
    chosen = np.linspace(0, len(called) - 1, 10).astype(np.intp)
    titles = [f"{splits.classes[splits.test.labels[row]]} called {splits.classes[called[row]]}" for row in chosen]
    grid(list(splits.test.pictures.read(chosen)), titles, file)


def _repeated(place: Place) -> list[tuple[str, str, str, str]]:
    """The same base and head once more, in other processes and an empty repository: the same accuracy?"""
    repository, again = place.repository(1), ModelRepository(place.folder / "again")
    rows: list[tuple[str, str, str, str]] = []
    for name in (str(load_recipe(REPEATED).base), REPEATED):
        command = [*HEADWAY, "train", *place.recipe(name, 1)[0], "--repository", str(again.root)]
        if _record(again, name) is None and subprocess.run(command, check=False).returncode:
            return [*rows, (f"`{name}`", "", "failed", "")]
        runs = [load_run(each, name, each.latest(name)) for each in (repository, again)]
        digests = {each.manifest(name, each.latest(name)).weights_digest for each in (repository, again)}
        first, second = (f"{run.record.evaluation.accuracy.value:.4f}" for run in runs)
        same = "the same" if len(digests) == 1 else f"other weights ({paired_test(runs[0], runs[1]).verdict})"
        rows.append((f"`{name}`", first, second, same))
    return rows


if __name__ == "__main__":
    sys.exit(main())
