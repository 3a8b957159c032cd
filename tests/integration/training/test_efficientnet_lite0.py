"""EfficientNet-Lite0's weights are mapped rightly: with its top it names what is on real pictures."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

from headway_contract.preprocessing import decode_image, to_model_input
from headway_training.backbones import build_backbone, default_image
from headway_training.efficientnet_lite0 import build_efficientnet_lite0, imagenet_weights, load_torch_weights
from headway_training.errors import InvalidWeights

PICTURES = 25
# Of each STL-10 class: the ImageNet classes that are kinds of it, and the least share of pictures named as one of them.
# (By chance: 1 in 1000 for each.)
IMAGENET_CLASSES = {
    "airplane": ((404, 895), 0.52),
    "bird": ((*range(7, 25), *range(80, 101), *range(127, 147)), 0.92),
    "car": ((436, 468, 479, 511, 581, 609, 627, 656, 661, 751, 817), 0.68),
    "dog": (tuple(range(151, 269)), 0.88),
    "truck": ((555, 569, 675, 717, 734, 864, 867), 0.8),
}


@pytest.fixture(scope="module")
def network() -> Any:
    model = build_efficientnet_lite0((224, 224, 3), top=True)
    load_torch_weights(model, imagenet_weights())
    return model


@pytest.fixture(scope="module")
def pictures() -> dict[str, Any]:
    """The first test pictures of each class, ``uint8[25, 224, 224, 3]``."""
    data = os.environ.get("HEADWAY_DATA_DIR")
    if data is None or not (Path(data) / "stl10").is_dir():
        pytest.skip("HEADWAY_DATA_DIR names no folder with stl10/")
    spec = default_image("efficientnet-lite0")
    folders = {name: Path(data) / "stl10" / "test" / name for name in IMAGENET_CLASSES}
    return {
        name: np.stack(
            [
                to_model_input(decode_image(path.read_bytes(), spec=spec), spec)
                for path in sorted(folder.iterdir())[:PICTURES]
            ]
        )
        for name, folder in folders.items()
    }


@pytest.fixture(scope="module")
def probabilities(network: Any, pictures: dict[str, Any]) -> dict[str, Any]:
    """What the network with its top says of each picture: ``float[25, 1000]`` by class."""
    return {name: softmax(np.asarray(network(images, training=False)), axis=1) for name, images in pictures.items()}


@pytest.mark.parametrize("name", IMAGENET_CLASSES)
def test_with_its_top_the_network_names_what_is_on_a_picture(name: str, probabilities: dict[str, Any]) -> None:
    kinds, least = IMAGENET_CLASSES[name]
    assert np.isin(probabilities[name].argmax(axis=1), kinds).mean() >= least


def test_channels_and_padding_are_those_the_weights_were_trained_with(probabilities: dict[str, Any]) -> None:
    """The mean probability of the right kinds is 0.629; with channels swapped it is 0.567, and where convolutions with
    stride 2 pad both sides, as PyTorch does, and not the far one first, as TensorFlow does, it is 0.588.
    """
    right = [probabilities[name][:, list(kinds)].sum(axis=1).mean() for name, (kinds, _) in IMAGENET_CLASSES.items()]
    assert np.mean(right) >= 0.62


def test_the_network_has_the_published_number_of_parameters(network: Any) -> None:
    """Less one a filter: of a normalization's scale and shift, folding leaves the bias alone."""
    folded = sum(layer.bias.shape[0] for layer in network.layers if layer.weights and layer.name != "top")
    assert sum(int(np.prod(weight.shape)) for weight in network.trainable_weights) + folded == 4_652_008


def test_the_backbone_gives_what_the_top_sees(network: Any) -> None:
    base = build_backbone("efficientnet-lite0", default_image("efficientnet-lite0"), "imagenet")
    noise = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    kernel, bias = network.get_layer("top").get_weights()
    logits = np.asarray(base(noise, training=False)) @ kernel + bias
    np.testing.assert_allclose(logits, np.asarray(network(noise, training=False)), rtol=1e-4, atol=1e-4)


def test_a_weights_file_of_another_network_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(imagenet_weights().read_bytes().replace(b"_blocks.3._bn2.bias", b"_blocks.3._bn2.tilt"))
    with pytest.raises(InvalidWeights, match=r"weights\.pth has no tensor _blocks\.3\._bn2\.bias"):
        build_backbone("efficientnet-lite0", default_image("efficientnet-lite0"), str(file))
    assert build_backbone("efficientnet-lite0", default_image("efficientnet-lite0"), str(imagenet_weights()))
