"""Base networks: ``uint8[N, H, W, C]`` in, scaling as the first layer, features ``float32[N, D]`` out."""

from collections.abc import Sequence
from typing import Any

import keras

from headway_contract.preprocessing import ImageSpec
from headway_training.layers import Conv, Dense, Dropout, Layer, Pool


def build_network(layers: Sequence[Layer], image: ImageSpec) -> Any:
    """Build a base of a recipe's layers with fresh weights.

    Returns a ``keras.Model`` from ``uint8[None, H, W, C]`` to ``float32[None, D]``; the recipe has checked that the
    layers fit each other and the geometry.
    """
    images = keras.Input(image.shape, dtype="uint8", name="images")
    x = keras.layers.Rescaling(1 / 255, name="scale")(images)
    for number, layer in enumerate(layers, start=1):
        x = _keras_layer(layer, f"{layer.type}_{number}")(x)
    return keras.Model(images, x, name="base")


def _keras_layer(layer: Layer, name: str) -> Any:
    if isinstance(layer, Conv):
        return keras.layers.Conv2D(
            layer.filters, layer.kernel, layer.strides, layer.padding, activation=_function(layer.activation),
            kernel_initializer=layer.initializer, name=name,
        )  # fmt: skip
    if isinstance(layer, Dense):
        return keras.layers.Dense(
            layer.units, activation=_function(layer.activation), kernel_initializer=layer.initializer, name=name
        )
    if isinstance(layer, Pool):
        kind = keras.layers.MaxPooling2D if layer.type == "max_pool" else keras.layers.AveragePooling2D
        return kind(layer.size, name=name)
    if isinstance(layer, Dropout):
        return keras.layers.Dropout(layer.rate, name=name)
    plain = {
        "batch_norm": keras.layers.BatchNormalization,
        "relu": keras.layers.ReLU,
        "global_pool": keras.layers.GlobalAveragePooling2D,
        "flatten": keras.layers.Flatten,
    }
    return plain[layer.type](name=name)


def _function(activation: str) -> str | None:
    return None if activation == "linear" else activation
