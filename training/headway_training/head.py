"""The head: dense layers from features to scores, and its composition with the base it stands on."""

from typing import Any

import keras

from headway_training.recipe import AugmentationRecipe, HeadRecipe


def build_head(features: int, classes: int, recipe: HeadRecipe) -> Any:
    """Build a head with fresh weights: ``float32[None, features]`` -> softmax scores ``float32[None, classes]``."""
    inputs = keras.Input((features,), name="features")
    x = inputs
    for number, units in enumerate(recipe.hidden, start=1):
        x = keras.layers.Dense(units, activation="relu", name=f"hidden_{number}")(x)
        x = keras.layers.Dropout(recipe.dropout, name=f"dropout_{number}")(x)
    scores = keras.layers.Dense(classes, activation="softmax", name="scores")(x)
    return keras.Model(inputs, scores, name="head")


def compose(base: Any, head: Any) -> Any:
    """Join a base and a head into one model: ``uint8[None, H, W, C]`` -> scores ``float32[None, K]``."""
    images = keras.Input(base.input_shape[1:], dtype="uint8", name="images")
    return keras.Model(images, head(base(images)), name="composed")


def augmented(model: Any, recipe: AugmentationRecipe) -> Any:
    """Put random changes of the pictures before a composed model; they act while training only.

    What a change uncovers is filled with 0, the darkest value.
    """
    images = keras.Input(model.input_shape[1:], dtype="uint8", name="images")
    x = images
    fill = {"fill_mode": "constant", "fill_value": 0.0}
    if recipe.rotation:
        x = keras.layers.RandomRotation(recipe.rotation, **fill)(x)
    if recipe.translation:
        x = keras.layers.RandomTranslation(recipe.translation, recipe.translation, **fill)(x)
    if recipe.zoom:
        x = keras.layers.RandomZoom(recipe.zoom, **fill)(x)
    return model if x is images else keras.Model(images, model(x), name="augmented")
