"""MNIST and Fashion-MNIST come whole from a data folder or Keras' cache; without either, one line says what to do."""

import gzip
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from headway_contract.preprocessing import ImageSpec
from headway_training.datasets import Splits, dataset_classes, load_splits, load_test_split
from headway_training.errors import DataMissing, InvalidRecipe
from headway_training.recipe import DataRecipe
from tests.support.training_data_dir import data_dir, needs_data

SPEC = ImageSpec(28, 28, 1, polarity="light_on_dark")
SHOES = DataRecipe(dataset="fashion-mnist", classes=("sandal", "shirt"))


def write_arrays(file: Path, count: int = 40, **changed: NDArray[np.generic]) -> Path:
    """Write ``count`` training and as many test pictures of noise, in the layout of keras.datasets."""
    generator = np.random.default_rng(3)
    arrays: dict[str, NDArray[np.generic]] = {}
    for part in ("train", "test"):
        arrays[f"x_{part}"] = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"y_{part}"] = np.arange(count, dtype=np.uint8) % 10
    np.savez_compressed(file, **(arrays | changed))  # type: ignore[arg-type]  # numpy's stub wants its flag there
    return file


@needs_data
def test_mnist_is_whole_and_validation_is_taken_from_the_training_part_only() -> None:
    splits = load_splits(DataRecipe(dataset="mnist"), SPEC, 1, data_dir())
    assert splits.classes == tuple("0123456789")
    assert len(splits.train) + len(splits.validation) == 60_000
    assert len(splits.validation) == pytest.approx(6000, abs=10)
    # The published counts of the digits 0 to 9 in both parts.
    training = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    counts = splits.check.counts
    assert [count.train + count.validation for count in counts] == training
    assert [count.test for count in counts] == test
    # The test part is in the published order, which begins 7 2 1 0 4, and no two pictures are the same.
    assert [splits.classes[label] for label in splits.test.labels[:5]] == ["7", "2", "1", "0", "4"]
    assert splits.test.pictures.name(4711) == "mnist test 4711"
    assert splits.check.warnings() == ()


@needs_data
def test_a_name_leads_to_the_row_of_the_published_file() -> None:
    splits = load_splits(DataRecipe(dataset="fashion-mnist"), SPEC, 1, data_dir())
    with np.load(data_dir() / "fashion_mnist.npz") as arrays:
        rows, numbers = arrays["x_train"], arrays["y_train"]
    for split in (splits.train, splits.validation):
        for index in (0, 17, len(split) - 1):
            title, _, row = split.pictures.name(index).rpartition(" ")
            assert title == "fashion-mnist train"
            expected = rows[int(row)]
            assert split.labels[index] == numbers[int(row)]
            pixels = split.pictures.read([index])[0, ..., 0]
            assert any(np.array_equal(pixels, polarity) for polarity in (expected, 255 - expected))


@needs_data
def test_a_class_subset_takes_its_pictures_by_the_order_of_the_recipe() -> None:
    splits = load_splits(SHOES, SPEC, 1, data_dir())
    assert splits.classes == ("sandal", "shirt")
    assert [(count.train, count.validation, count.test) for count in splits.check.counts] == [(5400, 600, 1000)] * 2
    test = load_test_split("fashion-mnist", ("shirt", "sandal"), SPEC, data_dir())
    np.testing.assert_array_equal(test.labels, 1 - splits.test.labels)
    np.testing.assert_array_equal(test.pictures.read(range(50)), splits.test.pictures.read(range(50)))


@needs_data
def test_few_training_pictures_are_taken_from_each_class_alike() -> None:
    whole, few = (
        load_splits(SHOES.model_copy(update={"train_samples": wanted}), SPEC, 1, data_dir()) for wanted in (None, 201)
    )
    assert sorted(count.train for count in few.check.counts) == [100, 101]
    assert [(count.validation, count.test) for count in few.check.counts] == [(600, 1000)] * 2
    names = {whole.train.pictures.name(index) for index in range(len(whole.train))}
    assert {few.train.pictures.name(index) for index in range(len(few.train))} < names


@needs_data
def test_the_whole_test_part_of_another_dataset_is_labelled_by_position() -> None:
    fashion = load_test_split("fashion-mnist", None, SPEC, data_dir())
    # The published order: ankle boot, pullover, trouser, trouser, shirt.
    assert (len(fashion), fashion.labels[:5].tolist()) == (10_000, [9, 2, 1, 1, 6])
    with pytest.raises(InvalidRecipe, match="digits has no test part of its own"):
        load_test_split("digits", None, SPEC, data_dir())
    with pytest.raises(InvalidRecipe, match="fashion-mnist has no class boot; its classes: t-shirt"):
        load_test_split("fashion-mnist", ("boot", "bag"), SPEC, data_dir())


def small_mnist(folder: Path, seed: int = 1, **fields: object) -> Splits:
    write_arrays(folder / "mnist.npz", count=100)
    recipe = DataRecipe.model_validate({"dataset": "mnist", "validation": 0.2} | fields)
    return load_splits(recipe, SPEC, seed, folder)


def test_training_pictures_are_shared_out_by_largest_remainder(tmp_path: Path) -> None:
    # 8 training pictures of each of ten classes are left; 25 of 80 are 2.5 each.
    counts = [count.train for count in small_mnist(tmp_path, train_samples=25).check.counts]
    assert sorted(counts) == [2] * 5 + [3] * 5


def test_more_training_pictures_than_there_are_or_too_few_for_the_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRecipe, match=r"train_samples: there are 80 training pictures, not 1,000"):
        small_mnist(tmp_path, train_samples=1000)
    with pytest.raises(InvalidRecipe, match=r"class 0 has 1 training, 2 validation and 10 test pictures"):
        small_mnist(tmp_path, train_samples=10)


def test_the_test_part_is_the_same_whatever_the_seed_is(tmp_path: Path) -> None:
    first, second = small_mnist(tmp_path, 1), small_mnist(tmp_path, 2)
    assert [first.test.pictures.name(i) for i in range(3)] == [f"mnist test {i}" for i in range(3)]
    np.testing.assert_array_equal(first.test.labels, second.test.labels)
    assert first.digest() == small_mnist(tmp_path, 1).digest() != second.digest()


def test_classes_are_known_without_the_data(tmp_path: Path) -> None:
    assert dataset_classes(DataRecipe(dataset="mnist"), None) == tuple("0123456789")
    assert dataset_classes(SHOES, tmp_path) == ("sandal", "shirt")
    assert dataset_classes(DataRecipe(dataset="fashion-mnist"), None)[9] == "ankle-boot"


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:5000]), "not in the layout of keras.datasets"),
        (lambda file: file.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), "not in the layout"),
        (lambda file: np.savez(file, images=np.zeros(3)), "not in the layout of keras.datasets"),
        (lambda file: write_arrays(file, x_test=np.zeros((40, 28, 28))), r"mnist.npz: x_test .* not float64\[40, 28, "),
        (lambda file: write_arrays(file, y_train=np.zeros(39, int)), r"y_train must be .* and \[39\]"),
        (lambda file: write_arrays(file, y_train=np.full(40, 10)), "y_train must hold class numbers from 0 to 9"),
    ],
)
def test_a_file_that_is_something_else_is_named(tmp_path: Path, damage: Callable[[Path], object], problem: str) -> None:
    damage(write_arrays(tmp_path / "mnist.npz"))
    with pytest.raises(DataMissing, match=problem) as refused:
        load_splits(DataRecipe(dataset="mnist"), SPEC, 1, tmp_path)
    assert str(tmp_path / "mnist.npz") in str(refused.value)


def test_a_data_folder_that_is_none_is_refused_before_anything_is_downloaded(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=r"the data folder .*nowhere \(--data-dir or HEADWAY_DATA_DIR\) is not a"):
        load_splits(DataRecipe(dataset="mnist"), SPEC, 1, tmp_path / "nowhere")


LOAD = """
import sys
from pathlib import Path
from headway_training import named_datasets
from headway_training.errors import DataMissing
named_datasets._STALLED_SECONDS = float(sys.argv[3])
try:
    arrays = named_datasets.load_arrays(sys.argv[1], Path(sys.argv[2]) if sys.argv[2] else None)
except DataMissing as error:
    sys.exit(f"MISSING {error}")
print({name: [*pixels.shape, *numbers.tolist()] for name, (pixels, numbers) in arrays.items()})
"""


def load_offline(dataset: str, folder: str, keras_home: Path, proxy_port: int) -> subprocess.CompletedProcess[str]:
    """Load in a fresh process whose downloads all go to a port of this machine."""
    proxy = dict.fromkeys(("http_proxy", "https_proxy"), f"http://127.0.0.1:{proxy_port}")
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment = kept | proxy | {"KERAS_HOME": str(keras_home), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", LOAD, dataset, folder, "0.5"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=200)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_without_network_one_line_says_what_was_looked_for_and_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed_port = listener.getsockname()[1]
    run = load_offline("mnist", str(tmp_path), tmp_path / "keras", closed_port)
    message = run.stderr.rpartition("MISSING ")[2].rstrip("\n")
    assert run.returncode == 1
    assert "\n" not in message
    for part in (
        f"the data folder {tmp_path} has no mnist.npz", "Keras' cache has no copy", "the download failed (",
        "--data-dir or HEADWAY_DATA_DIR", "--set data.dataset=digits",
    ):  # fmt: skip
        assert part in message
    assert run.stdout == ""


def test_a_download_that_stalls_is_given_up(tmp_path: Path, silent_port: int) -> None:
    run = load_offline("fashion-mnist", "", tmp_path / "keras", silent_port)
    message = run.stderr.rpartition("MISSING ")[2]
    assert message.startswith("dataset fashion-mnist: no data folder was given, Keras' cache has no copy, and the down")
    assert "timed out" in message
    # The bundled digits are no replacement for clothes.
    assert "digits" not in message
    assert not list((tmp_path / "keras").rglob("*.gz"))


def test_keras_cache_is_used_where_there_is_no_data_folder(tmp_path: Path) -> None:
    cache = tmp_path / "datasets" / "fashion-mnist"
    cache.mkdir(parents=True)
    for part, labels in (("train", [3, 1, 4]), ("t10k", [1, 5])):
        with gzip.open(cache / f"{part}-labels-idx1-ubyte.gz", "wb") as file:
            file.write(struct.pack(">II", 2049, len(labels)) + bytes(labels))
        with gzip.open(cache / f"{part}-images-idx3-ubyte.gz", "wb") as file:
            file.write(struct.pack(">IIII", 2051, len(labels), 28, 28) + bytes(28 * 28 * len(labels)))
    run = load_offline("fashion-mnist", "", tmp_path, 9)
    assert run.stdout == "{'train': [3, 28, 28, 3, 1, 4], 'test': [2, 28, 28, 1, 5]}\n", run.stderr
