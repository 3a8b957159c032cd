"""``headway train``, ``headway recipes`` and ``headway samples``."""

import argparse
import contextlib
import difflib
import logging
import os
import sys
import tomllib
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from headway_contract.durable_files import write_atomically
from headway_contract.errors import ContractError, ModelMissing
from headway_contract.model_repository import ModelRepository
from headway_training.errors import TrainingError
from headway_training.next_step import next_steps
from headway_training.recipe import Recipe
from headway_training.recipe_files import base_version, builtin_recipes, load_recipe, make_recipe, recipe_text

if TYPE_CHECKING:
    from headway_training.publication import Published

_OWN_PICTURES = "own-pictures"
_DEFAULT_BASE = "efficientnet-lite0"
_TABLE_WIDTH = 160  # of a file or a pipe, which has none: names would be cut off at 80 characters


def train_main(argv: Sequence[str]) -> int:
    """``headway train RECIPE...``: run recipes in order and publish each. Exit codes: 0, or 2 for a refused input."""
    parser = argparse.ArgumentParser(
        prog="headway train", description="Train models by recipe and publish them to a repository."
    )
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help="a built-in recipe's name or a .toml file")
    own = parser.add_argument_group("your own pictures, instead of a recipe")
    own.add_argument(
        "--images", type=Path, metavar="DIR",
        help="a folder per class: DIR/<class>/*, or DIR/train/<class>/* and DIR/test/<class>/*; or DIR/images/* and "
        "DIR/labels.csv",
    )  # fmt: skip
    own.add_argument("--name", help="the model's name")
    own.add_argument(
        "--base", default=_DEFAULT_BASE,
        help=f"what the head stands on: a pretrained backbone ({_DEFAULT_BASE}, densenet121, ...), or MODEL or "
        f"MODEL/VERSION of the repository (default: {_DEFAULT_BASE})",
    )  # fmt: skip
    own.add_argument("--weights", default="imagenet", help="a backbone's weights: imagenet, or a weights file")
    parser.add_argument("--repository", type=Path, default=Path("models"), help="where to publish (default: models)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
        help="change a field of every recipe given, such as fitting.epochs=3; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--no-test-pictures", action="append_const", const="export.test_pictures=false", dest="overrides",
        help="store no sample of the test pictures beside the model: they are private, or may not be passed on",
    )  # fmt: skip
    _add_data_dir(parser)
    parser.add_argument(
        "--on-bad-image", choices=("refuse", "skip"), default="refuse",
        help="what to do with a file that cannot be read as a picture: refuse the folder (default), or leave it out",
    )  # fmt: skip
    parser.add_argument(
        "--on-near-copies", choices=("warn", "drop"), default="warn",
        help="what to do with pictures that show what one of another split shows, such as one that was saved again: "
        "name them (default), or leave them out of training and validation; seen by a pretrained backbone's features",
    )  # fmt: skip
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="write weights and optimizer after each epoch (.keras or .h5)"
    )
    parser.add_argument("--resume", type=Path, metavar="FILE", help="go on exactly where a checkpoint was written")
    arguments = parser.parse_args(argv)
    _check_usage(parser, arguments)
    return _guarded("train", lambda: _train(arguments))


def _check_usage(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    if bool(arguments.recipes) == (arguments.images is not None):
        parser.error("name recipes, or give your own pictures with --images DIR --name NAME")
    if (arguments.images is None) != (arguments.name is None):
        parser.error("--images DIR and --name NAME belong together")
    if len(arguments.recipes) > 1 and (arguments.checkpoint or arguments.resume):
        parser.error("--checkpoint and --resume are for one recipe; train the others in runs of their own")


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
    _add_data_dir(parser)
    arguments = parser.parse_args(argv)
    return _guarded("samples", lambda: _samples(arguments))


def _add_data_dir(parser: argparse.ArgumentParser) -> None:
    named = os.environ.get("HEADWAY_DATA_DIR")
    parser.add_argument(
        "--data-dir", type=Path, default=Path(named) if named else None, metavar="DIR",
        help="where mnist.npz, fashion_mnist.npz and folders of pictures are (default: $HEADWAY_DATA_DIR)",
    )  # fmt: skip


def _guarded(verb: str, action: Callable[[], None]) -> int:
    try:
        action()
    except (TrainingError, ContractError, OSError) as error:
        sys.stderr.write(f"headway {verb}: {error}\n")
        return 2
    return 0


def _recipes(arguments: argparse.Namespace) -> list[Recipe]:
    if arguments.images is None:
        # Every recipe is read before the first is run: a typing error in the last must not cost the others' time.
        return [load_recipe(name, arguments.overrides) for name in arguments.recipes]
    mapping = tomllib.loads(recipe_text(_OWN_PICTURES)) | {
        "name": arguments.name,
        "description": f"Head for the pictures in {arguments.images}",
        "base": arguments.base,
        "weights": arguments.weights,
    }
    mapping["data"]["folder"] = str(arguments.images.absolute())
    return [make_recipe(mapping, arguments.overrides, f"--images {arguments.images}")]


def _train(arguments: argparse.Namespace) -> None:
    recipes, root = _recipes(arguments), arguments.repository
    # A place that cannot be written to is found now, and not when there is something to publish.
    if root.exists() and not root.is_dir():
        raise TrainingError(f"--repository {root} is a file; name a folder to publish to")
    repository = ModelRepository(root)
    repository.check_writable(recipe.name for recipe in recipes)
    _look_at_data(recipes, arguments.data_dir)
    console = Console(soft_wrap=True, highlight=False)
    if not console.is_terminal:
        console.width = _TABLE_WIDTH
    with console.status("loading TensorFlow ..."), _starting_tensorflow():
        from headway_training import backbones, features, pipeline  # noqa: PLC0415  # takes seconds, so not for --help
    _check_bases(recipes, repository, backbones.BACKBONES)
    root.mkdir(parents=True, exist_ok=True)
    options = pipeline.Options(
        features.default_cache(),
        arguments.data_dir,
        arguments.on_bad_image,
        arguments.on_near_copies,
        arguments.checkpoint,
        arguments.resume,
    )
    published = [pipeline.train(recipe, repository, console, options) for recipe in recipes]
    console.print(_summary(published))
    served = next_steps(repository, [(item.record.model, item.version) for item in published])
    for line in [*_remarks(published), *served]:
        # Not as markup: a path may hold brackets.
        console.print(line, markup=False)


def _look_at_data(recipes: Sequence[Recipe], data_dir: Path | None) -> None:
    """Whether the pictures of every recipe are there, before TensorFlow is loaded and a backbone published."""
    from headway_training.datasets import check_data_of  # noqa: PLC0415  # numpy and Pillow, not for --help

    for recipe in recipes:
        check_data_of(recipe, data_dir)


def _check_bases(recipes: Sequence[Recipe], repository: ModelRepository, backbones: Collection[str]) -> None:
    newest: dict[str, int] = {}
    there = set(backbones)
    for recipe in recipes:
        if recipe.base is not None and recipe.base not in there:
            try:
                base_version(recipe, repository)
            except ModelMissing as error:
                near = difflib.get_close_matches(recipe.base, backbones, n=1)
                hint = f", or did you mean the backbone {near[0]}?" if near else ""
                raise TrainingError(
                    f"recipe {recipe.name} stands on base {recipe.base}, which is not in {repository.root}; "
                    f"train it first, or in the same run: headway train {recipe.base.partition('/')[0]} {recipe.name}"
                    f"{hint}"
                ) from error
        # The recipes behind may name what this one will publish, with or without its version.
        newest[recipe.name] = 1 + newest.get(recipe.name, max(repository.versions(recipe.name), default=0))
        there |= {recipe.name, f"{recipe.name}/{newest[recipe.name]}"}


def _summary(published: Sequence["Published"]) -> Table:
    table = Table(box=SIMPLE, padding=0, show_edge=False)
    table.add_column("model", no_wrap=True)
    for column in ("accuracy", "95 % interval", "seconds", "s/epoch", "trainable", "frozen"):
        table.add_column(column, justify="right", no_wrap=True)
    for item in published:
        record, accuracy = item.record, item.record.evaluation.accuracy
        table.add_row(
            f"{record.model}/{item.version}",
            f"{accuracy.value:.4f}",
            f"{accuracy.low:.4f}-{accuracy.high:.4f}",
            f"{item.seconds:.1f}",
            f"{record.phases[0].median_epoch_seconds:.2f}",
            f"{record.trainable_parameters:,}",
            f"{record.parameters - record.trainable_parameters:,}",
        )
    return table


def _remarks(published: Sequence["Published"]) -> list[str]:
    remarks = []
    for record in (item.record for item in published):
        own = record.phases[0].median_epoch_seconds
        if record.base is not None and record.base_epoch_seconds is not None:
            remarks.append(
                f"An epoch of head {record.model} takes 1/{record.base_epoch_seconds / own:.1f} of the time of an "
                f"epoch of base {record.base.model}: {own:.2f} s against {record.base_epoch_seconds:.2f} s "
                "(training pass; medians, first epoch left out)."
            )
        accuracy = record.evaluation.accuracy.value
        if accuracy < record.expected_accuracy:
            remarks.append(f"{record.model} reached {accuracy:.4f}; its recipe expects {record.expected_accuracy}.")
    remarks += [f"Report: {item.report}" for item in published]
    return remarks


def _list() -> None:
    width = max(map(len, builtin_recipes()))
    for name in builtin_recipes():
        sys.stdout.write(f"{name:<{width}}  {load_recipe(name).description}\n")


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


def _samples(arguments: argparse.Namespace) -> None:
    from headway_training.datasets import load_splits  # noqa: PLC0415  # seconds, and not for --help

    recipe = load_recipe(arguments.recipe)
    if recipe.image is not None:
        image = recipe.image_spec()
    else:
        repository = ModelRepository(arguments.repository)
        image = repository.manifest(*base_version(recipe, repository)).image
    splits = load_splits(recipe.data, image, recipe.seed, arguments.data_dir)
    arguments.out.mkdir(parents=True, exist_ok=True)
    # Class by class in turn: a stable sort by each picture's rank within its class.
    ranks: dict[int, int] = {}
    order = []
    for position, label in enumerate(splits.test.labels.tolist()):
        order.append((ranks.setdefault(label, 0), label, position))
        ranks[label] += 1
    for rank, label, position in sorted(order)[: arguments.count]:
        pictures = splits.test.pictures
        suffix = Path(pictures.name(position)).suffix.lower() or ".png"
        path = arguments.out / f"{splits.classes[label]}-{rank:03d}{suffix}"
        write_atomically(path, pictures.encoded(position))
        sys.stdout.write(f"{path}\n")


@contextlib.contextmanager
def _starting_tensorflow() -> Iterator[None]:
    """Set TensorFlow up before its first import, and keep its C++ notes (no GPU, oneDNN) from between our lines.

    The notes are written to the file descriptor before any log level is in force. Python errors still reach the user.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow leaves oneDNN off on processors without AVX-512; there too it halves the time of convolutions.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
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
