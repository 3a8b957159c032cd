"""Recipes are read whole, and one that cannot be meant is refused with the way out."""

from pathlib import Path

import pytest

from headway_contract.errors import ModelMissing, VersionMissing
from headway_contract.model_repository import ModelRepository
from headway_contract.preprocessing import ImageSpec
from headway_training.errors import InvalidRecipe
from headway_training.layers import NETWORKS
from headway_training.recipe import AugmentationRecipe, recipe_mapping
from headway_training.recipe_files import base_version, builtin_recipes, load_recipe, recipe_text

BASE = "digits-5to9"
HEAD = "digits-0to4"


def refusal(name_or_path: str | Path, *overrides: str) -> str:
    with pytest.raises(InvalidRecipe) as refused:
        load_recipe(str(name_or_path), overrides)
    return str(refused.value)


def test_the_built_in_base_is_what_its_file_says() -> None:
    recipe = load_recipe(BASE)
    assert (recipe.kind, recipe.network, recipe.base) == ("base", "seed-cnn", None)
    assert recipe.image_spec() == ImageSpec(28, 28, 1, polarity="auto", centre="mass")
    assert recipe.data.classes == ("5", "6", "7", "8", "9")
    assert recipe.expected_accuracy >= 0.96
    assert recipe.augmentation != AugmentationRecipe()


def test_the_built_in_head_stands_on_the_built_in_base() -> None:
    recipe = load_recipe(HEAD)
    assert (recipe.kind, recipe.network, recipe.base, recipe.image) == ("head", None, BASE, None)
    assert recipe.data.classes == ("0", "1", "2", "3", "4")
    assert recipe.expected_accuracy >= 0.97


@pytest.mark.parametrize("name", builtin_recipes())
def test_every_built_in_recipe_trains_the_model_it_is_named_for(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description
    assert recipe_mapping(recipe)["fitting"]["epochs"] == recipe.fitting.epochs


def test_a_file_is_read_like_a_built_in_recipe(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(recipe_text(BASE), encoding="utf-8")
    assert load_recipe(str(path)) == load_recipe(BASE)


def test_overrides_are_written_as_in_toml_and_the_last_one_counts() -> None:
    recipe = load_recipe(
        BASE,
        [
            "fitting.epochs=3",
            "fitting.epochs = 4",
            "fitting.optimizer=sgd",
            'description="two words"',
            'data.classes=["7", "5"]',
            "head.hidden=[]",
            "augmentation.zoom=0",
        ],
    )
    assert recipe.fitting.epochs == 4
    assert recipe.fitting.optimizer == "sgd"
    assert recipe.description == "two words"
    assert recipe.data.classes == ("7", "5")
    assert recipe.head.hidden == ()
    assert recipe.augmentation.zoom == 0


@pytest.mark.parametrize(
    ("recipe", "override", "message"),
    [
        (BASE, "fitting.epoch=3", "fitting.epoch: unknown key; did you mean epochs?"),
        (BASE, "ftting.epochs=3", "ftting: unknown key; did you mean fitting?"),
        (BASE, "head.zzz=3", "head.zzz: unknown key; known keys: activation, cache_features, dropout"),
        (BASE, "image.gamma=2.2", "image spec: unknown key gamma"),
        (BASE, "image.height=0", "image spec: height must be 1 to 4096"),
        (BASE, "image.channels=[1]", "image spec: channels must be 1 or 3"),
        (BASE, "image.resample=['bilinear']", "image spec: resample must be one of"),
        (BASE, "image.height=5", "network: layer 3 (max_pool): its input of 1x24 pixels is too small for it"),
        (BASE, "image.width=4", "network: layer 2 (conv): its input of 26x2 pixels is too small for it; use larger"),
        (BASE, "image=28", "image: Input should be a valid dictionary"),
        (BASE, "fitting.epochs=many", "fitting.epochs: Input should be a valid integer"),
        (BASE, "fitting.epochs=1.5", "fitting.epochs: Input should be a valid integer"),
        (BASE, "fitting.epochs=0", "fitting.epochs: Input should be greater than or equal to 1"),
        (BASE, "fitting.epochs=true", "fitting.epochs: Input should be a valid integer"),
        (BASE, "fitting.learning_rate=0", "fitting.learning_rate: Input should be greater than 0"),
        (BASE, "fitting.learning_rate=nan", "fitting.learning_rate: Input should be a finite number"),
        (BASE, "fitting.optimizer=adamw", "fitting.optimizer: Input should be 'adam', 'adadelta' or 'sgd'"),
        (BASE, "fitting=3", "fitting: Input should be a valid dictionary"),
        (BASE, "head.hidden=[0]", "head.hidden.0: Input should be greater than or equal to 1"),
        (BASE, "head.dropout=1", "head.dropout: Input should be less than 1"),
        (BASE, "seed=-1", "seed: Input should be greater than or equal to 0"),
        (BASE, "kind=tail", "kind: Input should be 'base' or 'head'"),
        (BASE, "name=a/b", "name: 'a/b' cannot be a model's name"),
        (BASE, "network=seed-cmn", f"network: there is no 'seed-cmn'; there are: {', '.join(NETWORKS)}"),
        (BASE, 'layers=[{type="flatten"}]', 'needs network = "..." or [[layers]], one of the two'),
        (
            BASE,
            "fine_tuning.depths=[1]",
            "fine_tuning: a base is trained whole from the start; fine-tuning is",
        ),
        (BASE, "export.form=on_base", 'export.form: a base is published whole; "on_base" is for heads'),
        (BASE, "head.cache_features=false", "a base that is being trained has no features to keep; remove it"),
        (BASE, "fitting.momentum=0.9", "fitting.momentum: adam has its own; momentum is for sgd"),
        (BASE, "data.folder=pictures", 'a folder of pictures is given as dataset = "folder" with folder = "DIR"'),
        (BASE, "data.dataset=folder", 'a folder of pictures is given as dataset = "folder" with folder = "DIR"'),
        (BASE, "base=other", 'stands on no other: remove base, or set kind = "head"'),
        (BASE, "kind=head", 'a recipe of kind "head" needs base = "MODEL" or "MODEL/VERSION"'),
        (BASE, "data.dataset=letters", "data.dataset: Input should be 'digits'"),
        (BASE, 'data.classes=["5"]', "data.classes: one class alone cannot be told from another; name two or more"),
        (BASE, "data.classes=[5, 6]", "data.classes.0: Input should be a valid string"),
        (BASE, 'data.classes=["5", "6", "5"]', "data.classes: a class is named twice; name each once"),
        (BASE, "data.test=0.5", "data.test: Input should be less than 0.5"),
        (
            HEAD,
            "kind=base",
            'a recipe of kind "base" needs network = "..." or [[layers]], one of the two, and an [image]',
        ),
        (HEAD, "network=seed-cnn", "a head has its base's network: remove network and [[layers]]"),
        (HEAD, "image.height=28", "image spec: missing channels, width"),
        (HEAD, "augmentation.zoom=0.1", "cached features are of unchanged pictures; set head.cache_features = false"),
        (HEAD, "fine_tuning.depths=[0]", "fine_tuning.depths.0: Input should be greater than or equal to 1"),
        (HEAD, "base=a/b/c", "base: 'a/b/c' is neither MODEL nor MODEL/VERSION"),
        (HEAD, "base=digits/new", "base: 'digits/new' is neither MODEL nor MODEL/VERSION"),
        (HEAD, "epochs", "--set epochs: write SECTION.KEY=VALUE, such as fitting.epochs=3"),
        (HEAD, "=3", "--set =3: write SECTION.KEY=VALUE"),
        (HEAD, "fitting.=3", "--set fitting.=3: write SECTION.KEY=VALUE"),
        (HEAD, "fitting.epochs.first=3", "--set fitting.epochs.first=3: epochs is a value, not a section"),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_refused(recipe: str, override: str, message: str) -> None:
    assert message in refusal(recipe, override)


def test_a_head_that_is_fine_tuned_no_longer_fits_the_published_base() -> None:
    message = refusal(HEAD, "export.form=on_base", "fine_tuning.depths=[1]")
    assert "fine-tuning changes the base's layers" in message
    assert 'set export.form = "standalone" or remove [fine_tuning]' in message


def test_augmentation_of_a_head_needs_features_that_are_not_cached() -> None:
    recipe = load_recipe(HEAD, ["augmentation.zoom=0.1", "head.cache_features=false"])
    assert recipe.augmentation == AugmentationRecipe(zoom=0.1)


OWN = "own-pictures"


def test_people_s_own_pictures_get_a_head_at_its_optimum() -> None:
    recipe = load_recipe(OWN)
    assert (recipe.fitting.solver, recipe.fitting.class_weights, recipe.head.hidden) == ("convex", "auto", ())
    assert recipe.augmentation == AugmentationRecipe(flip=True)


@pytest.mark.parametrize(
    "overrides",
    [
        ["augmentation.flip=false"],
        ["fitting.class_weights=none"],
        ["fitting.epochs=50", "fitting.label_smoothing=0"],
        ["fine_tuning.depths=[1]", "fitting.batch_size=16", "fitting.optimizer=sgd", "fitting.momentum=0.9"],
        ["fitting.solver=gradient", "augmentation.flip=false", "fitting.patience=10", "head.hidden=[32]"],
    ],
)
def test_what_a_convex_head_can_be_told(overrides: list[str]) -> None:
    assert load_recipe(OWN, overrides).name == OWN


@pytest.mark.parametrize(
    ("recipe", "overrides", "message"),
    [
        (OWN, ["head.hidden=[32]"], "convex is for a head of one softmax layer on cached features; set head.hidden"),
        (OWN, ["head.output=sigmoid"], 'set head.hidden = [], head.output = "softmax" and head.cache_features = true'),
        (OWN, ["head.cache_features=false"], 'or solver = "gradient" (and with cached features augmentation.flip'),
        (OWN, ["reproduces_mistake=one-unit-softmax", "head.units=1"], "convex is for a head of one softmax layer"),
        (BASE, ["fitting.solver=convex"], "convex is for a head of one softmax layer on cached features"),
        (OWN, ["fitting.learning_rate=0.1"], "convex ends at the optimum and has no use for learning_rate; remove"),
        (OWN, ["fitting.weight_decay=0.1", "fitting.patience=3"], "has no use for weight_decay, patience; remove"),
        (OWN, ["fitting.batch_size=8"], "has no use for batch_size; remove that, or set solver"),
        (OWN, ["augmentation.zoom=0.1"], "augmentation: cached features are of unchanged pictures"),
        (OWN, ["fitting.solver=gradient"], "augmentation: cached features are of unchanged pictures"),
        (HEAD, ["fitting.class_weights=balanced"], 'only solver = "convex" weighs classes; remove class_weights'),
        (OWN, ["fitting.solver=newton"], "fitting.solver: Input should be 'gradient' or 'convex'"),
        (OWN, ["fitting.class_weights=some"], "fitting.class_weights: Input should be 'none', 'balanced' or 'auto'"),
    ],
)
def test_a_convex_solver_that_cannot_be_meant_is_refused(recipe: str, overrides: list[str], message: str) -> None:
    assert message in refusal(recipe, *overrides)


def test_every_problem_is_told_at_once() -> None:
    message = refusal(BASE, "fitting.epochs=0", "fitting.batchsize=3", "seed=x")
    assert message.startswith("recipe digits-5to9 is refused:\n")
    for problem in ("fitting.epochs", "fitting.batchsize: unknown key; did you mean batch_size?", "seed"):
        assert problem in message


@pytest.mark.parametrize("field", ["name", "description", "kind", "data", "fitting"])
def test_a_missing_field_is_named(tmp_path: Path, field: str) -> None:
    text = recipe_text(BASE)
    lines = text.splitlines()
    if field in ("data", "fitting"):
        start = lines.index(f"[{field}]")
        end = next((i for i in range(start + 1, len(lines)) if lines[i].startswith("[")), len(lines))
        del lines[start:end]
    else:
        lines = [line for line in lines if not line.startswith(f"{field} =")]
    path = tmp_path / "mine.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    assert f"{field}: Field required" in refusal(path)


def test_an_unknown_name_suggests_the_nearest_recipe() -> None:
    assert "no built-in recipe is named 'digits-5to8'; did you mean digits-5to9?" in refusal("digits-5to8")
    assert f"there are: {', '.join(builtin_recipes())} (a file ends in .toml)" in refusal("cats")


def test_a_file_that_is_not_toml_or_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    assert "cannot be read" in refusal(path)
    path.write_text("name: yaml\n", encoding="utf-8")
    assert "is not TOML" in refusal(path)
    path.write_bytes(b"name = '\xff'")
    assert "cannot be read" in refusal(path)
    assert "cannot be read" in refusal(str(tmp_path / "sub" / ".." / "absent.toml"))


def test_a_head_takes_the_newest_version_of_its_base_or_the_one_named(tmp_path: Path) -> None:
    for version in (1, 2):
        (tmp_path / BASE / str(version)).mkdir(parents=True)
    repository = ModelRepository(tmp_path)
    assert base_version(load_recipe(HEAD), repository) == (BASE, 2)
    assert base_version(load_recipe(HEAD, [f"base={BASE}/1"]), repository) == (BASE, 1)
    with pytest.raises(VersionMissing, match="versions there: 1, 2"):
        base_version(load_recipe(HEAD, [f"base={BASE}/3"]), repository)
    with pytest.raises(ModelMissing, match=f"models there: {BASE}"):
        base_version(load_recipe(HEAD, ["base=other"]), repository)
