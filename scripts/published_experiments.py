"""The source documents' experiments once more, in plain Keras and with nothing of Headway: what its recipes must match.

    python scripts/published_experiments.py 002 --seed 1

A document's number, or a part of it such as ``002-sigmoid``; prints one JSON line for each experiment, with the test
accuracies of its models (001, 003 and 004: after each epoch). ``HEADWAY_DATA_DIR`` names a folder with ``mnist.npz``,
``fashion_mnist.npz`` (else Keras loads them) and ``stl10/train``, ``stl10/test`` for 003.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras.layers import Conv2D, Dense, Dropout, Flatten, MaxPooling2D

DATA = Path(os.environ.get("HEADWAY_DATA_DIR", "."))
Images = tuple[Any, Any, Any, Any]
Curves = dict[str, list[float]]


def load(name: str) -> Images:
    """Training pictures and numbers, test pictures and numbers; pictures as float32 from 0 to 1."""
    file = DATA / f"{name}.npz"
    if file.exists():
        with np.load(file) as arrays:
            found = [arrays[key] for key in ("x_train", "y_train", "x_test", "y_test")]
    else:
        (train, train_y), (test, test_y) = getattr(keras.datasets, name).load_data()
        found = [train, train_y, test, test_y]
    return found[0].astype("float32") / 255, found[1], found[2].astype("float32") / 255, found[3]


def halves(dataset: str, base_is_upper: bool) -> Curves:
    """001 and 004: five classes, then the other five by the same model with its feature layers frozen."""
    x, y, test, test_y = load(dataset)
    features = [
        Conv2D(32, 3, activation="relu"), Conv2D(32, 3, activation="relu"), MaxPooling2D(2), Dropout(0.25), Flatten(),
    ]  # fmt: skip
    classifier = [Dense(128, activation="relu"), Dropout(0.5), Dense(5, activation="softmax")]
    model = keras.Sequential([keras.Input((28, 28, 1)), *features, *classifier])
    found = {}
    for step in ("base", "head"):
        upper = base_is_upper == (step == "base")
        mine, mine_test = (y >= 5) == upper, (test_y >= 5) == upper
        less = 5 if upper else 0
        model.compile(optimizer="adadelta", loss="categorical_crossentropy", metrics=["accuracy"])
        history = model.fit(
            x[mine, ..., None], keras.utils.to_categorical(y[mine] - less, 5), batch_size=128, epochs=5, verbose=0,
            validation_data=(test[mine_test, ..., None], keras.utils.to_categorical(test_y[mine_test] - less, 5)),
        )  # fmt: skip
        found[step] = history.history["val_accuracy"]
        for layer in features:
            layer.trainable = False
    return found


def dense_body() -> list[Any]:
    """002: the layers of networks A and B, but the last one."""
    return [Flatten(), *(Dense(units, activation="selu") for units in (300, 100, 50, 50, 50))]


def dense_fit(layers: list[Any], loss: str, train: tuple[Any, Any], test: tuple[Any, Any]) -> list[float]:
    """002: fit, and the test accuracy after the last of five epochs."""
    model = keras.Sequential([keras.Input((28, 28)), *layers])
    model.compile(optimizer=keras.optimizers.SGD(1e-3), loss=loss, metrics=["accuracy"])
    model.fit(*train, epochs=5, batch_size=32, verbose=0)
    return [model.evaluate(*test, verbose=0)[1]]


def two_of(images: Any, numbers: Any) -> tuple[Any, Any]:
    """002: sandals (0.0) and shirts (1.0)."""
    chosen = (numbers == 5) | (numbers == 6)
    return images[chosen], (numbers[chosen] == 6).astype("float32")


def eight_of(images: Any, numbers: Any) -> tuple[Any, Any]:
    """002: the other eight classes; 7, 8, 9 become 5, 6, 7."""
    chosen = (numbers != 5) & (numbers != 6)
    return images[chosen], np.where(numbers[chosen] > 6, numbers[chosen] - 2, numbers[chosen])


def first_30000() -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """002: 25,000 training pictures (5,000 before them are validation, which chooses nothing) and 5,000 test ones."""
    x, y, test, test_y = load("fashion_mnist")
    return (x[5000:30000], y[5000:30000]), (test[:5000], test_y[:5000])


def b_from_scratch(output: str, pictures: int | None = None) -> Curves:
    """002: network B by itself, with a softmax over one unit as published, or with a sigmoid."""
    train, test = first_30000()
    x, y = two_of(*train)
    last = Dense(1, activation=output)
    return {"B": dense_fit([*dense_body(), last], "binary_crossentropy", (x[:pictures], y[:pictures]), two_of(*test))}


def b_on_a() -> Curves:
    """002: network A, then B on its frozen layers."""
    train, test = first_30000()
    body = dense_body()
    a = dense_fit([*body, Dense(8, activation="softmax")], "sparse_categorical_crossentropy", eight_of(*train),
                  eight_of(*test))  # fmt: skip
    for layer in body:
        layer.trainable = False
    last = Dense(1, activation="sigmoid")
    return {"A": a, "B on A": dense_fit([*body, last], "binary_crossentropy", two_of(*train), two_of(*test))}


def one_epoch(model: Any, dataset: Images) -> float:
    """000: one epoch, and the accuracy on the test pictures."""
    x, y = dataset[:2]
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    model.fit(x[..., None], keras.utils.to_categorical(y), batch_size=32, epochs=1, verbose=0)
    return tested(model, dataset)


def tested(model: Any, dataset: Images) -> float:
    """000: accuracy by hand on the test pictures."""
    return float((model.predict(dataset[2][..., None], verbose=0).argmax(1) == dataset[3]).mean())


def ten_classes() -> Curves:
    """000: digits, then clothes by a copy of that model with ever fewer layers frozen, then clothes from scratch."""
    mnist, fashion = load("mnist"), load("fashion_mnist")
    model = keras.Sequential([
        keras.Input((28, 28, 1)), Conv2D(32, 3, activation="relu"), Conv2D(32, 3, activation="relu"), MaxPooling2D(2),
        Dropout(0.25), Flatten(), Dense(128, activation="relu"), Dropout(0.5), Dense(10, activation="softmax"),
    ])  # fmt: skip
    fresh = keras.models.clone_model(model)
    found = {"mnist": [one_epoch(model, mnist)], "mnist on fashion": [tested(model, fashion)]}
    learning = [layer for layer in model.layers if layer.weights]
    for depth in range(4):
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        frozen = {layer.name for layer in learning[: 3 - depth]}
        for layer in copy.layers:
            layer.trainable = layer.name not in frozen
        found[f"fashion head, depth {depth}"] = [one_epoch(copy, fashion), tested(copy, mnist)]
    found["fashion from scratch"] = [one_epoch(fresh, fashion)]
    return found


def densenet() -> Curves:
    """003: DenseNet121 with ImageNet weights, frozen, a dense head, pictures streamed from class folders."""

    def stream(folder: str, **more: Any) -> Any:
        return keras.utils.image_dataset_from_directory(DATA / "stl10" / folder, image_size=(96, 96), **more)

    base = keras.applications.DenseNet121(include_top=False, pooling="avg", input_shape=(96, 96, 3))
    base.trainable = False
    train, test = stream("train", seed=1), stream("test", shuffle=False)
    images = keras.Input((96, 96, 3))
    x = base(keras.applications.densenet.preprocess_input(images), training=False)
    scores = Dense(len(train.class_names), activation="softmax")(Dense(128, activation="relu")(x))
    model = keras.Model(images, scores)
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return {"head": model.fit(train, epochs=10, validation_data=test, verbose=0).history["val_accuracy"]}


EXPERIMENTS: dict[str, Callable[[], Curves]] = {
    "000": ten_classes,
    "001": lambda: halves("mnist", True),
    "002-scratch": lambda: b_from_scratch("softmax"),
    "002-sigmoid": lambda: b_from_scratch("sigmoid"),
    "002-sigmoid-200": lambda: b_from_scratch("sigmoid", 200),
    "002-on-a": b_on_a,
    "003": densenet,
    "004-base-5to9": lambda: halves("fashion_mnist", True),
    "004-base-0to4": lambda: halves("fashion_mnist", False),
}


def main() -> int:
    """Run what was asked for and print its curves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("document", help="000, 001, 002, 003, 004, or one of: " + ", ".join(EXPERIMENTS))
    parser.add_argument("--seed", type=int, default=1, help="of weights and order (the documents set none)")
    arguments = parser.parse_args()
    chosen = [name for name in EXPERIMENTS if name.startswith(arguments.document)]
    for name in chosen:
        keras.utils.set_random_seed(arguments.seed)
        found = {title: [round(value, 4) for value in curve] for title, curve in EXPERIMENTS[name]().items()}
        print(json.dumps({"experiment": name, "seed": arguments.seed, **found}), flush=True)
    return 0 if chosen else 2


if __name__ == "__main__":
    sys.exit(main())
