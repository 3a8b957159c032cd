"""`decide`: every row of its table, and what must never count as a pass or a failure."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway_serving.core.duration_steps import MOST_STEPS, step_of
from headway_serving.core.rollout import criteria
from headway_serving.core.rollout.decision import (
    Advance,
    Decision,
    Hold,
    Inconclusive,
    Promote,
    RollBack,
    decide,
    look_alpha,
    reference_of,
)
from headway_serving.core.rollout_state import RolloutPolicy, RolloutState, RolloutStatus
from headway_serving.core.rollout_traffic import ArmTraffic, KeySample, Observation, ShadowTraffic
from tests.unit.serving.core.rollout.rollout_examples import arm, sample, seen, state

NOW = 1060.0
SHADOWED = RolloutPolicy(shadow_share=0.1)


def decided(observation: Observation | None, now: float = NOW, **changes: Any) -> Decision:
    rollout = state(**changes)
    return decide(rollout.policy, rollout, observation, now)


def compared(disagree: int = 0, error: int = 0, total: int = 1000, **flips: int) -> ShadowTraffic:
    """A shadow that compared that many pictures, half of them cats and half dogs; ``flips``: cat_dog=3 and the like."""
    pairs = {(name.split("_")[0], name.split("_")[1]): float(count) for name, count in flips.items()}
    return ShadowTraffic(total - disagree, disagree, error, 0, pairs, {"cat": total / 2, "dog": total / 2})


@pytest.mark.parametrize("status", [status for status in RolloutStatus if status is not RolloutStatus.RUNNING])
def test_a_rollout_that_does_not_run_is_left_alone(status: RolloutStatus) -> None:
    decision = decided(seen(arm(errors=1000)), status=status)
    assert type(decision) is Hold
    assert str(status) in decision.reason


def test_before_the_interval_has_passed_nothing_is_decided() -> None:
    decision = decided(seen(arm(errors=1000)), now=1059.0)
    assert (type(decision), decision.reason) == (Hold, "1 s until the next look")


def test_a_good_candidate_advances_and_is_promoted_after_the_last_step() -> None:
    assert [type(decided(seen(), stage=stage)) for stage in range(4)] == [Advance, Advance, Advance, Promote]


@pytest.mark.parametrize(
    ("observation", "why"),
    [
        (None, "no data"),
        (seen(arm(0), arm(0)), "candidate was asked 0 times, stable was asked 0 times; 200 needed"),
        (seen(arm(199)), "candidate was asked 199 times; 200 needed"),
        (seen(arm(199, errors=199)), "candidate was asked 199 times; 200 needed"),
        (seen(stable=arm(199)), "stable was asked 199 times; 200 needed"),
        (seen(replace(arm(), errors=math.nan)), "candidate has a count that is no number"),
        (seen(replace(arm(), requests=math.inf)), "candidate has a count that is no number"),
        (seen(stable=replace(arm(), requests=-1.0)), "stable has a count that is no number"),
        (seen(replace(arm(), errors=1001)), "candidate failed more requests than it was asked"),
        (seen(arm(latency={60: -1.0})), "candidate has a count that is no number"),
        (seen(stable=arm(10_000, labels={"cat": math.nan})), "stable has a count that is no number"),
        (seen(replace(arm(), sample=KeySample(10, 11))), "candidate failed more requests than it was asked"),
        (seen(replace(arm(), sample=KeySample())), "no answer was timed"),
        (seen(stable=replace(arm(), sample=KeySample())), "no answer was timed"),
    ],
)
def test_too_little_or_impossible_data_is_neither_a_pass_nor_a_failure(observation: Observation, why: str) -> None:
    for stage in range(4):
        decision = decided(observation, stage=stage)
        assert type(decision) is Inconclusive, stage
        assert why in decision.reason


def test_errors_that_are_provably_more_roll_back() -> None:
    decision = decided(seen(arm(errors=50)))
    assert type(decision) is RollBack
    assert decision.reason == "errors: 50 of 1000 failed, stable 0 of 10000; limit 0.50%"


def test_errors_that_stable_has_too_are_not_the_candidates() -> None:
    """A model server that is away fails both."""
    assert type(decided(seen(arm(errors=300), arm(10_000, errors=3000)))) is Advance


def test_errors_that_may_be_chance_hold() -> None:
    decision = decided(seen(arm(errors=8)))
    assert type(decision) is Hold
    assert "errors: 8 of 1000 failed" in decision.reason


def test_the_tolerated_increase_is_tolerated_at_any_number_of_samples() -> None:
    """A difference of nothing that matters is provable with enough requests."""
    many = ArmTraffic(10_000_000, 40_000, sample=sample(1000, 4))
    assert type(decided(seen(many, ArmTraffic(10_000_000, sample=sample(1000))))) is Advance


def test_errors_of_one_key_prove_nothing_unless_they_are_gross() -> None:
    """One key makes half of the candidate's traffic, and each twentieth of its pictures takes too long to answer."""
    few = ArmTraffic(1000, 25, sample=sample(500, 0))
    assert type(decided(seen(few))) is Hold
    assert type(decided(seen(ArmTraffic(1000, 200, sample=sample(500, 0))))) is RollBack


@pytest.mark.parametrize(
    ("candidate", "criterion"),
    [
        (arm(seconds=0.016), "latency p50"),
        (arm(latency={step_of(0.008): 850.0, step_of(0.080): 150.0}), "latency p90"),
        (arm(latency={step_of(0.008): 930.0, step_of(0.080): 70.0}), "latency p99"),
        (arm(work={step_of(0.020): 1000.0}), "work"),
        (arm(labels={"cat": 1000.0}), "label shares"),
        (arm(scores={9: 1000.0}), "scores"),
        (arm(right=800.0, wrong=200.0), "feedback"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_candidate_that_is_worse_in_one_thing_rolls_back_for_it(candidate: ArmTraffic, criterion: str) -> None:
    decision = decided(seen(candidate, arm(10_000, right=900.0, wrong=20.0)))
    assert type(decision) is RollBack
    assert decision.reason.startswith(f"{criterion}: ")


def test_what_every_answer_takes_longer_is_found_whatever_its_distribution() -> None:
    """30 ms more than 5 ms, of few requests: the limits are those of the median, not of a bucket above it."""
    assert type(decided(seen(arm(200, seconds=0.035), arm(3000, seconds=0.005)))) is RollBack


def test_a_candidate_a_fifth_slower_is_within_the_ratio() -> None:
    assert type(decided(seen(arm(seconds=0.0096)))) is Advance


def test_less_than_a_millisecond_more_is_nobodys_loss() -> None:
    assert type(decided(seen(arm(seconds=0.0015), arm(10_000, seconds=0.001)))) is Advance


def test_a_tail_that_may_be_chance_holds() -> None:
    decision = decided(seen(arm(latency={step_of(0.008): 980.0, step_of(0.080): 20.0})))
    assert type(decision) is Hold
    assert decision.reason.startswith("latency p99: ")


def test_what_is_slower_than_every_step_is_not_known_to_be_as_fast() -> None:
    slowest = {MOST_STEPS: 1000.0}
    assert type(decided(seen(arm(latency=slowest), arm(latency=slowest)))) is Inconclusive


def test_refusals_count_against_a_candidate_that_costs_more_and_against_no_other() -> None:
    """Candidates are turned away first: only what it costs shows whether that is its own doing."""
    refused = replace(arm(), overloaded=200.0)
    assert type(decided(seen(refused))) is Advance
    costly = replace(arm(work={step_of(0.007): 1000.0}), overloaded=200.0)
    decision = decided(seen(costly))
    assert type(decision) is RollBack
    assert decision.reason.startswith("overload: 200 of 1200 refused for overload, stable 0 of 10000; work")


def test_what_is_beyond_is_found_though_another_criterion_has_no_data() -> None:
    assert type(decided(seen(replace(arm(errors=500), sample=sample(1000, 500, latency={}))))) is RollBack


def test_the_last_step_without_stable_traffic_is_compared_with_the_reference() -> None:
    alone = seen(arm(), arm(0))
    assert type(decided(alone, stage=3)) is Inconclusive
    assert type(decided(alone, stage=3, reference=arm(5000))) is Promote
    assert type(decided(alone, stage=2, reference=arm(5000))) is Inconclusive, "a step that shares has its own"


def test_against_another_hour_only_what_is_grossly_beyond_rolls_back() -> None:
    """What an hour did to everybody looks as if the candidate had done it."""
    for bad, gross, otherwise in (
        (arm(errors=40), arm(errors=150), Hold), (arm(seconds=0.016), arm(seconds=0.06), Promote),
    ):  # fmt: skip
        assert type(decided(seen(bad, arm(5000)), stage=3)) is RollBack
        assert type(decided(seen(bad, arm(0)), stage=3, reference=arm(5000))) is otherwise
        assert type(decided(seen(gross, arm(0)), stage=3, reference=arm(5000))) is RollBack


def test_at_full_weight_what_fell_back_to_stable_is_no_sample_of_it() -> None:
    """A candidate that takes the model server down with it has stable fail too, in the requests that fell back."""
    fell_back = ArmTraffic(300, 290)
    assert type(decided(seen(arm(errors=500), fell_back), stage=3, reference=arm(5000))) is RollBack
    assert type(decided(seen(arm(), fell_back), stage=3, reference=arm(5000))) is Promote


def test_another_hour_may_bring_other_pictures() -> None:
    other = arm(labels={"cat": 1000.0}, scores={9: 1000.0})
    assert type(decided(seen(other, arm(0)), stage=3, reference=arm(5000))) is Promote


def test_the_reference_is_stables_traffic_where_there_was_enough() -> None:
    policy, kept = RolloutPolicy(), arm(5000)
    assert reference_of(policy, state(), seen(stable=arm(300))) == arm(300)
    assert reference_of(policy, state(reference=kept), seen(stable=arm(10))) == kept


def test_a_shadow_that_agrees_advances() -> None:
    assert type(decided(seen(arm(0), shadow=compared(disagree=10, cat_dog=5, dog_cat=5)), policy=SHADOWED)) is Advance


@pytest.mark.parametrize(
    ("shadow", "decision", "why"),
    [
        (ShadowTraffic(), Inconclusive, "0 pictures compared, 200 needed"),
        (ShadowTraffic(dropped=5000), Inconclusive, "0 pictures compared, 200 needed"),
        (compared(total=100), Inconclusive, "100 pictures compared, 200 needed"),
        (compared(disagree=math.nan), Inconclusive, "the shadow has a count that is no number"),  # type: ignore[arg-type]
        (replace(compared(), by_class={}), Inconclusive, "no picture was compared by class"),
        (compared(error=100), RollBack, "shadow errors: 100 of 1100"),
        (compared(disagree=200), RollBack, "disagreement: 200 of 1000"),
        (compared(disagree=60), Hold, "disagreement: 60 of 1000"),
    ],
)
def test_a_shadow_is_judged_by_its_answers(shadow: ShadowTraffic, decision: type[Decision], why: str) -> None:
    made = decided(seen(arm(0), arm(0), shadow), policy=SHADOWED)
    assert type(made) is decision
    assert why in made.reason


def test_a_candidate_that_is_wrong_on_one_class_of_a_hundred_rolls_back() -> None:
    """2 % of all pictures differ, which is within the limit: but 80 % of the foxes do."""
    by_class = {f"class-{number}": 100.0 for number in range(99)} | {"fox": 250.0}
    shadow = ShadowTraffic(9900 + 50, 200, flips={("fox", "class-7"): 200.0}, by_class=by_class)
    decision = decided(seen(shadow=shadow), policy=SHADOWED)
    assert type(decision) is RollBack
    assert decision.reason == "class disagreement: 'fox': 200 of 250 differ; limit 25.00%"


def test_a_rare_class_that_differs_once_holds_nothing_back() -> None:
    shadow = ShadowTraffic(1000, 1, flips={("fox", "cat"): 1.0}, by_class={"cat": 1000.0, "fox": 1.0})
    assert type(decided(seen(shadow=shadow), policy=SHADOWED)) is Advance


COUNTS = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-5, 10**7).map(float)
STEPS = st.dictionaries(st.integers(0, MOST_STEPS), COUNTS, max_size=4)
SAMPLES = st.just(sample()) | st.builds(
    KeySample, COUNTS, COUNTS, STEPS, STEPS, st.dictionaries(st.sampled_from(["cat", "dog"]), COUNTS),
    st.dictionaries(st.integers(0, 19), COUNTS, max_size=3), COUNTS, COUNTS,
)  # fmt: skip
ARMS = st.builds(ArmTraffic, COUNTS, COUNTS, COUNTS, SAMPLES)
LABELS = st.sampled_from(["cat", "dog", "fox"])
SHADOWS = st.builds(
    ShadowTraffic, COUNTS, COUNTS, COUNTS, COUNTS,
    st.dictionaries(st.tuples(LABELS, LABELS), COUNTS), st.dictionaries(LABELS, COUNTS),
)  # fmt: skip


@settings(deadline=None)
@given(
    observation=st.none() | st.builds(Observation, ARMS, ARMS, SHADOWS),
    stage=st.integers(0, 3),
    looks=st.integers(0, 10**6),
    policy=st.sampled_from([RolloutPolicy(), SHADOWED, RolloutPolicy(min_samples=1, shadow_share=1.0)]),
)
def test_whatever_a_broken_source_says_something_is_decided_and_never_without_enough_samples(
    observation: Observation | None, stage: int, looks: int, policy: RolloutPolicy
) -> None:
    made = decided(observation, stage=stage, looks=looks, policy=policy)
    assert made.reason
    if type(made) in (Advance, Promote, RollBack):
        assert observation is not None
        shadowed = policy.stages()[stage].shadow_share > 0
        samples = observation.shadow.agree + observation.shadow.disagree if shadowed else observation.candidate.requests
        assert samples + observation.shadow.error * shadowed >= policy.min_samples


@pytest.mark.parametrize("policy", [RolloutPolicy(), SHADOWED, RolloutPolicy(steps=(0.5,))])
def test_the_looks_of_a_whole_rollout_spend_no_more_than_the_false_alarm_rate(policy: RolloutPolicy) -> None:
    of_arms = len(criteria.OF_ARMS) + len(criteria.OF_ANSWERS)
    counts = [3 if stage.shadow_share else of_arms for stage in policy.stages()]
    spent = sum(count * look_alpha(policy, look, count) for count in counts for look in range(20_000))
    assert 0.99 * policy.false_alarm < spent < policy.false_alarm


def test_a_decision_depends_on_its_arguments_alone() -> None:
    rollout: RolloutState = state()
    assert decide(rollout.policy, rollout, seen(), NOW) == decide(rollout.policy, rollout, seen(), NOW)
