"""The shapes that are worked out before Keras is loaded are the ones that Keras then makes."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from headway_contract.preprocessing import ImageSpec
from headway_training.head import build_head
from headway_training.layers import NETWORKS, Layer, feature_width
from headway_training.networks import build_network
from headway_training.recipe import HeadRecipe

_LAYERS = TypeAdapter(tuple[Layer, ...])


def layers(*described: dict[str, Any]) -> tuple[Layer, ...]:
    return _LAYERS.validate_python(described)


MAPS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(
        dict,
        type=st.just("conv"),
        filters=st.integers(1, 4),
        kernel=st.integers(1, 5),
        strides=st.integers(1, 3),
        padding=st.sampled_from(["valid", "same"]),
        activation=st.sampled_from(["linear", "relu", "swish"]),
    ),
    st.builds(dict, type=st.sampled_from(["max_pool", "average_pool"]), size=st.integers(1, 3)),
    st.builds(dict, type=st.sampled_from(["batch_norm", "relu"])),
)
FLAT: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(dict, type=st.just("dense"), units=st.integers(1, 5)),
    st.builds(dict, type=st.just("dropout"), rate=st.floats(0, 0.9)),
)


@settings(deadline=None, max_examples=25)
@given(
    maps=st.lists(MAPS, max_size=4),
    flattening=st.sampled_from(["flatten", "global_pool"]),
    flat=st.lists(FLAT, max_size=2),
    height=st.integers(4, 20),
    width=st.integers(4, 20),
    channels=st.sampled_from([1, 3]),
)
def test_keras_makes_the_features_that_were_foretold(
    maps: list[dict[str, Any]],
    flattening: str,
    flat: list[dict[str, Any]],
    height: int,
    width: int,
    channels: int,
) -> None:
    network = layers(*maps, {"type": flattening}, *flat)
    image = ImageSpec(height, width, channels)
    try:
        foretold = feature_width(network, image.shape)
    except ValueError:
        reject()  # too small a picture for so many layers
    base = build_network(network, image)
    assert base.output_shape == (None, foretold)
    assert base(np.zeros((2, *image.shape), np.uint8), training=False).shape == (2, foretold)


@pytest.mark.parametrize(
    ("name", "width"),
    [("seed-cnn", 4608), ("strided-cnn", 1600), ("pooled-cnn", 1600), ("tutorial-cnn", 128), ("selu-dense", 50)],
)
def test_the_named_networks_make_as_many_features_as_they_are_described_with(name: str, width: int) -> None:
    assert feature_width(NETWORKS[name], (28, 28, 1)) == width


def test_gerons_network_with_its_eight_scores_has_the_276158_parameters_that_his_notebook_shows() -> None:
    base = build_network(NETWORKS["selu-dense"], ImageSpec(28, 28, 1))
    head = build_head(base.output_shape[-1], 8, HeadRecipe(hidden=()))
    assert base.count_params() + head.count_params() == 276_158


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ([{"type": "conv", "filters": 2}], r"the layers end in feature maps 8x8x2, which no dense layer can classify"),
        ([{"type": "max_pool"}], r'add a last layer \{ type = "flatten" \}'),
        ([], r"feature maps 10x10x1"),
        ([{"type": "dense", "units": 3}], r"layer 1 \(dense\): its input is 10x10x1: .* put .*flatten.* before it"),
        ([{"type": "flatten"}, {"type": "conv", "filters": 2}], r"layer 2 \(conv\): it needs feature maps, but its"),
        ([{"type": "flatten"}, {"type": "max_pool"}], r"layer 2 \(max_pool\): .* put it before flatten"),
        ([{"type": "flatten"}, {"type": "global_pool"}], r"layer 2 \(global_pool\): .* put it before flatten"),
        ([{"type": "conv", "filters": 2, "kernel": 11}], r"layer 1 \(conv\): its input of 10x10 pixels is too small"),
        ([{"type": "max_pool", "size": 11}], r"layer 1 \(max_pool\): its input of 10x10 pixels is too small for it"),
    ],
)
def test_a_network_that_cannot_run_is_refused_with_its_layer_and_the_way_out(
    described: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        feature_width(layers(*described), (10, 10, 1))
