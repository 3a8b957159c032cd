"""Reads recipes from TOML: the built-in ones beside this package in ``recipes/``, or a path to a file.

Overrides such as ``fitting.epochs=3`` are applied before the recipe is checked.
"""

import difflib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from headway_contract.model_repository import ModelRepository
from headway_training.errors import InvalidRecipe
from headway_training.recipe import Recipe


def builtin_recipes() -> tuple[str, ...]:
    """Names of the recipes that come with the package, sorted."""
    folder = resources.files("headway_training") / "recipes"
    return tuple(sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml")))


def recipe_text(name_or_path: str) -> str:
    """The TOML text of a built-in recipe or of a file. Raises :class:`InvalidRecipe` naming what there is."""
    if name_or_path in builtin_recipes():
        return (resources.files("headway_training") / "recipes" / f"{name_or_path}.toml").read_text(encoding="utf-8")
    path = Path(name_or_path)
    if path.suffix != ".toml":
        near = difflib.get_close_matches(name_or_path, builtin_recipes(), n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(builtin_recipes())}"
        raise InvalidRecipe(f"no built-in recipe is named {name_or_path!r}{hint} (a file ends in .toml)")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRecipe(f"recipe {path} cannot be read: {error}") from error


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply overrides such as ``fitting.epochs=3`` (the value is written as in TOML).

    Raises :class:`InvalidRecipe` with every problem found: where, what, and what to do.
    """
    try:
        mapping = tomllib.loads(recipe_text(name_or_path))
    except tomllib.TOMLDecodeError as error:
        raise InvalidRecipe(f"recipe {name_or_path} is not TOML: {error}") from error
    return make_recipe(mapping, overrides, f"recipe {name_or_path}")


def make_recipe(mapping: dict[str, Any], overrides: Sequence[str], where: str) -> Recipe:
    """Check a recipe given as TOML values, after applying overrides. Raises :class:`InvalidRecipe`."""
    for override in overrides:
        _override(mapping, override)
    try:
        return Recipe.model_validate(mapping)
    except ValidationError as error:
        problems = "\n".join(f"  {line}" for line in _problems(error))
        raise InvalidRecipe(f"{where} is refused:\n{problems}") from error


def base_version(recipe: Recipe, repository: ModelRepository) -> tuple[str, int]:
    """The model and version that a head's recipe stands on: the newest one unless it names another.

    Raises ``ModelMissing`` or ``VersionMissing``.
    """
    model, _, number = (recipe.base or "").partition("/")
    version = int(number) if number else repository.latest(model)
    repository.path(model, version)
    return model, version


def _override(mapping: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not separator or not all(path):
        raise InvalidRecipe(f"--set {override}: write SECTION.KEY=VALUE, such as fitting.epochs=3")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        # A bare word is what people type for a string.
        value = text.strip()
    section = mapping
    for part in path[:-1]:
        section = section.setdefault(part, {})
        if not isinstance(section, dict):
            raise InvalidRecipe(f"--set {override}: {part} is a value, not a section")
    section[path[-1]] = value


def _problems(error: ValidationError) -> Iterator[str]:
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            yield f"{where}: unknown key{_did_you_mean(item['loc'])}"
        else:
            message = item["msg"].removeprefix("Value error, ")
            yield f"{where}: {message}" if where else message


def _did_you_mean(location: tuple[int | str, ...]) -> str:
    known: Mapping[str, Any] = Recipe.model_fields
    for part in location[:-1]:
        section = known.get(str(part))
        if section is None or not isinstance(section.annotation, type) or not issubclass(section.annotation, BaseModel):
            return ""  # within [[layers]], where the kind of layer decides what is known
        known = section.annotation.model_fields
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known keys: {', '.join(sorted(known))}"
