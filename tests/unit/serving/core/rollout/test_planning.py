"""What of a policy follows from the traffic and from test pictures, where nobody has decided otherwise."""

from dataclasses import replace

import pytest

from headway_serving.core.rollout.planning import shadow_share, with_expected_disagreement
from headway_serving.core.rollout_state import RolloutPolicy, Verification
from tests.unit.serving.core.rollout.rollout_examples import PROOF

POLICY = RolloutPolicy()


@pytest.mark.parametrize(
    ("rate", "share"), [(0.0, 1.0), (1.0, 1.0), (5.0, 1.0), (10.0, 0.5), (50.0, 0.1), (5000.0, 0.01)]
)
def test_the_shadow_gets_what_brings_enough_pictures_in_an_interval(rate: float, share: float) -> None:
    assert shadow_share(POLICY, rate) == share


def test_two_honest_models_may_differ_as_much_as_they_did_on_test_pictures() -> None:
    tolerant = with_expected_disagreement(POLICY, replace(PROOF, compared=500, disagreed=50))
    assert (tolerant.max_disagreement, tolerant.max_class_disagreement, tolerant.max_label_shift) == pytest.approx(
        (0.15, 0.35, 0.15)
    )


@pytest.mark.parametrize("proof", [PROOF, replace(PROOF, compared=10, disagreed=5),
                                   replace(PROOF, compared=500, disagreed=150, fair=False)])  # fmt: skip
def test_nothing_is_concluded_from_few_pictures_or_from_those_trained_on(proof: Verification) -> None:
    assert with_expected_disagreement(POLICY, proof) == POLICY
