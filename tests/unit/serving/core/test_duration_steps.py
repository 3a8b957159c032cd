"""Durations fall into steps of a fixed ratio, and come back from the text of a metric."""

import pytest

from headway_serving.core import duration_steps as steps


@pytest.mark.parametrize("seconds", [0.0, 0.0001, 0.00011, 0.001, 0.0123, 1.0, 59.0])
def test_a_duration_lies_between_the_edges_of_its_step(seconds: float) -> None:
    step = steps.step_of(seconds)
    assert seconds <= steps.edge(step) * (1 + 1e-9)
    assert step == 0 or seconds > steps.edge(step - 1)


def test_every_edge_is_read_back_from_its_text_and_belongs_to_its_own_step() -> None:
    for step in range(steps.MOST_STEPS + 1):
        assert steps.step_of_text(steps.edge_text(step)) == step
        assert steps.step_of(steps.edge(step)) == step


@pytest.mark.parametrize("text", ["", "fast", "nan", "inf", "-1", "0"])
def test_what_is_no_edge_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # Python's own text for most of them
        steps.step_of_text(text)


def test_a_quarter_more_is_a_whole_number_of_steps() -> None:
    assert steps.steps_of_ratio(1.25) == steps.STEPS_OF_A_QUARTER
    assert steps.edge(60) * 1.25 == pytest.approx(steps.edge(65))
    assert (steps.steps_of_ratio(1.0), steps.steps_of_ratio(1.01)) == (0, 1)


def test_what_takes_longer_than_all_steps_is_in_the_last() -> None:
    assert steps.step_of(1e6) == steps.MOST_STEPS


def test_quantiles_and_tails_are_counted_in_whole_steps() -> None:
    counted = {10: 50.0, 20: 40.0, 30: 10.0}
    assert [steps.quantile_step(counted, share) for share in (0.5, 0.51, 0.9, 0.99)] == [10, 20, 20, 30]
    assert (steps.count_beyond(counted, 10), steps.count_beyond(counted, 30)) == (50, 0)
    assert steps.quantile_step({}, 0.5) == 0
