"""What document 000 shows, on a few pictures of noise: counted by hand, drawn, saved and loaded, and the mistakes."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from headway_contract.preprocessing import ImageSpec
from headway_training.datasets import Split
from headway_training.layers import NETWORKS
from headway_training.pictures import ArrayPictures
from scripts import published_walkthrough as walkthrough

DIGITS = np.random.default_rng(1).integers(0, 256, (100, 28, 28, 1), dtype=np.uint8)
LABELS = np.tile(np.arange(10, dtype=np.int32), 10)
TRAIN = DIGITS, keras.utils.to_categorical(LABELS, 10)


class Says:
    """Answers every picture with one digit."""

    def __init__(self, digit: int) -> None:
        self._digit = digit

    def predict(self, pictures: NDArray[np.uint8], **_: object) -> NDArray[np.float32]:
        return np.eye(10, dtype=np.float32)[np.full(len(pictures), self._digit)]


def test_accuracy_by_hand_is_evaluates_and_labels_come_back() -> None:
    model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10, "softmax")])
    by_hand, one_hot, seconds = walkthrough.checks(model, DIGITS, LABELS)
    first, _, second = by_hand.here.partition(" and ")
    assert first == second
    assert one_hot.here == "the labels again"
    assert seconds.here.endswith("us each)")


def test_a_sneaker_is_called_what_the_model_says() -> None:
    clothes = Split(ArrayPictures(DIGITS[..., 0], "fashion-mnist test", ImageSpec(28, 28, 1)), LABELS)
    (fact,) = walkthrough.sneakers(Says(2), clothes)
    assert fact.here == 'the first is called "2"; of 10: 2 (10)'


def test_the_pictures_are_drawn(tmp_path: Path) -> None:
    walkthrough.ten_of_each_digit(DIGITS, LABELS, tmp_path / "ten.png")
    with Image.open(tmp_path / "ten.png") as drawn:
        assert drawn.size == (280, 280)
        # Row 3, column 2: the third 3, dark on light.
        np.testing.assert_array_equal(np.asarray(drawn)[84:112, 56:84], 255 - DIGITS[23, ..., 0])
    walkthrough.first_misclassified(Says(0), DIGITS, LABELS, tmp_path / "wrong.png")
    assert (tmp_path / "wrong.png").stat().st_size > 1000


def test_what_is_saved_as_hdf5_answers_the_same(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10, "softmax")])
    saved, further = walkthrough.saved_as_hdf5(model, TRAIN, DIGITS, LABELS, tmp_path / "model.h5")
    assert saved.here == "the same weights: yes; the same answers: yes"
    assert further.title == "... and fitted further with 100 pictures"
    assert not (tmp_path / "model.h5").exists()


def test_the_mistakes_run_and_say_what_came_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    small: dict[str, Any] = {"tutorial-cnn": NETWORKS["selu-dense"][:2]}
    monkeypatch.setattr(walkthrough, "NETWORKS", small)
    relu, tanh, binary = walkthrough.mistakes(TRAIN, DIGITS, LABELS)
    assert (relu.published, relu.title, tanh.title) == ("NaN", "relu as output", "tanh as output")
    assert "as binary accuracy, which older Keras took" in binary.here
