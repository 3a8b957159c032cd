"""The temperature is found again where it is known; the abstain threshold is the one that counting by hand gives."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from headway_training.calibration import abstain_threshold, apply_temperature, fit_temperature
from headway_training.evaluation import evaluate
from tests.unit.training.run_examples import labels_of, scores_of


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float32]:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def drawn(temperature: float, classes: int = 10, count: int = 20_000) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Labels drawn from a softmax, and the scores of a model whose logits are ``temperature`` times too large."""
    generator = np.random.default_rng(5)
    logits = generator.normal(scale=2, size=(count, classes))
    chances = softmax(logits).astype(np.float64).cumsum(axis=1)
    labels = (generator.random((count, 1)) > chances).sum(axis=1).clip(max=classes - 1)
    return softmax(logits * temperature), labels.astype(np.int32)


@pytest.mark.parametrize("temperature", [0.25, 0.8, 1.0, 2.0, 6.0])
def test_a_known_temperature_is_found(temperature: float) -> None:
    scores, labels = drawn(temperature)
    assert fit_temperature(scores, labels) == pytest.approx(temperature, rel=0.03)


@pytest.mark.parametrize("temperature", [0.25, 3.0])
def test_calibration_repairs_the_calibration_error_and_leaves_the_accuracy(temperature: float) -> None:
    scores, labels = drawn(temperature)
    names = tuple(map(str, range(10)))
    half = len(labels) // 2
    fitted = fit_temperature(scores[:half], labels[:half])
    before = evaluate(scores[half:], labels[half:], names)
    after = evaluate(apply_temperature(scores[half:], fitted), labels[half:], names)
    assert before.ece > 0.1
    assert after.ece < 0.015
    assert after.log_loss < before.log_loss
    assert after.accuracy == before.accuracy


@given(seed=st.integers(0, 1_000), sharpness=st.floats(0.1, 30), count=st.integers(1, 40))
def test_the_fitted_temperature_is_never_worse_than_none(seed: int, sharpness: float, count: int) -> None:
    labels = labels_of(count, 4, seed)
    scores = scores_of(labels, 4, seed, sharpness=sharpness)
    fitted = fit_temperature(scores, labels)
    assert 0.05 <= fitted <= 20
    names = ("a", "b", "c", "d")
    before = evaluate(scores, labels, names).log_loss
    assert evaluate(apply_temperature(scores, fitted), labels, names).log_loss <= before * (1 + 1e-5)


def test_without_a_mistake_the_scores_are_left_as_they_are() -> None:
    labels = labels_of(50, 3)
    scores = np.eye(3, dtype=np.float32)[labels] * 0.7 + np.float32(0.1)
    assert fit_temperature(scores, labels) == 1.0


def test_a_model_that_is_always_wrong_gets_the_largest_temperature() -> None:
    scores = np.tile(np.array([[0.9, 0.1]], dtype=np.float32), (20, 1))
    assert fit_temperature(scores, np.ones(20, dtype=np.int32)) == pytest.approx(20, rel=1e-3)


def test_scores_that_underflowed_to_zero_can_be_calibrated() -> None:
    scores = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    labels = np.array([0, 1, 1], dtype=np.int32)
    calibrated = apply_temperature(scores, fit_temperature(scores, labels))
    assert np.isfinite(calibrated).all()
    assert 0 < calibrated[1, 1] < 0.5


def test_a_temperature_divides_the_logits() -> None:
    logits = np.array([[2.0, 0.0, -1.0]])
    np.testing.assert_allclose(apply_temperature(softmax(logits), 2.0), softmax(logits / 2), atol=1e-6)


@given(
    weights=arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(2, 8)), elements=st.floats(-40, 40)),
    temperature=st.floats(0.05, 20),
)
def test_rows_sum_to_one_and_the_answer_stays(weights: NDArray[np.float64], temperature: float) -> None:
    scores = softmax(weights)
    calibrated = apply_temperature(scores, temperature)
    assert calibrated.dtype == np.float32
    np.testing.assert_allclose(calibrated.sum(axis=1), 1, atol=1e-6)
    rows = np.arange(len(scores))
    # Rounding may make two scores equal; what was the largest is still unsurpassed.
    np.testing.assert_array_equal(calibrated[rows, scores.argmax(axis=1)], calibrated.max(axis=1))


def binary(tops: list[float], right: list[bool]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Two-class scores with these top scores for class 0, and labels that make the answers right or wrong."""
    scores = np.array([[top, 1 - top] for top in tops], dtype=np.float32)
    return scores, np.array([0 if is_right else 1 for is_right in right], dtype=np.int32)


TOPS = [0.99, 0.98, 0.97, 0.96, 0.95, 0.94, 0.93, 0.92, 0.91, 0.90, 0.89, 0.88, 0.87, 0.86, 0.85, 0.84, 0.83, 0.82]
TOPS += [0.60, 0.55]


def test_the_threshold_halves_the_error_at_the_widest_coverage() -> None:
    # 20 pictures, wrong at 0.55 and 0.98: 10 % error, so at most 5 % are allowed; of the 19 down to 0.60 one is wrong
    # (5.3 %), as of every shorter list, but of the first alone none is.
    scores, labels = binary(TOPS, [top not in (0.98, 0.55) for top in TOPS])
    found = abstain_threshold(scores, labels, scores, labels)
    assert found.target_risk == pytest.approx(0.05)
    assert (found.threshold, found.coverage, found.risk) == (pytest.approx(0.99), 0.05, 0.0)

    # Wrong at 0.55 and 0.60 only: 18 of 20 are answered without a mistake, and one wrong of 19 is too many.
    scores, labels = binary(TOPS, [top > 0.6 for top in TOPS])
    found = abstain_threshold(scores, labels, scores, labels)
    assert (found.threshold, found.coverage, found.risk) == (pytest.approx(0.82), 0.9, 0.0)
    assert (found.test_coverage, found.test_risk) == (0.9, 0.0)


def test_the_risk_is_measured_on_the_test_split() -> None:
    scores, labels = binary(TOPS, [top > 0.6 for top in TOPS])
    test_scores, test_labels = binary([0.9, 0.85, 0.83, 0.7, 0.6], [True, False, True, False, True])
    found = abstain_threshold(scores, labels, test_scores, test_labels)
    assert (found.test_coverage, found.test_risk) == (0.6, pytest.approx(1 / 3))
    assert [(point.coverage, point.risk) for point in found.curve] == [
        (0.2, 0.0), (0.4, 0.5), (0.6, pytest.approx(1 / 3)), (0.8, 0.5), (1.0, 0.4),
    ]  # fmt: skip


def test_pictures_of_one_score_are_answered_together() -> None:
    # Right and wrong share 0.7: no threshold lies between them.
    scores, labels = binary([0.9, 0.9, 0.7, 0.7], [True, True, True, False])
    found = abstain_threshold(scores, labels, scores, labels)
    assert (found.threshold, found.coverage, found.risk) == (pytest.approx(0.9), 0.5, 0.0)


def test_the_target_is_at_most_ten_percent() -> None:
    scores, labels = binary([0.9, 0.8, 0.7, 0.6], [True, True, False, False])
    assert abstain_threshold(scores, labels, scores, labels).target_risk == 0.1


def test_without_a_mistake_everything_is_answered() -> None:
    scores, labels = binary([0.9, 0.8], [True, True])
    unsure, wrong = binary([0.5001], [False])
    found = abstain_threshold(scores, labels, unsure, wrong)
    assert (found.threshold, found.coverage, found.risk, found.target_risk) == (0.0, 1.0, 0.0, 0.0)
    assert (found.test_coverage, found.test_risk) == (1.0, 1.0)


def test_where_the_target_is_out_of_reach_the_least_risk_is_taken() -> None:
    # Risks from the top: 1, 1/2, 2/3, 1/2, ... never 10 %.
    scores, labels = binary([0.9, 0.8, 0.7, 0.6], [False, True, False, True])
    found = abstain_threshold(scores, labels, scores, labels)
    assert (found.coverage, found.risk) == (1.0, 0.5)
    assert found.risk > found.target_risk


def test_a_threshold_above_every_test_score_answers_nothing() -> None:
    scores, labels = binary(TOPS, [top > 0.6 for top in TOPS])
    unsure, right = binary([0.55, 0.6], [True, False])
    found = abstain_threshold(scores, labels, unsure, right)
    assert (found.test_coverage, found.test_risk) == (0.0, 0.0)


def test_the_curve_stays_short_and_ends_with_full_coverage() -> None:
    labels = labels_of(5_000, 10)
    scores = scores_of(labels, 10, 3)
    found = abstain_threshold(scores, labels, scores, labels)
    coverages = [point.coverage for point in found.curve]
    assert len(coverages) <= 100
    assert coverages == sorted(coverages)
    assert coverages[-1] == 1.0
    assert math.isclose(found.curve[-1].risk, float((scores.argmax(axis=1) != labels).mean()))


def many(count: int, sureness: float, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Two-class scores whose top is right with the probability it states, to the power ``sureness``."""
    random = np.random.default_rng(seed)
    tops = random.uniform(0.5, 1, count)
    return binary(tops.tolist(), (random.random(count) < tops**sureness).tolist())


def test_the_bound_holds_on_other_pictures_in_nineteen_of_twenty_draws() -> None:
    population = many(20_000, 0.5, 1)
    exceeded, proven = 0, 0
    for seed in range(60):
        found = abstain_threshold(*many(800, 0.5, 100 + seed), *population)
        if found.bound is not None:
            proven += 1
            exceeded += found.test_risk > found.bound
    assert proven > 20
    assert exceeded <= proven * 0.1


def test_too_few_pictures_prove_nothing_and_still_suggest_a_threshold() -> None:
    found = abstain_threshold(*many(30, 1.0, 5), *many(1000, 1.0, 6))
    assert found.bound is None
    assert 0 < found.threshold < 1


def test_without_a_mistake_the_bound_is_what_so_many_pictures_prove() -> None:
    scores, labels = binary([0.9] * 100, [True] * 100)
    found = abstain_threshold(scores, labels, scores, labels)
    assert found.threshold == 0.0
    assert found.bound == pytest.approx(1 - 0.05 ** (1 / 100))
    scores, labels = scores[:10], labels[:10]
    assert abstain_threshold(scores, labels, scores, labels).bound is None
