"""Which test pictures become golden samples, and that their number does not grow with many classes."""

import numpy as np
import pytest

from headway_contract.model_manifest import ClassFigures, GoldenSample
from headway_training.golden_samples import golden_rows
from tests.support.contract_examples import manifest


@pytest.mark.parametrize(("classes", "expected"), [(2, 10), (10, 10), (30, 30), (1000, 50)])
def test_few_classes_are_all_shown_and_of_many_some(classes: int, expected: int) -> None:
    labels = np.arange(20 * classes, dtype=np.int32) % classes
    rows = golden_rows(labels, classes)
    assert len(rows) == len(set(rows)) == expected
    shown = set(labels[rows].tolist())
    assert len(shown) == min(classes, expected)
    assert {0, classes - 1} <= shown


def test_a_thousand_classes_make_a_manifest_that_every_gateway_can_hold() -> None:
    random = np.random.default_rng(0)
    labels = tuple(f"class-{number:04}" for number in range(1000))
    rows = golden_rows(np.arange(5000, dtype=np.int32) % 1000, 1000)
    scores = tuple(float(f"{score:.8g}") for score in random.random(1000))
    described = manifest(
        labels=labels,
        classes=tuple(ClassFigures(label, 0.912345678901, 0.812345678901, 50) for label in labels),
        golden=tuple(GoldenSample(bytes(32_768), labels[row % 1000], scores) for row in rows),
    )
    assert len(described.to_json()) < 3_200_000  # 25 MB when each class had a sample
