"""The named base networks: ``uint8[N, H, W, C]`` in, scaling as the first layer, features ``float32[N, D]`` out."""

from collections.abc import Callable
from typing import Any

import keras

from headway_contract.preprocessing import ImageSpec


def build_network(name: str, image: ImageSpec) -> Any:
    """Build the named network's feature layers with fresh weights.

    Returns a ``keras.Model`` from ``uint8[None, H, W, C]`` to ``float32[None, D]``. ``name`` is one the recipe allows.
    """
    return _NETWORKS[name](image)


def _seed_cnn(image: ImageSpec) -> Any:
    """The seed network's feature layers: two 3x3 convolutions of 32 filters, pooling, dropout.

    9,568 parameters on grayscale pictures.

    Source: F. Chollet's ``mnist_transfer_cnn`` example of Keras.
    """
    images = keras.Input(image.shape, dtype="uint8", name="images")
    x = keras.layers.Rescaling(1 / 255, name="scale")(images)
    x = keras.layers.Conv2D(32, 3, activation="relu", name="conv_1")(x)
    x = keras.layers.Conv2D(32, 3, activation="relu", name="conv_2")(x)
    x = keras.layers.MaxPooling2D(2, name="pool")(x)
    x = keras.layers.Dropout(0.25, name="dropout")(x)
    features = keras.layers.Flatten(name="features")(x)
    return keras.Model(images, features, name="seed_cnn")


_NETWORKS: dict[str, Callable[[ImageSpec], Any]] = {"seed-cnn": _seed_cnn}
