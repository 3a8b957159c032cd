"""What of a rollout's policy follows from what is known when it begins, where nobody has decided otherwise."""

from dataclasses import replace

from headway_serving.core.rollout_state import RolloutPolicy, Verification

_SPARE = 1.5
"""Traffic varies, and copies are dropped while a gateway is busy: so many times the pictures needed are asked for."""

_LEAST_SHARE = 0.01
_FEWEST_COMPARED = 50
"""Of fewer pictures the share of disagreement is a guess, and none is taken from it."""


def shadow_share(policy: RolloutPolicy, requests_per_second: float) -> float:
    """The share of traffic whose mirroring brings ``min_samples`` pictures in one interval, 0.01 to 1.

    What a gateway can spare bounds it besides: it mirrors nothing while it is half busy.
    """
    in_an_interval = requests_per_second * policy.interval_seconds
    if in_an_interval <= 0:
        return 1.0
    return round(min(1.0, max(_LEAST_SHARE, _SPARE * policy.min_samples / in_an_interval)), 3)


def with_expected_disagreement(policy: RolloutPolicy, proof: Verification) -> RolloutPolicy:
    """Two honest models differ as well: what they differ by on test pictures is added to what is tolerated.

    Without test pictures, or with few, nothing is added; nor where they may have been trained on: then nothing has
    shown that the candidate, where it differs, is right as often as stable.
    """
    if proof.compared < _FEWEST_COMPARED or not proof.fair:
        return policy
    expected = proof.disagreed / proof.compared
    return replace(
        policy,
        max_disagreement=min(1.0, policy.max_disagreement + expected),
        max_class_disagreement=min(1.0, policy.max_class_disagreement + expected),
        max_label_shift=min(1.0, policy.max_label_shift + expected),
    )
