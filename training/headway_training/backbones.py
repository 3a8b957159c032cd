"""Pretrained backbones by name: ``uint8[N, H, W, 3]`` in, pooled features ``float32[N, D]`` out.

Every image model of ``keras.applications``, MobileNet at a quarter of its width, and EfficientNet-Lite0, whose weights
are installed with ``headway[training]`` and need no download. Each scales values in its own way, inside its graph and
with layers that a ``.keras`` file and a SavedModel keep.

Batch normalization: call a backbone as ``base(images, training=False)``, also while some of its layers are fitted.
Its moving statistics were learned from a million pictures; those of a few hundred would spoil them.
"""

import hashlib
import os
import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from headway_contract.preprocessing import ImageSpec
from headway_training.efficientnet_lite0 import build_efficientnet_lite0, imagenet_weights, load_torch_weights
from headway_training.errors import InvalidRecipe, InvalidWeights

IMAGENET = "imagenet"
"""The ``weights`` that come with a backbone: installed, in Keras' cache, or downloaded."""

INSTALLED = "efficientnet-lite0"
"""The backbone whose ImageNet weights are installed, so that it works without a network."""

Scaling = Literal["built-in", "tf", "torch", "caffe"]
"""Keras' names of the ways to scale values; ``built-in``: the model begins with scaling layers of its own."""

_DOWNLOAD_TIMEOUT_SECONDS = 20.0
_IMAGENET_DEVIATIONS = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class _Backbone:
    """``side``: pixels a side that its weights were trained at; ``least``: the fewest it can compute."""

    name: str
    build: Callable[..., Any]
    scaling: Scaling
    side: int
    least: int = 32


def _row(constructor: str, scaling: Scaling, side: int, least: int = 32) -> _Backbone:
    return _Backbone(constructor.lower(), getattr(keras.applications, constructor), scaling, side, least)


_TABLE = (
    _row("ConvNeXtTiny", "built-in", 224),
    _row("ConvNeXtSmall", "built-in", 224),
    _row("ConvNeXtBase", "built-in", 224),
    _row("ConvNeXtLarge", "built-in", 224),
    _row("ConvNeXtXLarge", "built-in", 224),
    _row("DenseNet121", "torch", 224),
    _row("DenseNet169", "torch", 224),
    _row("DenseNet201", "torch", 224),
    _row("EfficientNetB0", "built-in", 224),
    _row("EfficientNetB1", "built-in", 240),
    _row("EfficientNetB2", "built-in", 260),
    _row("EfficientNetB3", "built-in", 300),
    _row("EfficientNetB4", "built-in", 380),
    _row("EfficientNetB5", "built-in", 456),
    _row("EfficientNetB6", "built-in", 528),
    _row("EfficientNetB7", "built-in", 600),
    _row("EfficientNetV2B0", "built-in", 224),
    _row("EfficientNetV2B1", "built-in", 240),
    _row("EfficientNetV2B2", "built-in", 260),
    _row("EfficientNetV2B3", "built-in", 300),
    _row("EfficientNetV2S", "built-in", 384),
    _row("EfficientNetV2M", "built-in", 480),
    _row("EfficientNetV2L", "built-in", 480),
    _row("InceptionResNetV2", "tf", 299, least=75),
    _row("InceptionV3", "tf", 299, least=75),
    _row("MobileNet", "tf", 224),
    _row("MobileNetV2", "tf", 224),
    _row("MobileNetV3Large", "built-in", 224),
    _row("MobileNetV3Small", "built-in", 224),
    _row("NASNetLarge", "tf", 331),
    _row("NASNetMobile", "tf", 224),
    _row("ResNet50", "caffe", 224),
    _row("ResNet101", "caffe", 224),
    _row("ResNet152", "caffe", 224),
    _row("ResNet50V2", "tf", 224),
    _row("ResNet101V2", "tf", 224),
    _row("ResNet152V2", "tf", 224),
    _row("VGG16", "caffe", 224),
    _row("VGG19", "caffe", 224),
    _row("Xception", "tf", 299, least=71),
    _Backbone("mobilenet-0.25", partial(keras.applications.MobileNet, alpha=0.25), "tf", 224),
    _Backbone(INSTALLED, build_efficientnet_lite0, "built-in", 224),
)
_BY_NAME = {backbone.name: backbone for backbone in _TABLE}

BACKBONES = tuple(sorted(_BY_NAME))
"""The names: those of ``keras.applications`` in lower case, ``mobilenet-0.25`` and ``efficientnet-lite0``."""


def default_image(name: str) -> ImageSpec:
    """The geometry to use a backbone at: RGB, square, of the side its weights were trained at.

    Pictures are cropped at the centre, as in training; EfficientNet-Lite0 sees the whole picture, padded with black,
    in bicubic resampling: measured on product photos, a linear probe is right on 0.86 so and on 0.84 cropped. Raises
    :class:`InvalidRecipe` for an unknown name.
    """
    side = _backbone(name).side
    fit, resample = ("pad", "bicubic") if name == INSTALLED else ("crop", "bilinear")
    return ImageSpec(side, side, 3, fit=fit, resample=resample)


def build_backbone(name: str, image: ImageSpec, weights: str | None) -> Any:
    """Build a pretrained backbone: ``uint8[None, H, W, 3]`` -> average-pooled features ``float32[None, D]``.

    ``weights``: ``"imagenet"``, or the path of a file, with or without the classifier's top: ``.h5``, ``.weights.h5``
    or ``.keras`` as Keras writes them; for EfficientNet-Lite0 also ``.pth``. None leaves fresh weights. The layers lie
    flat in the model, from input to output, so that it can be unfrozen to a depth.

    Raises :class:`InvalidRecipe` for an unknown name or a geometry it cannot compute, :class:`InvalidWeights` where
    the weights cannot be had, read, or do not fit.
    """
    backbone = _backbone(name)
    _check_image(backbone, image)
    if weights is not None and weights != IMAGENET:
        _check_file(name, Path(weights))
    return (_efficientnet_lite0 if name == INSTALLED else _application)(name, image, weights)


def scale_values(name: str, images: Any) -> Any:
    """Scale the values of RGB pictures, a Keras tensor ``uint8[None, H, W, 3]``, as a backbone's weights expect it.

    ``tf``: to -1 .. 1. ``torch``: ImageNet's mean and deviation of each channel become 0 and 1. ``caffe``: BGR less
    ImageNet's means, not scaled. ``built-in``: unchanged. The constants are those of Keras' ``imagenet_utils``.
    """
    scaling = _backbone(name).scaling
    if scaling == "tf":
        return keras.layers.Rescaling(1 / 127.5, -1.0, name="scale")(images)
    if scaling == "torch":
        mean = [255 * channel for channel in (0.485, 0.456, 0.406)]
        variance = [(255 * channel) ** 2 for channel in (0.229, 0.224, 0.225)]
        return keras.layers.Normalization(mean=mean, variance=variance, name="scale")(images)
    if scaling == "caffe":
        centred = keras.layers.Rescaling(1.0, [-123.68, -116.779, -103.939], name="scale")(images)
        return keras.ops.flip(centred, axis=-1)
    return images


def weights_identity(name: str, weights: str) -> str:
    """What a manifest says of a backbone's weights: ``"imagenet"``, or ``sha256:`` and the digest of the file.

    Raises :class:`InvalidWeights` for a file that does not exist or is of a kind the backbone does not read.
    """
    if weights == IMAGENET:
        return IMAGENET
    _check_file(name, Path(weights))
    with Path(weights).open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def _backbone(name: str) -> _Backbone:
    if name not in _BY_NAME:
        raise InvalidRecipe(f"no pretrained base is named {name!r}; there are: {', '.join(BACKBONES)}")
    return _BY_NAME[name]


def _check_image(backbone: _Backbone, image: ImageSpec) -> None:
    if image.channels != 3:
        raise InvalidRecipe(f"{backbone.name} sees colours: set image.channels = 3 (grayscale pictures become RGB)")
    if min(image.height, image.width) < backbone.least:
        raise InvalidRecipe(
            f"{backbone.name} needs pictures of at least {backbone.least} x {backbone.least} pixels, not "
            f"{image.height} x {image.width}; its weights were trained at {backbone.side} x {backbone.side}"
        )


def _check_file(name: str, path: Path) -> None:
    suffixes = (".h5", ".keras", ".pth") if name == INSTALLED else (".h5", ".keras")
    if path.suffix not in suffixes:
        raise InvalidWeights(f'weights of {name}: write "{IMAGENET}" or a file ({", ".join(suffixes)}), not {path}')
    if not path.is_file():
        raise InvalidWeights(f"weights file {path} of {name} does not exist")


def _efficientnet_lite0(name: str, image: ImageSpec, weights: str | None) -> Any:
    model = build_efficientnet_lite0(image.shape)
    if weights == IMAGENET:
        load_torch_weights(model, imagenet_weights())
    elif weights is not None and weights.endswith(".pth"):
        load_torch_weights(model, Path(weights))
    elif weights is not None:
        _load_file(name, model, Path(weights))
    return model


def _application(name: str, image: ImageSpec, weights: str | None) -> Any:
    images = keras.Input(image.shape, dtype="uint8", name="images")
    build = partial(
        _BY_NAME[name].build,
        include_top=False,
        pooling="avg",
        input_shape=image.shape,
        input_tensor=scale_values(name, images),
    )
    if weights == IMAGENET:
        with _one_try_to_download(name):
            return keras.Model(images, build(weights=IMAGENET).output, name=name)
    model = keras.Model(images, build(weights=None).output, name=name)
    if weights is not None:
        _load_file(name, model, Path(weights))
    if weights is not None and name.startswith("efficientnetb"):
        _normalize_as_trained(model)
    return model


@contextmanager
def _one_try_to_download(name: str) -> Iterator[None]:
    """Keras downloads without a limit of time: a network that swallows packets would hold it for ever.

    Its own lines are kept from the user: they announce a download and then say nothing of what can be done about it.
    """
    before, talkative = socket.getdefaulttimeout(), keras.config.is_interactive_logging_enabled()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT_SECONDS)
    keras.config.disable_interactive_logging()
    try:
        yield
    # Keras raises a bare Exception when a download fails.
    except Exception as error:
        cache = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models"
        raise InvalidWeights(
            f"{name}: its ImageNet weights are not in Keras' cache {cache} and could not be downloaded ({error}); "
            f"put the file there, give one with --weights FILE, or take {INSTALLED}, whose weights are installed"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
        if talkative:
            keras.config.enable_interactive_logging()


def _load_file(name: str, model: Any, path: Path) -> None:
    by_order = path.suffix == ".h5" and not path.name.endswith(".weights.h5")
    try:
        try:
            _load_weights(model, path)
        except ValueError:
            # Keras' older format goes by the order of the layers and cannot pass over a top, as the newer ones do.
            if not by_order or name == INSTALLED:
                raise
            _load_below_top(name, model, path)
    # h5py and Keras raise many kinds of errors for damaged and foreign files.
    except Exception as error:
        # The first line says what is wrong; Keras may add a page about every layer.
        problem = str(error).partition("\n")[0]
        raise InvalidWeights(f"weights file {path} does not fit {name}: {problem}") from error


def _load_weights(model: Any, path: Path) -> None:
    with warnings.catch_warnings():
        # Keras meets every layer a second time, in a list that it does not save, and warns although all is loaded.
        warnings.filterwarnings("ignore", "Skipping nested container")
        model.load_weights(path)


def _load_below_top(name: str, model: Any, path: Path) -> None:
    whole = _BY_NAME[name].build(weights=None)
    _load_weights(whole, path)
    model.set_weights(whole.get_weights()[: len(model.weights)])


def _normalize_as_trained(model: Any) -> None:
    """Make an EfficientNet, filled from a file, divide by ImageNet's deviations.

    The files hold the deviations where Keras' layer expects variances. Keras makes up for it by one more layer, which
    it adds for ``weights="imagenet"`` alone; without it, values would be scaled by the deviations' square roots.
    """
    layer = next(layer for layer in model.layers if isinstance(layer, keras.layers.Normalization))
    mean, variance, count = layer.get_weights()
    if np.allclose(variance, _IMAGENET_DEVIATIONS, atol=1e-3):
        layer.set_weights([mean, variance**2, count])
        layer.finalize_state()
