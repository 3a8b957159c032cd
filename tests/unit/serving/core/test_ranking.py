"""Scores become the predictions that are shown."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway_serving.core.ranking import Prediction, rank

LABELS = ("a", "b", "c", "d")
SCORES = np.array([0.1, 0.4, 0.2, 0.3], np.float32)


def shown(scores: np.ndarray, top_k: int = 4, min_confidence: float = 0.0) -> str:
    return "".join(prediction.label for prediction in rank(scores, LABELS, top_k, min_confidence))


@pytest.mark.parametrize(("top_k", "labels"), [(1, "b"), (3, "bdc"), (4, "bdca"), (2**31, "bdca")])
def test_the_best_top_k_come_first(top_k: int, labels: str) -> None:
    assert shown(SCORES, top_k) == labels


@pytest.mark.parametrize(("least", "labels"), [(0.0, "bdca"), (0.15, "bdc"), (0.35, "b"), (0.9, "")])
def test_predictions_below_min_confidence_are_left_out(least: float, labels: str) -> None:
    assert shown(SCORES, min_confidence=least) == labels


def test_a_score_of_exactly_min_confidence_is_shown() -> None:
    assert shown(np.array([0.5, 0.5, 0, 0], np.float32), min_confidence=0.5) == "ab"


def test_equal_scores_keep_the_labels_order() -> None:
    assert shown(np.array([0.2, 0.3, 0.2, 0.3], np.float32)) == "bdac"


def test_scores_are_plain_numbers_with_their_labels() -> None:
    assert rank(SCORES, LABELS, 1, 0.0) == (Prediction("b", float(np.float32(0.4))),)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4), st.integers(1, 6), st.floats(0, 1, width=32))
def test_what_is_shown_is_sorted_and_nothing_better_is_hidden(values: list[float], top_k: int, least: float) -> None:
    predictions = rank(np.array(values, np.float32), LABELS, top_k, least)
    scores = [prediction.score for prediction in predictions]
    assert scores == sorted((value for value in values if value >= least), reverse=True)[:top_k]
