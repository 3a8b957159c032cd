"""The head: dense layers from features to scores, and its composition with the base it stands on."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from headway_training.errors import InvalidRecipe
from headway_training.recipe import AugmentationRecipe, HeadRecipe


def build_head(features: int, classes: int, recipe: HeadRecipe) -> Any:
    """Build a head with fresh weights: ``float32[None, features]`` -> scores ``float32[None, classes]``.

    A single sigmoid unit is the score of the second class; the first gets the rest, so that scores always sum to 1.
    """
    inputs = keras.Input((features,), name="features")
    x = inputs
    for number, units in enumerate(recipe.hidden, start=1):
        x = keras.layers.Dense(
            units, activation=recipe.activation, kernel_initializer=recipe.initializer, name=f"hidden_{number}"
        )(x)
        x = keras.layers.Dropout(recipe.dropout, name=f"dropout_{number}")(x)
    units = recipe.units or (1 if recipe.output == "sigmoid" else classes)
    scores = keras.layers.Dense(
        units, activation=recipe.output, kernel_initializer=recipe.initializer, name=_OUTPUT
    )(x)  # fmt: skip
    if units == 1:
        rest = keras.layers.Rescaling(-1.0, offset=1.0, name="rest")(scores)
        scores = keras.layers.Concatenate(name="scores_of_both")([rest, scores])
    return keras.Model(inputs, scores, name="head")


def take_over(head: Any, classifier: Any) -> None:
    """Give a head the weights of another one. Raises :class:`InvalidRecipe` where their layers differ."""
    wanted, found = ([tuple(weight.shape) for weight in model.weights] for model in (head, classifier))
    if wanted != found:
        raise InvalidRecipe(
            f"head.start: the head's weights are {wanted} and those of the base's classifier {found}; give it the same "
            'hidden layers and as many classes, or set head.start = "fresh"'
        )
    head.set_weights(classifier.get_weights())


def divide_logits(head: Any, temperature: float) -> None:
    """Calibrate a head in place: its logits are divided by ``temperature`` (> 0), inside its last layer's weights.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017 (temperature scaling).
    """
    layer = head.get_layer(_OUTPUT)
    layer.set_weights([weight / temperature for weight in layer.get_weights()])


def logits_of(head: Any) -> Callable[[Any], Any] | None:
    """What a head computes before its last activation, as a function of features: a tensor ``float32[N, K]``.

    A single sigmoid unit counts as two classes. None for a head whose last layer gives no probabilities.
    """
    layer = head.get_layer(_OUTPUT)
    activation = layer.activation.__name__
    if activation not in ("softmax", "sigmoid") or (activation, layer.units) == ("softmax", 1):
        return None
    before = keras.Model(head.input, layer.input)

    def logits(features: Any) -> Any:
        values = tf.matmul(before(features, training=False), layer.kernel) + layer.bias
        return tf.concat([-values / 2, values / 2], axis=1) if layer.units == 1 else values

    return logits


def compose(base: Any, head: Any) -> Any:
    """Join a base and a head into one model: ``uint8[None, H, W, C]`` -> scores ``float32[None, K]``.

    Batch normalisation whose layer is frozen keeps the statistics it was trained with while the model is fitted. The
    base's dropout acts then, frozen or not.
    """
    images = keras.Input(base.input_shape[1:], dtype="uint8", name="images")
    return keras.Model(images, head(base(images)), name="composed")


def augmented(model: Any, recipe: AugmentationRecipe) -> Any:
    """Put random changes of the pictures before a composed model; they act while training only.

    What a change uncovers is filled with 0, the darkest value.
    """
    images = keras.Input(model.input_shape[1:], dtype="uint8", name="images")
    x = images
    fill = {"fill_mode": "constant", "fill_value": 0.0}
    if recipe.flip:
        x = keras.layers.RandomFlip("horizontal")(x)
    if recipe.rotation:
        x = keras.layers.RandomRotation(recipe.rotation, **fill)(x)
    if recipe.translation:
        x = keras.layers.RandomTranslation(recipe.translation, recipe.translation, **fill)(x)
    if recipe.zoom:
        x = keras.layers.RandomZoom(recipe.zoom, **fill)(x)
    return model if x is images else keras.Model(images, model(x), name="augmented")


_OUTPUT = "scores"
