"""``headway train``, ``headway recipes`` and ``headway samples``."""

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from headway_contract.durable_files import write_atomically
from headway_contract.errors import ContractError, ModelMissing
from headway_contract.model_repository import ModelRepository
from headway_contract.preprocessing import encode_png
from headway_training.errors import TrainingError
from headway_training.recipe import Recipe, base_version, builtin_recipes, load_recipe, recipe_text

if TYPE_CHECKING:
    from headway_training import pipeline


def train_main(argv: Sequence[str]) -> int:
    """``headway train RECIPE...``: run recipes in order and publish each. Exit codes: 0, or 2 for a refused input."""
    parser = argparse.ArgumentParser(
        prog="headway train", description="Train models by recipe and publish them to a repository."
    )
    parser.add_argument("recipes", nargs="+", metavar="RECIPE", help="a built-in recipe's name or a .toml file")
    parser.add_argument("--repository", type=Path, default=Path("models"), help="where to publish (default: models)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
        help="change a field of every recipe given, such as fitting.epochs=3; may be repeated",
    )  # fmt: skip
    arguments = parser.parse_args(argv)
    return _guarded("train", lambda: _train(arguments.recipes, arguments.overrides, arguments.repository))


def recipes_main(argv: Sequence[str]) -> int:
    """``headway recipes``: list the built-in recipes; ``headway recipes show NAME`` prints one with every field."""
    parser = argparse.ArgumentParser(prog="headway recipes", description="List the built-in recipes, or show one.")
    verbs = parser.add_subparsers(dest="verb")
    verbs.add_parser("list", help="names and what they train")
    show = verbs.add_parser("show", help="the recipe's text and every field with its value")
    show.add_argument("recipe", metavar="RECIPE")
    arguments = parser.parse_args(argv)
    if arguments.verb == "show":
        return _guarded("recipes", lambda: _show(arguments.recipe))
    return _guarded("recipes", _list)


def samples_main(argv: Sequence[str]) -> int:
    """``headway samples RECIPE``: write pictures that the recipe's model has not been trained on, as PNG files."""
    parser = argparse.ArgumentParser(
        prog="headway samples",
        description="Write test pictures of a recipe, named LABEL-NUMBER.png, class by class in turn.",
    )
    parser.add_argument("recipe", metavar="RECIPE")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write to; made if absent")
    parser.add_argument("--count", type=_positive, default=10, help="how many pictures (default: 10)")
    parser.add_argument(
        "--repository",
        type=Path,
        default=Path("models"),
        help="for a head: where its base is (default: models)",
    )
    arguments = parser.parse_args(argv)
    return _guarded("samples", lambda: _samples(arguments.recipe, arguments.out, arguments.count, arguments.repository))


def _guarded(verb: str, action: Callable[[], None]) -> int:
    try:
        action()
    except (TrainingError, ContractError, OSError) as error:
        sys.stderr.write(f"headway {verb}: {error}\n")
        return 2
    return 0


def _train(names: Sequence[str], overrides: Sequence[str], root: Path) -> None:
    # Every recipe is read before the first is run: a typing error in the last must not cost the others' time.
    recipes = [load_recipe(name, overrides) for name in names]
    repository = ModelRepository(root)
    _check_bases(recipes, repository)
    # A place that cannot be written to is found now, and not when there is something to publish.
    if root.exists() and not root.is_dir():
        raise TrainingError(f"--repository {root} is a file; name a folder to publish to")
    root.mkdir(parents=True, exist_ok=True)
    console = Console(soft_wrap=True, highlight=False)
    with console.status("loading TensorFlow ..."), _stderr_of_start_up_hidden():
        from headway_training import features, pipeline  # noqa: PLC0415  # takes seconds, so not for --help
    trained = [pipeline.train(recipe, repository, console, features.default_cache()) for recipe in recipes]
    console.print(_summary(trained))
    for line in _remarks(trained):
        console.print(line)


def _check_bases(recipes: Sequence[Recipe], repository: ModelRepository) -> None:
    made: set[str] = set()
    for recipe in recipes:
        if recipe.base is not None and recipe.base not in made:
            try:
                base_version(recipe, repository)
            except ModelMissing as error:
                raise TrainingError(
                    f"recipe {recipe.name} stands on base {recipe.base}, which is not in {repository.root}; "
                    f"train it first, or in the same run: headway train {recipe.base.partition('/')[0]} {recipe.name}"
                ) from error
        made.add(recipe.name)


def _summary(trained: Sequence["pipeline.TrainedVersion"]) -> Table:
    table = Table(box=SIMPLE, padding=0, show_edge=False)
    table.add_column("model", no_wrap=True)
    for column in ("accuracy", "95 % interval", "seconds", "s/epoch", "trainable", "frozen"):
        table.add_column(column, justify="right", no_wrap=True)
    for item in trained:
        accuracy = item.test_accuracy
        table.add_row(
            f"{item.model}/{item.version}",
            f"{accuracy.value:.4f}",
            f"{accuracy.low:.4f}-{accuracy.high:.4f}",
            f"{item.seconds:.1f}",
            f"{item.history.median_epoch_seconds:.2f}",
            f"{item.trainable_parameters:,}",
            f"{item.frozen_parameters:,}",
        )
    return table


def _remarks(trained: Sequence["pipeline.TrainedVersion"]) -> list[str]:
    remarks = []
    bases = [item for item in trained if item.kind == "base"]
    for item in trained:
        if item.kind == "head" and bases:
            base = bases[-1]
            ratio = base.history.median_epoch_seconds / item.history.median_epoch_seconds
            remarks.append(
                f"An epoch of head {item.model} takes 1/{ratio:.1f} of the time of an epoch of base {base.model}: "
                f"{item.history.median_epoch_seconds:.2f} s against {base.history.median_epoch_seconds:.2f} s "
                "(training pass; medians, first epoch left out)."
            )
        if item.test_accuracy.value < item.expected_accuracy:
            remarks.append(
                f"{item.model} reached {item.test_accuracy.value:.4f}; its recipe expects {item.expected_accuracy}."
            )
    return remarks


def _list() -> None:
    for name in builtin_recipes():
        sys.stdout.write(f"{name:<16} {load_recipe(name).description}\n")


def _show(name: str) -> None:
    recipe = load_recipe(name)
    sys.stdout.write(recipe_text(name) + "\n# Every field, with the value used:\n")
    for line in _documented(recipe, ""):
        sys.stdout.write(f"# {line}\n")


def _documented(section: BaseModel, prefix: str) -> list[str]:
    lines = []
    for key, field in type(section).model_fields.items():
        value = getattr(section, key)
        if isinstance(value, BaseModel):
            lines += _documented(value, f"{prefix}{key}.")
        else:
            lines.append(f"{prefix}{key} = {value!r}  ({field.description})")
    return lines


def _samples(name: str, out: Path, count: int, root: Path) -> None:
    from headway_training.datasets import load_splits  # noqa: PLC0415  # seconds, and not for --help

    recipe = load_recipe(name)
    if recipe.kind == "base":
        image = recipe.image_spec()
    else:
        repository = ModelRepository(root)
        image = repository.manifest(*base_version(recipe, repository)).image
    splits = load_splits(recipe.data, image, recipe.seed)
    out.mkdir(parents=True, exist_ok=True)
    # Class by class in turn: a stable sort by each picture's rank within its class.
    ranks: dict[int, int] = {}
    order = []
    for position, label in enumerate(splits.test.labels.tolist()):
        order.append((ranks.setdefault(label, 0), label, position))
        ranks[label] += 1
    for rank, label, position in sorted(order)[:count]:
        path = out / f"{splits.classes[label]}-{rank:03d}.png"
        write_atomically(path, encode_png(splits.test.images[position]))
        sys.stdout.write(f"{path}\n")


@contextlib.contextmanager
def _stderr_of_start_up_hidden() -> Iterator[None]:
    """Keep TensorFlow's C++ start-up notes (no GPU, oneDNN) from standing between the lines that people read.

    They are written to the file descriptor before any log level is in force. Python errors still reach the user.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value
