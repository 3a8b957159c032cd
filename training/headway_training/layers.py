"""Networks as data: the layers a recipe may name, and what shape comes out of them.

Shapes are worked out here, without Keras, so that a network that cannot be meant is refused before anything is loaded.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Activation = Literal["linear", "relu", "selu", "elu", "gelu", "swish"]
Initializer = Literal["glorot_uniform", "he_normal", "lecun_normal"]
Shape = tuple[int, ...]


class _Layer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Conv(_Layer):
    """A 2-D convolution."""

    type: Literal["conv"]
    filters: int = Field(ge=1, le=65_536)
    kernel: int = Field(3, ge=1, le=64)
    strides: int = Field(1, ge=1, le=64)
    padding: Literal["valid", "same"] = "valid"
    activation: Activation = "relu"
    initializer: Initializer = "glorot_uniform"


class Dense(_Layer):
    """A fully connected layer; its input must be flat."""

    type: Literal["dense"]
    units: int = Field(ge=1, le=65_536)
    activation: Activation = "relu"
    initializer: Initializer = "glorot_uniform"


class Pool(_Layer):
    """Max or average pooling over ``size`` x ``size`` pixels, without overlap."""

    type: Literal["max_pool", "average_pool"]
    size: int = Field(2, ge=1, le=64)


class Dropout(_Layer):
    """Dropout while training."""

    type: Literal["dropout"]
    rate: float = Field(ge=0, lt=1)


class Plain(_Layer):
    """A layer without settings: batch normalisation, an activation, global average pooling, or flattening."""

    type: Literal["batch_norm", "relu", "global_pool", "flatten"]


Layer = Annotated[Conv | Dense | Pool | Dropout | Plain, Field(discriminator="type")]

NETWORKS: dict[str, tuple[Layer, ...]] = {
    # F. Chollet's `mnist_transfer_cnn` example of Keras, up to its flattening: 9,568 parameters on grayscale pictures.
    "seed-cnn": (
        Conv(type="conv", filters=32),
        Conv(type="conv", filters=32),
        Pool(type="max_pool"),
        Dropout(type="dropout", rate=0.25),
        Plain(type="flatten"),
    ),
    # Two strided convolutions, each normalised: 1,600 features of a 28x28 picture for a ninth of seed-cnn's work.
    "strided-cnn": (
        Conv(type="conv", filters=32, kernel=5, strides=2),
        Plain(type="batch_norm"),
        Conv(type="conv", filters=64, strides=2),
        Plain(type="batch_norm"),
        Plain(type="flatten"),
        Dropout(type="dropout", rate=0.3),
    ),
    # The same two convolutions, pooled instead of strided, for pictures whose texture matters: 1,600 features too.
    "pooled-cnn": (
        Conv(type="conv", filters=32, kernel=5),
        Pool(type="max_pool"),
        Plain(type="batch_norm"),
        Conv(type="conv", filters=64),
        Pool(type="average_pool"),
        Plain(type="batch_norm"),
        Plain(type="flatten"),
        Dropout(type="dropout", rate=0.4),
    ),
    # The same example's network for all ten digits, up to its last layer: 599,520 parameters on grayscale pictures.
    "tutorial-cnn": (
        Conv(type="conv", filters=32),
        Conv(type="conv", filters=32),
        Pool(type="max_pool"),
        Dropout(type="dropout", rate=0.25),
        Plain(type="flatten"),
        Dense(type="dense", units=128),
        Dropout(type="dropout", rate=0.5),
    ),
    # A. Géron's dense network of chapter 11, up to its scores: 275,750 parameters on 28x28 grayscale pictures.
    "selu-dense": (
        Plain(type="flatten"),
        *(Dense(type="dense", units=units, activation="selu") for units in (300, 100, 50, 50, 50)),
    ),
}
"""Networks that a recipe may name instead of listing ``[[layers]]``."""


def feature_width(layers: Sequence[Layer], shape: Shape) -> int:
    """How many features the layers make of a picture ``(height, width, channels)``.

    Raises ValueError, naming the layer, for a network that cannot run or whose features are not flat.
    """
    for number, layer in enumerate(layers, start=1):
        try:
            shape = _after(layer, shape)
        except ValueError as error:
            raise ValueError(f"layer {number} ({layer.type}): {error}") from error
    if len(shape) != 1:
        raise ValueError(
            f"the layers end in feature maps {_shown(shape)}, which no dense layer can classify: "
            'add a last layer { type = "flatten" }, or { type = "global_pool" } for fewer features'
        )
    return shape[0]


def _after(layer: Layer, shape: Shape) -> Shape:
    if isinstance(layer, Dense):
        return _dense(layer, shape)
    if isinstance(layer, Conv | Pool) or layer.type == "global_pool":
        if len(shape) != 3:
            raise ValueError("it needs feature maps, but its input is flat already: put it before flatten")
        return _spatial(layer, shape)
    return (math.prod(shape),) if layer.type == "flatten" else shape


def _dense(layer: Dense, shape: Shape) -> Shape:
    if len(shape) != 1:
        raise ValueError(
            f"its input is {_shown(shape)}: a dense layer would act on each pixel alone, and the scores would get "
            'the wrong shape; put { type = "flatten" } before it'
        )
    return (layer.units,)


def _spatial(layer: Conv | Pool | Plain, shape: Shape) -> Shape:
    height, width, channels = shape
    if isinstance(layer, Plain):
        return (channels,)
    if isinstance(layer, Pool):
        after: Shape = (height // layer.size, width // layer.size, channels)
    elif layer.padding == "same":
        after = (-(-height // layer.strides), -(-width // layer.strides), layer.filters)
    else:
        sides = ((side - layer.kernel) // layer.strides + 1 for side in (height, width))
        after = (*sides, layer.filters)
    if min(after[:2]) < 1:
        raise ValueError(
            f"its input of {height}x{width} pixels is too small for it; use larger pictures or fewer layers"
        )
    return after


def _shown(shape: Shape) -> str:
    return "x".join(map(str, shape))
