"""Routes and rollouts are metrics."""

from dataclasses import replace

from prometheus_client import CollectorRegistry

from headway_serving.adapters.metrics.route_metrics import RouteMetrics
from headway_serving.core.rollout import changes
from headway_serving.core.rollout_state import RolloutPolicy
from headway_serving.core.routing import ModelRoutes, RouteTable
from tests.unit.serving.core.rollout.rollout_examples import ME, PROOF

BEGUN = changes.begun(ModelRoutes(1), PROOF, RolloutPolicy(shadow_share=0.25), "salt", 1000.0, ME)


def shown(routes: ModelRoutes) -> dict[tuple[str, ...], float]:
    registry = CollectorRegistry()
    metrics = RouteMetrics(registry)
    metrics.routes = lambda: RouteTable({"digits": routes})
    return {
        (sample.name, *(value for name, value in sorted(sample.labels.items()) if name != "model")): sample.value
        for family in registry.collect()
        for sample in family.samples
    }


def test_a_model_without_a_rollout_shows_its_stable_version_alone() -> None:
    assert shown(ModelRoutes(3)) == {("headway_route_weight", "stable", "3"): 1.0}


def test_weights_shadow_stage_and_state_are_shown() -> None:
    shadowed = shown(BEGUN)
    assert shadowed["headway_route_weight", "shadow", "2"] == 0.25
    assert shadowed["headway_rollout_stage", "2"] == 0
    assert shadowed["headway_rollout_stage_since_seconds", "2"] == 1000.0
    at_first = changes.advanced(BEGUN, None, 2000.0, "all within limits", ME)
    assert shown(at_first)["headway_route_weight", "stable", "1"] == 0.95
    assert shown(at_first)["headway_route_weight", "candidate", "2"] == 0.05
    assert shown(at_first)["headway_rollout_state", "2", "all within limits", "running"] == 1.0
    held = changes.held(at_first, "undecided", ME)
    assert shown(held)["headway_rollout_state", "2", "undecided", "held"] == 1.0
    assert ("headway_route_weight", "candidate", "2") not in shown(held)


def test_a_long_reason_is_cut_and_stays_on_one_line() -> None:
    rollout = BEGUN.rollout
    assert rollout is not None
    states = [key for key in shown(replace(BEGUN, rollout=replace(rollout, reason="a\nb " * 500))) if len(key) == 4]
    assert [len(key[2]) for key in states] == [120]
    assert "\n" not in states[0][2]
