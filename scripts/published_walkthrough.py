"""What document 000 shows beside its accuracies: checks, pictures, a saved model that goes on, and provoked mistakes.

Run by ``make reproduce`` on the published ``mnist-as-published``; uses the package's own parts, for a recipe cannot say
these things or refuses them.
"""

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import matplotlib as mpl
import numpy as np
from matplotlib import pyplot
from numpy.typing import NDArray
from PIL import Image

from headway_contract.preprocessing import ImageSpec
from headway_training.datasets import Split, load_test_split
from headway_training.export import CLASSIFIER_FILE, FEATURES_FILE
from headway_training.head import build_head, compose
from headway_training.layers import NETWORKS
from headway_training.named_datasets import load_arrays
from headway_training.networks import build_network
from headway_training.recipe import HeadRecipe

IMAGE = ImageSpec(28, 28, 1)
PROVOKED = 12_000
"""Training pictures for each mistake: enough to see it."""


@dataclass(frozen=True)
class Fact:
    """One line of the page: what was looked at, what the document says, what came out here."""

    title: str
    published: str
    here: str


def walk_through(version: Path, data_dir: Path | None, pictures: Path) -> list[Fact]:
    """All facts of one published version of ``mnist-as-published``; writes the two pictures of digits to a folder."""
    model = compose(
        *(keras.models.load_model(version / file, compile=False) for file in (FEATURES_FILE, CLASSIFIER_FILE))
    )
    mnist, fashion = (load_test_split(name, None, IMAGE, data_dir) for name in ("mnist", "fashion-mnist"))
    digits, labels = mnist.pictures.read(np.arange(len(mnist))), mnist.labels
    pictures.mkdir(parents=True, exist_ok=True)
    ten_of_each_digit(digits, labels, pictures / "ten-of-each-digit.png")
    facts = [*checks(model, digits, labels), *sneakers(model, fashion)]
    first_misclassified(model, digits, labels, pictures / "first-ten-misclassified.png")
    numbers = load_arrays("mnist", data_dir)["train"]
    train = numbers[0][:PROVOKED, ..., None], keras.utils.to_categorical(numbers[1][:PROVOKED], 10)
    return [
        *facts,
        *saved_as_hdf5(model, train, digits, labels, version.parent / "walkthrough.h5"),
        *mistakes(train, digits, labels),
    ]


def checks(model: Any, digits: NDArray[np.uint8], labels: NDArray[np.int32]) -> list[Fact]:
    """Accuracy by hand beside ``evaluate``'s, one-hot labels and back, and the time for all test pictures."""
    one_hot = keras.utils.to_categorical(labels, 10)
    model.compile(loss="categorical_crossentropy", metrics=["accuracy"])
    evaluated = model.evaluate(digits, one_hot, verbose=0)[1]
    started = time.perf_counter()
    answers = model.predict(digits, verbose=0)
    seconds = time.perf_counter() - started
    back = bool((one_hot.argmax(axis=1) == labels).all() and (one_hot.sum(axis=1) == 1).all())
    return [
        Fact("Accuracy by hand and by `evaluate`", "equal", f"{by_hand(answers, labels):.4f} and {evaluated:.4f}"),
        Fact("One-hot labels, and `argmax` of them", "the labels again", "the labels again" if back else "**others**"),
        Fact("10,000 test pictures", "8 s (840 us each)", f"{seconds:.1f} s ({seconds * 100:.0f} us each)"),
    ]


def by_hand(answers: NDArray[Any], labels: NDArray[np.int32]) -> float:
    """The share of rows whose largest entry is at the label."""
    return float((answers.argmax(axis=1) == labels).mean())


def sneakers(model: Any, fashion: Split) -> list[Fact]:
    """Clothes to the unchanged model: what it calls the first sneaker, and all of them."""
    rows = np.flatnonzero(fashion.labels == 7)
    called = model.predict(fashion.pictures.read(rows), verbose=0).argmax(axis=1).tolist()
    most = ", ".join(f"{digit} ({count})" for digit, count in Counter(called).most_common(3))
    return [
        Fact(
            "A sneaker, to the unchanged model",
            'called "2"',
            f'the first is called "{called[0]}"; of {len(rows):,}: {most}',
        )
    ]


def saved_as_hdf5(
    model: Any, train: tuple[Any, Any], digits: NDArray[np.uint8], labels: NDArray[np.int32], file: Path
) -> list[Fact]:
    """Save, load, compare weights and answers, then continue the fit for one pass over some pictures."""
    before, weights = model.predict(digits, verbose=0), model.get_weights()
    model.save(file)
    loaded = keras.models.load_model(file, compile=False)
    file.unlink()
    # Keras 3 builds the optimizer of an HDF5 file on no variable at all, so that it could not take a step.
    loaded.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    equal = all(np.array_equal(one, other) for one, other in zip(weights, loaded.get_weights(), strict=True))
    same = np.array_equal(before, loaded.predict(digits, verbose=0))
    loss = loaded.fit(*train, batch_size=32, epochs=1, verbose=0).history["loss"][0]
    on = by_hand(loaded.predict(digits, verbose=0), labels)
    return [
        Fact(
            "Saved as HDF5 and loaded",
            "picks up right where we left off",
            f"the same weights: {_yes(equal)}; the same answers: {_yes(same)}",
        ),
        Fact(
            f"... and fitted further with {len(train[0]):,} pictures",
            "the same",
            f"loss {loss:.3f}, test {by_hand(before, labels):.4f}, then {on:.4f}; the optimizer starts anew, for "
            "Keras 3 loses it in HDF5 (`headway train --checkpoint FILE.h5` keeps it: `--resume` is exact)",
        ),
    ]


def mistakes(train: tuple[Any, Any], digits: NDArray[np.uint8], labels: NDArray[np.int32]) -> list[Fact]:
    """The mistakes that run: ReLU and tanh as output, binary cross-entropy over ten classes."""
    facts = []
    for output, published in (("relu", "NaN"), ("tanh", "learns badly or fails")):
        model, loss = _fitted(output, "categorical_crossentropy", train)
        accuracy = by_hand(model.predict(digits, verbose=0), labels)
        facts.append(
            Fact(f"{output} as output", published, f"loss {loss:.4g}, test {accuracy:.4f}; a recipe refuses it")
        )
    model, _ = _fitted("softmax", "binary_crossentropy", train)
    _, told, elementwise = model.evaluate(digits, keras.utils.to_categorical(labels, 10), verbose=0)
    accuracy = by_hand(model.predict(digits, verbose=0), labels)
    facts.append(
        Fact(
            "Binary cross-entropy over ten classes", "accuracy reported differs from accuracy by hand",
            f"by hand {accuracy:.4f}; `evaluate` says {told:.4f} as Keras 3 takes `accuracy` here, and "
            f"{elementwise:.4f} as binary accuracy, which older Keras took; a recipe refuses it",
        )
    )  # fmt: skip
    return facts


def _fitted(output: str, loss: str, train: tuple[Any, Any]) -> tuple[Any, float]:
    keras.utils.set_random_seed(1)
    base = build_network(NETWORKS["tutorial-cnn"], IMAGE)
    # The head's own recipe has no unsafe output: only a whole recipe is refused for one.
    recipe = HeadRecipe.model_validate({"hidden": (), "output": output})
    model = compose(base, build_head(base.output_shape[-1], 10, recipe.model_copy(update={"units": 10})))
    model.compile(optimizer="adam", loss=loss, metrics=["accuracy", keras.metrics.BinaryAccuracy()])
    return model, model.fit(*train, batch_size=32, epochs=1, verbose=0).history["loss"][0]


def ten_of_each_digit(digits: NDArray[np.uint8], labels: NDArray[np.int32], file: Path) -> None:
    """A picture of the first ten test pictures of every digit, a row for each."""
    rows = [np.concatenate(list(digits[labels == digit][:10, ..., 0]), axis=1) for digit in range(10)]
    Image.fromarray(255 - np.concatenate(rows)).save(file)


def first_misclassified(model: Any, digits: NDArray[np.uint8], labels: NDArray[np.int32], file: Path) -> None:
    """A picture of the first ten test pictures that are called something else, with true and predicted label."""
    called = model.predict(digits, verbose=0).argmax(axis=1)
    wrong = np.flatnonzero(called != labels)[:10]
    grid([digits[row, ..., 0] for row in wrong], [f"{labels[row]} called {called[row]}" for row in wrong], file)


def grid(pictures: list[NDArray[np.uint8]], titles: list[str], file: Path) -> None:
    """Pictures in rows of five with a title over each, as PNG."""
    with mpl.rc_context({"savefig.dpi": 80}):
        figure, axes = pyplot.subplots(
            -(-len(pictures) // 5), 5, figsize=(7, 1.6 * -(-len(pictures) // 5)), squeeze=False
        )
        for axis in axes.flat:
            axis.axis("off")
        for axis, picture, title in zip(axes.flat, pictures, titles, strict=False):
            axis.imshow(picture, cmap="gray_r" if picture.ndim == 2 else None)
            axis.set_title(title, fontsize=7)
        figure.tight_layout()
        figure.savefig(file, metadata={"Software": None})
        pyplot.close(figure)


def _yes(value: bool) -> str:
    return "yes" if value else "**no**"
