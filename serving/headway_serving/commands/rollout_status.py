"""Says where a rollout stands, and what about it needs somebody."""

import contextlib
from collections.abc import Callable, Mapping

from headway_contract.model_repository import ModelRepository
from headway_serving.commands import rollout_view as view
from headway_serving.commands.rollout_arguments import Target
from headway_serving.core.rollout_state import RolloutStatus
from headway_serving.core.routing import ModelRoutes, RouteTable
from headway_serving.operations.repository_care import routed_but_gone
from headway_serving.operations.rollout_controller import is_controlled

_DONE, _ALARM = 0, 1


def say_status(target: Target, routes: ModelRoutes, say: Callable[[Mapping[str, object], str], object]) -> int:
    """Say where the rollout stands. Returns the exit code.

    1 if a routed version's directory has disappeared, or the rollout runs and no command controls it.
    """
    model, repository = target.model, ModelRepository(target.repository)
    gone: dict[tuple[str, int], str] = {}
    # Storage that is out of reach says nothing.
    with contextlib.suppress(OSError):
        gone = routed_but_gone(repository, RouteTable({model: routes})) if repository.models() else {}
    named = [f"{name}/{version}" for name, version in gone]
    state = routes.rollout
    running = state is not None and state.status is RolloutStatus.RUNNING
    controlled = not running or is_controlled(target.routes_file, model)
    document = {**view.status_document(model, routes), "gone": named, "controlled": controlled}
    lines = [f"{'ALARM':<10} {each} is {why}, but its directory is gone from {target.repository}: put it back"
             for each, why in zip(named, gone.values(), strict=True)]  # fmt: skip
    if not controlled:
        lines.append(
            f"{'ALARM':<10} no command controls this rollout, and nobody judges the candidate: "
            f"headway rollout resume {model}, or abort"
        )
    say(document, "\n".join([view.status_text(model, routes), *lines]))
    return _DONE if controlled and not gone else _ALARM
