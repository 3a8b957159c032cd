"""``headway train --images DIR --name NAME``: a folder of pictures becomes a model without a recipe file."""

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from headway_contract.model_repository import ModelRepository
from headway_training.cli import train_main
from headway_training.run_record import REPORT_FILE, RUN_FILE, RunRecord
from tests.integration.training.runs_here import Workshop
from tests.integration.training.tiny_recipes import headway_train, write_colours
from tests.support.training_data_dir import data_dir, needs_data


@pytest.fixture
def repository(workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelRepository:
    """A repository that holds ``coloured-base`` and nothing else; the command keeps its features beside it."""
    monkeypatch.setenv("HEADWAY_CACHE_DIR", str(tmp_path / "cache"))
    shutil.copytree(workshop.repository.path("coloured-base", 1), tmp_path / "models" / "coloured-base" / "1")
    return ModelRepository(tmp_path / "models")


def record(repository: ModelRepository, model: str, version: int = 1) -> RunRecord:
    return RunRecord.from_json((repository.path(model, version) / RUN_FILE).read_text(encoding="utf-8"))


def test_a_head_on_a_base_of_ones_own_needs_no_recipe(
    workshop: Workshop, repository: ModelRepository, tmp_path: Path
) -> None:
    images = "--images", str(workshop.pictures), "--name", "mine", "--base", "coloured-base/1"
    run = headway_train(tmp_path / "cache", *images, "--repository", str(repository.root))
    assert (run.returncode, run.stderr) == (0, "")
    manifest = repository.manifest("mine", 1)
    assert manifest.labels == ("blue", "green", "red")
    assert (manifest.base.model, manifest.base.version) == ("coloured-base", 1)
    assert manifest.test_accuracy.value > 0.7
    assert str(workshop.pictures) in manifest.provenance.recipe["data"]["folder"]
    mine = record(repository, "mine")
    fitted = sum(mine.counts[split] for split in ("train", "validation"))
    assert f"head: logistic regression on {fitted} pictures, at its optimum after " in run.stdout
    # What stands for the validation split are the folds' answers about all pictures that are not the test's.
    assert f"; accuracy {mine.validation_accuracy:.4f} in 5-fold cross-validation, which chose penalty " in run.stdout
    assert mine.phases[0].validation_accuracy[0] == pytest.approx(mine.validation_accuracy)
    assert mine.validation_accuracy * fitted == pytest.approx(round(mine.validation_accuracy * fitted))
    assert mine.temperature != 1


def test_a_relative_folder_is_the_one_of_the_working_directory(
    workshop: Workshop,
    repository: ModelRepository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And not one of that name in the data folder; fields are changed with --set as in a recipe."""
    name = "of-the-working-directory-and-not-of-the-data-folder"
    monkeypatch.chdir(workshop.pictures.parent)
    (tmp_path / "data" / workshop.pictures.name).mkdir(parents=True)
    assert train_main([
        "--images", workshop.pictures.name, "--name", name, "--base", "coloured-base", "--set", "data.test=0.4",
        "--data-dir", str(tmp_path / "data"), "--repository", str(repository.root),
    ]) == 0  # fmt: skip
    assert record(repository, name).counts["test"] == 72
    # In a pipe the table is as wide as its names need.
    assert f"{name}/1 " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("efficientnet-lite", "did you mean the backbone efficientnet-lite0?"),
        ("DenseNet121", "did you mean the backbone densenet121?"),
        ("coloured", "stands on base coloured, which is not in"),
        ("coloured-base/7", "has no version 7"),
    ],
)
def test_an_unknown_base_is_refused_with_the_nearest(
    workshop: Workshop, repository: ModelRepository, base: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    images = "--images", str(workshop.pictures), "--name", "mine", "--base", base
    assert train_main([*images, "--repository", str(repository.root)]) == 2
    assert message in capsys.readouterr().err
    assert repository.models() == ("coloured-base",)


def test_a_folder_that_is_not_there_is_refused(
    repository: ModelRepository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = "--images", str(tmp_path / "absent"), "--name", "mine", "--base", "coloured-base"
    assert train_main([*images, "--repository", str(repository.root)]) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_a_class_of_40_with_ten_copies_is_trained_in_a_repository_of_any_name(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWAY_CACHE_DIR", str(tmp_path / "cache"))
    pictures = write_colours(tmp_path / "pictures", each=31)
    for copy in range(9):
        shutil.copy(pictures / "red" / "007.png", pictures / "red" / f"copy-{copy}.png")
    repository = ModelRepository(tmp_path / "mo[d]els\\1")
    shutil.copytree(workshop.repository.path("coloured-base", 1), repository.root / "coloured-base" / "1")
    images = "--images", str(pictures), "--name", "mine", "--base", "coloured-base", "--set", "fitting.epochs=1"
    assert train_main([*images, "--repository", str(repository.root)]) == 0
    (warning,) = (line for line in record(repository, "mine").data_warnings if "more than once" in line)
    assert warning.startswith("1 picture more than once in a split (9 surplus): red/")


@needs_data
def test_near_copies_across_splits_are_named_shown_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real pair of stl10 among honest pictures, and a test picture that is a training picture saved again."""
    monkeypatch.setenv("HEADWAY_CACHE_DIR", str(tmp_path / "cache"))
    near = {"train/car/4969.png", "test/car/6199.png"}
    for part, count in (("train", 30), ("test", 10)):
        for label in ("car", "cat"):
            folder = data_dir() / "stl10" / part / label
            few = {path.name for path in sorted(folder.iterdir())[:count]}
            names = few | {Path(name).name for name in near if name.startswith(f"{part}/{label}/")}
            (tmp_path / part / label).mkdir(parents=True)
            for name in names:
                shutil.copy(folder / name, tmp_path / part / label / name)
    first = sorted((tmp_path / "train" / "cat").iterdir())[0]
    Image.open(first).save(tmp_path / "test" / "cat" / "again.jpg", quality=75)
    for part in ("train", "test"):
        shutil.move(tmp_path / part, tmp_path / "pictures" / part)
    arguments = ["--images", str(tmp_path / "pictures"), "--name", "mine", "--set", "fitting.epochs=1"]
    assert train_main([*arguments, "--repository", str(tmp_path / "models"), "--on-near-copies", "drop"]) == 0
    left = record(ModelRepository(tmp_path / "models"), "mine")
    (warning,) = (line for line in left.data_warnings if "near copies" in line)
    assert warning in capsys.readouterr().out.replace("\n", " ")
    for pair in (f"train/cat/{first.name} ~ test/cat/again.jpg", "train/car/4969.png ~ test/car/6199.png"):
        assert pair in warning
    assert warning.startswith("2 pairs of near copies in different splits, 2 left out of training and")
    page = (ModelRepository(tmp_path / "models").path("mine", 1) / REPORT_FILE).read_text(encoding="utf-8")
    assert "Near copies in different splits" in page
    assert page.count('alt="its near copy in another split"') == 2
    assert left.counts["train"] + left.counts["validation"] == 61 - 2


def test_two_classes_are_the_least_for_sigmoid_and_for_training(
    workshop: Workshop, repository: ModelRepository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """How many classes a folder has is known only when it is looked at; still nothing is trained before."""
    options = "--name", "mine", "--base", "coloured-base", "--repository", str(repository.root)
    sigmoid = ["fitting.solver=gradient", "augmentation.flip=false", "head.output=sigmoid"]
    changes = [part for each in sigmoid for part in ("--set", each)]
    assert train_main(["--images", str(workshop.pictures), *options, *changes]) == 2
    shown = capsys.readouterr()
    assert "one sigmoid unit tells two classes apart, not 3" in shown.err
    shutil.copytree(workshop.pictures / "red", tmp_path / "one" / "red")
    assert train_main(["--images", str(tmp_path / "one"), *options]) == 2
    assert "has one class, red; a classifier needs two or more" in capsys.readouterr().err
    assert repository.models() == ("coloured-base",)


def test_a_corrupt_picture_is_named_and_refused_or_left_out(
    repository: ModelRepository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = write_colours(tmp_path / "pictures", each=12)
    broken = pictures / "red" / "003.png"
    broken.write_bytes(broken.read_bytes()[:200])
    options = "--images", str(pictures), "--name", "mine", "--base", "coloured-base"
    assert train_main([*options, "--repository", str(repository.root)]) == 2
    refused = capsys.readouterr()
    assert "1 file cannot be read as pictures" in refused.err
    assert "red/003.png: " in refused.err
    assert "head:" not in refused.out
    assert repository.models() == ("coloured-base",)
    assert train_main([*options, "--repository", str(repository.root), "--on-bad-image", "skip"]) == 0
    assert "red/003.png" in capsys.readouterr().out
    left = record(repository, "mine")
    assert sum(left.counts.values()) == 35
    assert any("red/003.png" in warning for warning in left.data_warnings)


def test_a_pretrained_backbone_is_published_once_and_its_features_are_kept(tmp_path: Path) -> None:
    """Whether the backbone had to be built first makes no difference to the head."""
    pictures = write_colours(tmp_path / "pictures", each=10)
    arguments = ["--images", str(pictures), "--name", "mine"]
    arguments += ["--repository", str(tmp_path / "models")]
    cold = headway_train(tmp_path / "cache", *arguments)
    assert (cold.returncode, cold.stderr) == (0, "")
    repository = ModelRepository(tmp_path / "models")
    backbone = repository.manifest("efficientnet-lite0", 1)
    assert (backbone.kind, backbone.form, backbone.labels, backbone.test_accuracy) == ("base", "features", (), None)
    assert repository.manifest("mine", 1).base.digest == repository.digest("efficientnet-lite0", 1)
    features = sorted((tmp_path / "cache" / "features").iterdir())
    # Of three splits, and of the mirror images of those that the head is fitted on.
    assert len(features) == 5
    warm = headway_train(tmp_path / "cache", *arguments)
    assert (warm.returncode, warm.stderr) == (0, "")
    assert "the pretrained backbone that heads stand on" in cold.stdout
    assert "the pretrained backbone that heads stand on" not in warm.stdout
    assert repository.versions("efficientnet-lite0") == (1,)
    assert sorted((tmp_path / "cache" / "features").iterdir()) == features
    first, second = (repository.manifest("mine", version) for version in (1, 2))
    assert second.weights_digest == first.weights_digest
    assert second.test_accuracy == first.test_accuracy


@pytest.mark.parametrize("fault", ["torn", "too few"])
def test_no_backbone_is_published_for_pictures_that_are_refused(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADWAY_CACHE_DIR", str(tmp_path / "cache"))
    pictures = write_colours(tmp_path / "pictures", each=10 if fault == "torn" else 2)
    if fault == "torn":
        (pictures / "red" / "003.png").write_bytes(b"torn")
    arguments = ["--images", str(pictures), "--name", "mine", "--repository", str(tmp_path / "models")]
    assert train_main(arguments) == 2
    said = "red/003.png" if fault == "torn" else "each class needs 2, 1 and 1"
    assert said in capsys.readouterr().err
    assert ModelRepository(tmp_path / "models").models() == ()


def test_a_backbone_takes_its_weights_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = os.environ.get("HEADWAY_DATA_DIR")
    weights = Path(data or "", "..", "weights", "mobilenet_1_0.25_imagenet_notop.weights.h5")
    if data is None or not weights.is_file():
        pytest.skip("needs the MobileNet weights beside HEADWAY_DATA_DIR")
    monkeypatch.setenv("HEADWAY_CACHE_DIR", str(tmp_path / "cache"))
    pictures = write_colours(tmp_path / "pictures", each=10)
    arguments = ["--images", str(pictures), "--name", "mine", "--base", "mobilenet-0.25", "--weights", str(weights)]
    arguments += ["--repository", str(tmp_path / "models"), "--set", "fitting.epochs=3"]
    small = ["image.height=64", "image.width=64", "image.channels=3"]
    assert train_main(arguments + [part for each in small for part in ("--set", each)]) == 0
    repository = ModelRepository(tmp_path / "models")
    backbone = repository.manifest("mobilenet-0.25", 1)
    assert backbone.image.shape == (64, 64, 3)
    # MobileNet at a quarter of its width has 218,544 parameters without its top.
    assert backbone.parameters == 218_544
    assert repository.manifest("mine", 1).base.model == "mobilenet-0.25"
    capsys.readouterr()
    arguments[arguments.index(str(weights))] = str(tmp_path / "absent.h5")
    assert train_main(arguments) == 2
    assert "absent.h5" in capsys.readouterr().err
