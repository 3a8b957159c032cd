"""Chooses the pictures that a report shows."""

from collections.abc import Sequence

import numpy as np

from headway_training.datasets import Splits
from headway_training.report import ClassPictures, Galleries, Picture
from headway_training.run_record import Evaluation, Mistake

_PER_CLASS = 10


def make_galleries(splits: Splits, evaluation: Evaluation) -> Galleries:
    """The mistakes that the evaluation of the test split names, first test pictures of each class, and near copies."""
    pictures = splits.test.pictures

    def picture(index: int) -> Picture:
        return Picture(pictures.encoded(index), pictures.name(index))

    def of(mistakes: Sequence[Mistake]) -> tuple[Picture, ...]:
        return tuple(picture(mistake.index) for mistake in mistakes)

    groups = [np.flatnonzero(splits.test.labels == index)[:_PER_CLASS] for index in range(len(splits.classes))]
    return Galleries(
        top_losses=of(evaluation.top_losses),
        first_misclassified=of(evaluation.first_misclassified),
        per_class=tuple(
            ClassPictures(label, tuple(picture(int(index)) for index in group))
            for label, group in zip(splits.classes, groups, strict=True)
        ),
        near_copies=tuple(
            (Picture(first, pair.first.name), Picture(second, f"{pair.second.name} ({pair.cosine:.2f})"))
            for pair, (first, second) in zip(splits.check.near_copies, splits.near_copies, strict=False)
        ),
    )
