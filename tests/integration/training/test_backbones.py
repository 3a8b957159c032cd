"""Backbones by name: their own scaling, their weights from files, and what they refuse."""

import hashlib
import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.linear_model import LogisticRegression

from headway_contract.preprocessing import ImageSpec, decode_image, to_model_input
from headway_training.backbones import BACKBONES, build_backbone, default_image, scale_values, weights_identity
from headway_training.errors import InvalidRecipe, InvalidWeights

CONSTRUCTORS = {name.lower(): value for name, value in vars(keras.applications).items() if inspect.isfunction(value)}
SMALL = ImageSpec(32, 32, 3)


def pictures(side: int, count: int = 2) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def scaling_alone(name: str) -> Any:
    images = keras.Input((8, 8, 3), dtype="uint8", name="images")
    return keras.Model(images, scale_values(name, images))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A MobileNet of a quarter's width with fresh weights, saved in every way that Keras offers."""
    folder = tmp_path_factory.mktemp("weights")
    with_top = keras.applications.MobileNet(alpha=0.25, weights=None)
    without = keras.applications.MobileNet(alpha=0.25, weights=None, include_top=False, input_shape=(64, 64, 3))
    for model, name in ((with_top, "top"), (without, "notop")):
        model.save(folder / f"{name}.h5")
        model.save(folder / f"{name}.keras")
        model.save_weights(folder / f"{name}.weights.h5")
    return folder, {"top": with_top.get_weights(), "notop": without.get_weights()}


def test_every_keras_application_has_its_name() -> None:
    assert set(BACKBONES) == {*CONSTRUCTORS, "mobilenet-0.25", "efficientnet-lite0"}


@pytest.mark.parametrize("name", sorted(CONSTRUCTORS))
def test_values_are_scaled_as_the_family_of_keras_does(name: str) -> None:
    family = importlib.import_module(CONSTRUCTORS[name].__module__)
    expected = family.preprocess_input(pictures(8).astype(np.float32))
    scaled = np.asarray(scaling_alone(name)(pictures(8)), dtype=np.float32)
    np.testing.assert_allclose(scaled, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["efficientnetb0", "efficientnetv2b0", "mobilenetv3small", "convnexttiny"])
def test_families_that_scale_by_themselves_begin_with_it(name: str) -> None:
    base = build_backbone(name, SMALL, None)
    first = base.layers[1]
    assert isinstance(first, keras.layers.Rescaling | keras.layers.Normalization)
    assert np.abs(np.asarray(first(pictures(32)))).max() < 4
    assert base.input.dtype == "uint8"
    assert base(pictures(32), training=False).shape == (2, base.output_shape[-1])


@pytest.mark.parametrize("name", ["resnet50", "densenet121", "xception"])
def test_scaling_survives_a_keras_file_and_a_saved_model(name: str, tmp_path: Path) -> None:
    model = scaling_alone(name)
    expected = np.asarray(model(pictures(8)))
    model.save(tmp_path / "scaling.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "scaling.keras")(pictures(8)), expected)
    model.export(tmp_path / "scaling", verbose=False)
    np.testing.assert_array_equal(tf.saved_model.load(tmp_path / "scaling").serve(pictures(8)), expected)


@pytest.mark.parametrize("name", sorted(CONSTRUCTORS))
def test_the_smallest_picture_is_the_one_keras_names(name: str) -> None:
    with pytest.raises(InvalidRecipe, match=f"{name} needs pictures of at least") as refused:
        build_backbone(name, ImageSpec(16, 224, 3), None)
    least = int(str(refused.value).split("at least ")[1].split()[0])
    too_small = (least - 1, least - 1, 3)
    with pytest.raises(InvalidRecipe):
        build_backbone(name, ImageSpec(*too_small), None)
    with pytest.raises(ValueError, match=f"at least {least}x{least}"):
        CONSTRUCTORS[name](weights=None, include_top=False, input_shape=too_small)


def test_what_no_backbone_can_do_is_refused() -> None:
    with pytest.raises(InvalidRecipe, match=r"no pretrained base is named 'resnet51'; there are: .*resnet50"):
        default_image("resnet51")
    with pytest.raises(InvalidRecipe, match="vgg16 sees colours"):
        build_backbone("vgg16", ImageSpec(64, 64, 1), None)


@pytest.mark.parametrize("name", ["mobilenet-0.25", "efficientnet-lite0"])
def test_a_backbone_lies_flat_from_pixels_to_pooled_features(name: str, tmp_path: Path) -> None:
    base = build_backbone(name, ImageSpec(64, 96, 3), None)
    assert (base.name, base.input_shape, base.input.dtype) == (name, (None, 64, 96, 3), "uint8")
    assert len(base.output_shape) == 2
    assert not [layer for layer in base.layers if isinstance(layer, keras.Model)]
    base.save(tmp_path / "base.keras")
    again = keras.models.load_model(tmp_path / "base.keras", compile=False)
    images = np.random.default_rng(1).integers(0, 256, (3, 64, 96, 3), dtype=np.uint8)
    np.testing.assert_array_equal(again(images, training=False), base(images, training=False))


@pytest.mark.parametrize("top", ["top", "notop"])
@pytest.mark.parametrize("suffix", [".h5", ".weights.h5", ".keras"])
def test_weights_come_from_each_kind_of_keras_file_with_or_without_a_top(saved: Any, top: str, suffix: str) -> None:
    folder, weights = saved
    base = build_backbone("mobilenet-0.25", ImageSpec(96, 96, 3), str(folder / f"{top}{suffix}"))
    for mine, theirs in zip(base.get_weights(), weights[top], strict=top == "notop"):
        np.testing.assert_array_equal(mine, theirs)


def test_the_features_of_a_weights_file_tell_classes_apart() -> None:
    """MobileNet at a quarter of its width, 160 x 160, 20 STL-10 pictures a class: a linear probe; chance is 0.11."""
    data = os.environ.get("HEADWAY_DATA_DIR")
    file = Path(data or ".").parent / "weights" / "mobilenet_1_0.25_imagenet_notop.weights.h5"
    if data is None or not file.is_file():
        pytest.skip("HEADWAY_DATA_DIR and the weights beside it are not here")
    base = build_backbone("mobilenet-0.25", ImageSpec(160, 160, 3), str(file))
    features, labels = [], []
    for label, folder in enumerate(sorted((Path(data) / "stl10" / "test").iterdir())):
        read = [decode_image(path.read_bytes()) for path in sorted(folder.iterdir())[:40]]
        images = np.stack([to_model_input(image, ImageSpec(160, 160, 3)) for image in read])
        features.append(np.asarray(base(images, training=False)))
        labels.append(label)
    train, test = (np.concatenate([rows[half] for rows in features]) for half in (slice(20), slice(20, 40)))
    probe = LogisticRegression(max_iter=2000).fit(train, np.repeat(labels, 20))
    assert probe.score(test, np.repeat(labels, 20)) >= 0.75


def test_weights_that_do_not_fit_are_refused_in_one_line(saved: Any) -> None:
    folder, _ = saved
    damaged = folder / "damaged.weights.h5"
    damaged.write_bytes((folder / "notop.weights.h5").read_bytes()[:20_000])
    (folder / "weights.txt").write_text("no weights")
    for name, file, problem in (
        ("mobilenet", "notop.weights.h5", r"notop\.weights\.h5 does not fit mobilenet: "),
        ("mobilenet", "notop.h5", r"notop\.h5 does not fit mobilenet: "),
        ("mobilenetv2", "notop.keras", r"notop\.keras does not fit mobilenetv2: "),
        ("mobilenet-0.25", "damaged.weights.h5", r"damaged\.weights\.h5 does not fit mobilenet-0\.25: "),
        ("mobilenet-0.25", "missing.h5", r"missing\.h5 of mobilenet-0\.25 does not exist"),
        ("mobilenet-0.25", "weights.txt", r'write "imagenet" or a file'),
    ):
        with pytest.raises(InvalidWeights, match=problem) as refused:
            build_backbone(name, SMALL, str(folder / file))
        assert "\n" not in str(refused.value)


def test_a_files_identity_is_its_content(saved: Any) -> None:
    folder, _ = saved
    file = folder / "notop.weights.h5"
    expected = "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()
    assert weights_identity("mobilenet-0.25", str(file)) == expected
    assert weights_identity("mobilenet-0.25", "imagenet") == "imagenet"
    with pytest.raises(InvalidWeights, match="does not exist"):
        weights_identity("mobilenet-0.25", str(folder / "missing.h5"))


def test_an_efficientnet_from_a_file_sees_the_values_that_its_weights_were_trained_on(tmp_path: Path) -> None:
    """Keras' ImageNet files hold deviations as the variances of the Normalization layer, and Keras adds a layer for it
    only where it downloads the file itself.
    """
    mean, deviation = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
    published = keras.applications.EfficientNetB0(weights=None, include_top=False, input_shape=(32, 32, 3))
    published.get_layer(index=2).set_weights([mean, deviation, np.int32(0)])
    published.save_weights(tmp_path / "b0.weights.h5")
    base = build_backbone("efficientnetb0", SMALL, str(tmp_path / "b0.weights.h5"))
    before_stem = keras.Model(base.input, base.get_layer("stem_conv_pad").input)
    expected = (pictures(32) / np.float32(255) - mean) / deviation
    np.testing.assert_allclose(np.asarray(before_stem(pictures(32))), expected, rtol=1e-5, atol=1e-5)


def test_without_a_network_one_line_says_which_file_is_missing_and_what_to_do(tmp_path: Path) -> None:
    program = """
from headway_contract.preprocessing import ImageSpec, decode_image, to_model_input
from headway_training.backbones import build_backbone
from headway_training.errors import InvalidWeights
try:
    build_backbone("densenet121", ImageSpec(64, 64, 3), "imagenet")
except InvalidWeights as error:
    print("REFUSED", error)
"""
    nowhere = {"KERAS_HOME": str(tmp_path), "https_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ | nowhere
    )
    (line,) = run.stdout.splitlines()
    assert line.startswith("REFUSED ")
    assert "densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5" in line
    assert str(tmp_path / "models") in line
    assert "--weights FILE" in line
    assert "efficientnet-lite0" in line


def test_moving_statistics_stay_while_kernels_are_fitted_in_inference_mode() -> None:
    base = build_backbone("mobilenet-0.25", SMALL, None)
    statistics = [weight for weight in base.weights if weight.name in ("moving_mean", "moving_variance")]
    before = [weight.numpy() for weight in statistics]
    kernel = base.get_layer("conv_pw_13").kernel
    first = kernel.numpy()
    optimizer = keras.optimizers.SGD(0.1)
    for step in range(3):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((base(pictures(32, 4), training=False) - step) ** 2)
        optimizer.apply_gradients(
            zip(tape.gradient(loss, base.trainable_variables), base.trainable_variables, strict=True)
        )
    assert np.abs(kernel.numpy() - first).max() > 0
    for weight, value in zip(statistics, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)
    base(pictures(32, 4), training=True)
    assert any(np.abs(weight.numpy() - value).max() > 0 for weight, value in zip(statistics, before, strict=True))
