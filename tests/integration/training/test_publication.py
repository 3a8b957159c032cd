"""What a run leaves beside its model is what the model, loaded again, does."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from headway_contract.labelled_pictures import TEST_PICTURES_FILE
from headway_contract.model_manifest import ModelManifest
from headway_contract.model_repository import ModelRepository
from headway_contract.preprocessing import decode_image, to_model_input
from headway_training import evaluation
from headway_training.calibration import apply_temperature
from headway_training.datasets import Splits, load_splits
from headway_training.recipe import DataRecipe, recipe_mapping
from headway_training.run_record import REPORT_FILE, SCORES_FILE, ScoredPictures
from tests.integration.training.runs_here import Workshop
from tests.integration.training.saved_model_session import loaded

MODELS = ("coloured-base", "published-head")


@pytest.fixture(scope="module")
def published(workshop: Workshop) -> Workshop:
    workshop.train(workshop.head("published-head"))
    return workshop


def splits_of(published: Workshop, model: str) -> Splits:
    manifest, record = published.repository.manifest(model, 1), published.record(model)
    return load_splits(DataRecipe.model_validate(record.recipe["data"]), manifest.image, record.seed, None)


def scored(published: Workshop, model: str) -> ScoredPictures:
    return ScoredPictures.load(published.repository.path(model, 1) / SCORES_FILE)


def answered(repository: ModelRepository, model: str, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    with loaded(repository.path(model, 1)) as version:
        scores: NDArray[np.float32] = version.run("serving_default", pictures)
        return scores


@pytest.mark.parametrize("model", MODELS)
def test_the_scores_beside_a_version_are_what_it_answers_on_the_whole_test_split(
    published: Workshop, model: str
) -> None:
    splits, kept = splits_of(published, model), scored(published, model)
    pictures = splits.test.pictures
    scores = answered(published.repository, model, pictures.read(range(len(pictures))))
    assert scores.shape == (54, 3)
    np.testing.assert_allclose(kept.scores, scores, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(kept.labels, splits.test.labels)
    assert kept.identities.tolist() == [pictures.identity(index) for index in range(len(pictures))]


@pytest.mark.parametrize("model", MODELS)
def test_the_accuracy_counted_by_hand_is_the_one_told(published: Workshop, model: str) -> None:
    kept, told = scored(published, model), published.repository.manifest(model, 1).test_accuracy
    right = sum(int(np.argmax(row) == label) for row, label in zip(kept.scores, kept.labels, strict=True))
    assert (told.value, told.samples) == (right / 54, 54)
    assert told.low < told.value <= told.high
    # By chance: 1/3. A run without mistakes would leave the next tests with nothing to see.
    assert 0.6 < told.value < 1


@pytest.mark.parametrize("model", MODELS)
def test_the_manifest_and_the_record_tell_the_same(published: Workshop, model: str) -> None:
    manifest, record = published.repository.manifest(model, 1), published.record(model)
    figures, abstention = record.evaluation, record.abstention
    assert (manifest.kind, manifest.form, manifest.labels) == (record.kind, record.form, record.classes)
    assert manifest.test_accuracy == figures.accuracy
    assert [(each.label, each.precision, each.recall, each.samples) for each in manifest.classes] == [
        (each.label, each.precision, each.recall, each.support) for each in figures.per_class
    ]
    assert manifest.calibration.temperature == record.temperature
    assert (manifest.calibration.error_before, manifest.calibration.error_after) == (
        record.uncalibrated_ece,
        figures.ece,
    )
    assert (manifest.abstention.threshold, manifest.abstention.coverage, manifest.abstention.risk) == (
        abstention.threshold,
        abstention.test_coverage,
        abstention.test_risk,
    )
    assert manifest.baselines == {each.name: each.accuracy.value for each in record.baselines}
    assert set(manifest.baselines) == {"majority class", "nearest centroid", "linear"}
    assert manifest.base == record.base
    provenance = manifest.provenance
    assert (provenance.seed, provenance.data_digest, provenance.git_commit, provenance.created) == (
        record.seed,
        record.data_digest,
        record.git_commit,
        record.created,
    )
    assert (dict(provenance.recipe), dict(provenance.packages)) == (dict(record.recipe), dict(record.packages))
    assert (manifest.parameters, manifest.trainable_parameters) == (record.parameters, record.trainable_parameters)


@pytest.mark.parametrize("model", MODELS)
def test_the_record_tells_what_the_kept_scores_show(published: Workshop, model: str) -> None:
    kept, record = scored(published, model), published.record(model)
    assert evaluation.evaluate(kept.scores, kept.labels, record.classes) == record.evaluation
    assert record.data_digest == splits_of(published, model).digest()
    assert dict(record.counts) == {"train": 108, "validation": 18, "test": 54}
    assert record.expected_accuracy == 0


def test_the_records_phases_and_base(published: Workshop) -> None:
    base, head = (published.record(model) for model in MODELS)
    assert [phase.name for phase in base.phases] == ["base"]
    assert [phase.name for phase in head.phases] == ["head"]
    assert [len(phase.loss) for phase in (*base.phases, *head.phases)] == [12, 4]
    assert (base.base, base.base_epoch_seconds) == (None, None)
    assert head.base.model == "coloured-base"
    assert head.base_epoch_seconds == base.phases[0].median_epoch_seconds
    assert head.recipe == recipe_mapping(published.head("published-head"))


@pytest.mark.parametrize("model", MODELS)
def test_calibration_is_part_of_the_exported_scores(published: Workshop, model: str) -> None:
    """Undone by hand, the scores have the calibration error that is told of them before."""
    kept, record = scored(published, model), published.record(model)
    assert record.temperature != pytest.approx(1, abs=0.02)
    before = apply_temperature(kept.scores, 1 / record.temperature)
    assert evaluation.evaluate(before, kept.labels, record.classes).ece == pytest.approx(
        record.uncalibrated_ece, abs=1e-4
    )
    np.testing.assert_array_equal(before.argmax(axis=1), kept.scores.argmax(axis=1))


@pytest.mark.parametrize("model", MODELS)
def test_the_page_is_one_file_that_shows_the_run(published: Workshop, model: str) -> None:
    page = (published.repository.path(model, 1) / REPORT_FILE).read_text(encoding="utf-8")
    accuracy = published.record(model).evaluation.accuracy.value
    assert model in page
    assert f"{100 * accuracy:.2f}" in page
    assert page.count("data:image/png;base64,") >= 10
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", page)


@pytest.mark.parametrize("model", MODELS)
def test_golden_samples_are_the_test_files_as_they_are(published: Workshop, model: str) -> None:
    files = {path.read_bytes(): path.parent.name for path in published.pictures.rglob("*.png")}
    manifest = published.repository.manifest(model, 1)
    assert [files[sample.image] for sample in manifest.golden] == [sample.label for sample in manifest.golden]
    assert {sample.label for sample in manifest.golden} == {"red", "green", "blue"}
    assert_golden(published.repository, manifest)


def assert_golden(repository: ModelRepository, manifest: ModelManifest) -> None:
    pictures = np.stack(
        [to_model_input(decode_image(sample.image, spec=manifest.image), manifest.image) for sample in manifest.golden]
    )
    expected = [sample.scores for sample in manifest.golden]
    np.testing.assert_allclose(answered(repository, manifest.model, pictures), expected, rtol=0, atol=1e-5)


def test_a_large_test_picture_is_a_smaller_golden_sample_that_is_answered_too(
    published: Workshop, tmp_path: Path
) -> None:
    noise = np.random.default_rng(3)
    for name, mode in (("red", "RGB"), ("green", "RGBA"), ("blue", "L")):
        for number in range(8):
            shape = (600, 500) if mode == "L" else (600, 500, len(mode))
            rough = noise.integers(0, 256, [-(-side // 8) for side in shape[:2]] + list(shape[2:]), dtype=np.uint8)
            picture = Image.fromarray(rough).resize((500, 600))
            (tmp_path / name).mkdir(exist_ok=True)
            picture.save(tmp_path / name / f"{number}.png")
    assert min(path.stat().st_size for path in tmp_path.rglob("*.png")) > 32_768
    published.train(published.head("large", f'data.folder="{tmp_path}"'))
    manifest = published.repository.manifest("large", 1)
    assert {sample.label for sample in manifest.golden} == {"red", "green", "blue"}
    for sample in manifest.golden:
        assert max(decode_image(sample.image).size) == 384
    assert_golden(published.repository, manifest)


def test_test_pictures_are_stored_with_their_labels_unless_they_are_private(published: Workshop) -> None:
    """The files as they are; and the same ones by any seed, where the test split is the same."""
    files = {path.read_bytes(): path.parent.name for path in published.pictures.rglob("*.png")}
    splits = splits_of(published, "published-head")
    held_out = {splits.test.pictures.encoded(index) for index in range(len(splits.test))}
    stored = published.repository.test_pictures("published-head", 1)
    assert {each.image for each in stored} == held_out
    assert [files[each.image] for each in stored] == [each.label for each in stored]
    assert len({each.label for each in stored[:9]}) > 1, "in random order: a part of them is a sample too"
    published.train(published.head("published-head"))
    again = max(published.repository.versions("published-head"))
    paths = [published.repository.path("published-head", version) / TEST_PICTURES_FILE for version in (1, again)]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    published.train(published.head("private", "export.test_pictures=false"))
    assert published.repository.test_pictures("private", 1) == ()
    assert not (published.repository.path("private", 1) / TEST_PICTURES_FILE).exists()


def test_the_record_is_plain_json(published: Workshop) -> None:
    text = (published.repository.path("coloured-base", 1) / "assets.extra" / "run.json").read_text(encoding="utf-8")
    assert json.loads(text)["model"] == "coloured-base"


def test_the_same_seed_trains_the_same_model_twice_and_another_seed_another(published: Workshop) -> None:
    published.train(published.head("published-head"))
    published.train(published.head("published-head", "seed=2"))
    newest = max(published.repository.versions("published-head"))
    first, again, other = (
        published.repository.manifest("published-head", version) for version in (1, newest - 1, newest)
    )
    assert again.weights_digest == first.weights_digest
    assert again.test_accuracy == first.test_accuracy
    assert again.golden == first.golden
    assert other.weights_digest != first.weights_digest


def test_the_published_mistake_is_reproduced(published: Workshop) -> None:
    """A softmax over one unit is 1 for every picture, so the second class is always answered and nothing is learnt."""
    overrides = 'reproduces_mistake="one-unit-softmax"', "head.units=1", 'data.classes=["red", "blue"]'
    published.train(published.head("mistaken", *overrides))
    assert published.repository.manifest("mistaken", 1).test_accuracy.value == 0.5
    kept = scored(published, "mistaken")
    np.testing.assert_allclose(kept.scores, np.tile([0, 1], (len(kept.labels), 1)), atol=1e-6)
