"""What ``headway train`` publishes: two versions that answer by themselves as they did when they were trained."""

import json
import re
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from headway_contract.model_manifest import ModelManifest
from headway_contract.preprocessing import decode_image, to_model_input
from headway_training.datasets import load_splits
from headway_training.recipe import recipe_mapping
from headway_training.recipe_files import load_recipe
from tests.integration.training.conftest import TrainedRun
from tests.integration.training.saved_model_session import SessionModel, loaded

MODELS = ("tiny-base", "tiny-head")
FEATURES = 12 * 12 * 32


@pytest.fixture(scope="module")
def sessions(trained: TrainedRun) -> Iterator[dict[str, SessionModel]]:
    """Version 1 of both models, loaded as TensorFlow Serving loads them."""
    with loaded(trained.repository.path(MODELS[0], 1)) as base, loaded(trained.repository.path(MODELS[1], 1)) as head:
        yield dict(zip(MODELS, (base, head), strict=True))


def golden_inputs(manifest: ModelManifest) -> Any:
    return np.stack(
        [to_model_input(decode_image(sample.image, spec=manifest.image), manifest.image) for sample in manifest.golden]
    )


def head_test_pictures(trained: TrainedRun, count: int) -> Any:
    recipe = load_recipe(trained.head_recipe)
    image = trained.repository.manifest("tiny-head", 1).image
    return load_splits(recipe.data, image, recipe.seed, None).test.pictures.read(range(count))


def test_one_sound_version_of_each_is_published_and_nothing_else(trained: TrainedRun) -> None:
    assert trained.repository.models() == MODELS
    for model in MODELS:
        assert trained.repository.versions(model) == (1,)
        trained.repository.verify(model, 1)
    assert list((trained.repository.root / ".staging").iterdir()) == []


def test_the_run_ends_with_a_table_and_the_ratio_of_the_epochs(trained: TrainedRun) -> None:
    for heading in ("model", "accuracy", "95 % interval", "seconds", "s/epoch", "trainable", "frozen"):
        assert heading in trained.stdout
    rows = {line.split()[0]: line.split() for line in trained.stdout.splitlines() if re.match(r"tiny-\w+/1 ", line)}
    assert rows["tiny-base/1"][-2:] == ["599,778", "0"]
    assert rows["tiny-head/1"][-2:] == ["590,210", "9,568"]
    for model in MODELS:
        accuracy = trained.repository.manifest(model, 1).test_accuracy
        assert rows[f"{model}/1"][1:3] == [f"{accuracy.value:.4f}", f"{accuracy.low:.4f}-{accuracy.high:.4f}"]
    assert re.search(
        r"An epoch of head tiny-head takes 1/\d+\.\d of the time of an epoch of base tiny-base: "
        r"\d+\.\d\d s against \d+\.\d\d s",
        trained.stdout,
    )
    assert "epoch   2/2" in trained.stdout
    assert trained.stderr == ""


@pytest.mark.parametrize("model", MODELS)
def test_every_signature_has_the_documented_names_types_and_shapes(
    sessions: dict[str, SessionModel], model: str
) -> None:
    images = {"images": ("uint8", [-1, 28, 28, 1])}
    features = {"features": ("float32", [-1, FEATURES])}
    scores = {"scores": ("float32", [-1, 2])}
    answers = {**scores, "familiarity": ("float32", [-1])}
    assert sessions[model].signatures == {
        "serving_default": (images, answers),
        "features": (images, features),
        "from_features": (features, answers),
        "manifest": ({"request": ("string", [-1])}, {"manifest": ("string", [-1])}),
        "serving_bytes": ({"image_bytes": ("string", [-1])}, scores),
    }


@pytest.mark.parametrize("model", MODELS)
def test_the_graph_gives_the_manifest_of_the_folder_once_per_row(
    trained: TrainedRun, sessions: dict[str, SessionModel], model: str
) -> None:
    written = (trained.repository.path(model, 1) / "assets.extra" / "manifest.json").read_bytes()
    assert sessions[model].run("manifest", [b"", b"x", b""]).tolist() == [written] * 3
    assert sessions[model].run("manifest", np.array([], dtype=object)).tolist() == []


@pytest.mark.parametrize("model", MODELS)
def test_the_golden_samples_are_answered_as_they_were_when_exported(
    trained: TrainedRun, sessions: dict[str, SessionModel], model: str
) -> None:
    manifest = trained.repository.manifest(model, 1)
    expected = [sample.scores for sample in manifest.golden]
    scores = sessions[model].run("serving_default", golden_inputs(manifest))
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)
    assert {sample.label for sample in manifest.golden} == set(manifest.labels)
    assert len(manifest.golden) == 10


@pytest.mark.parametrize("model", MODELS)
def test_features_and_from_features_together_are_serving_default(
    trained: TrainedRun, sessions: dict[str, SessionModel], model: str
) -> None:
    images = head_test_pictures(trained, 100)
    halves = sessions[model].run("from_features", sessions[model].run("features", images))
    np.testing.assert_allclose(halves, sessions[model].run("serving_default", images), rtol=0, atol=1e-6)


def test_pictures_of_other_things_are_unfamiliar(trained: TrainedRun, sessions: dict[str, SessionModel]) -> None:
    own = sessions["tiny-head"].run("serving_default", head_test_pictures(trained, 200), "familiarity")
    noise = np.random.default_rng(0).integers(0, 256, (200, 28, 28, 1), dtype=np.uint8)
    foreign = sessions["tiny-head"].run("serving_default", noise, "familiarity")
    assert (own < 0.05).mean() < 0.15
    assert (foreign < 0.05).mean() > 0.9
    described = trained.repository.manifest("tiny-head", 1).familiarity
    assert described is not None
    assert described.threshold == 0.05


@pytest.mark.parametrize("model", MODELS)
def test_serving_bytes_reads_the_encoded_samples_and_agrees_on_the_label(
    trained: TrainedRun, sessions: dict[str, SessionModel], model: str
) -> None:
    manifest = trained.repository.manifest(model, 1)
    encoded = np.array([sample.image for sample in manifest.golden], dtype=object)
    found = sessions[model].run("serving_bytes", encoded).argmax(axis=1)
    assert found.tolist() == [int(np.argmax(sample.scores)) for sample in manifest.golden]


@pytest.mark.parametrize("model", MODELS)
def test_the_accuracy_in_the_manifest_is_the_servables_on_the_test_split(
    trained: TrainedRun, sessions: dict[str, SessionModel], model: str
) -> None:
    manifest = trained.repository.manifest(model, 1)
    recipe = load_recipe(trained.base_recipe if model == "tiny-base" else trained.head_recipe)
    splits = load_splits(recipe.data, manifest.image, recipe.seed, None)
    pictures = splits.test.pictures.read(range(len(splits.test)))
    right = sessions[model].run("serving_default", pictures).argmax(axis=1) == splits.test.labels
    assert (manifest.test_accuracy.samples, manifest.test_accuracy.value) == (400, right.mean())
    # Guessing gives 0.5.
    assert manifest.test_accuracy.value > 0.8
    assert manifest.provenance.data_digest == splits.digest()


def test_the_manifests_say_where_the_weights_come_from(trained: TrainedRun) -> None:
    base, head = (trained.repository.manifest(model, 1) for model in MODELS)
    assert (base.kind, base.base) == ("base", None)
    assert head.kind == "head"
    assert head.base is not None
    assert (head.base.model, head.base.version) == ("tiny-base", 1)
    assert head.base.digest == trained.repository.digest("tiny-base", 1)
    assert head.image == base.image
    assert (base.labels, head.labels) == (("6", "7"), ("0", "1"))
    for manifest, path in ((base, trained.base_recipe), (head, trained.head_recipe)):
        assert manifest.parameters == 599_778
        assert json.loads(json.dumps(manifest.provenance.recipe)) == recipe_mapping(load_recipe(path))
        assert manifest.provenance.packages["tensorflow"] == tf.__version__
    assert (base.trainable_parameters, head.trainable_parameters) == (599_778, 590_210)


def test_the_head_holds_the_bases_weights_unchanged(trained: TrainedRun, sessions: dict[str, SessionModel]) -> None:
    images = head_test_pictures(trained, 64)
    of_base, of_head = (sessions[model].run("features", images) for model in MODELS)
    np.testing.assert_array_equal(of_base, of_head)
    assert np.abs(of_base).max() > 0
    weights = trained.repository.manifest("tiny-base", 1), trained.repository.manifest("tiny-head", 1)
    assert weights[0].weights_digest != weights[1].weights_digest


def test_the_feature_layers_lie_beside_the_base_only(trained: TrainedRun, sessions: dict[str, SessionModel]) -> None:
    extra = [trained.repository.path(model, 1) / "assets.extra" for model in MODELS]
    assert not (extra[1] / "features.keras").exists()
    images = head_test_pictures(trained, 8)
    layers = keras.models.load_model(extra[0] / "features.keras", compile=False)
    found = np.asarray(layers(images, training=False))
    np.testing.assert_allclose(found, sessions["tiny-base"].run("features", images), rtol=0, atol=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_the_warm_up_file_holds_requests_that_the_model_can_answer(
    trained: TrainedRun, sessions: dict[str, SessionModel], model: str
) -> None:
    path = trained.repository.path(model, 1) / "assets.extra" / "tf_serving_warmup_requests"
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record) for record in tf.compat.v1.io.tf_record_iterator(str(path))
    ]
    # TensorFlow Serving refuses a version with more than 1,000 records.
    assert 1 <= len(logs) <= 1000
    batches = []
    for log in logs:
        request = log.predict_log.request
        assert request.model_spec.name == model
        ((_, tensor),) = request.inputs.items()
        answer = sessions[model].run(request.model_spec.signature_name, tf.make_ndarray(tensor))
        batches.append((request.model_spec.signature_name, len(answer)))
    assert ("serving_default", 1) in batches
    assert max(size for _, size in batches) > 1
