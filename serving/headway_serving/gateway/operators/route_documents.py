"""How routes are told to operators: in force, or waiting."""

from typing import Any

from headway_serving.core.routes_in_force import PendingRoutes
from headway_serving.core.routing import ModelRoutes


def traffic_document(routes: ModelRoutes) -> dict[str, Any]:
    """Who gets the traffic of a model, without labels and history."""
    candidate, shadow = routes.candidate, routes.shadow
    return {
        "stable": routes.stable,
        "candidate": None if candidate is None else {"version": candidate.version, "weight": candidate.weight},
        "shadow": None if shadow is None else {"version": shadow.version, "share": shadow.share},
    }


def pending_document(pending: PendingRoutes) -> dict[str, Any]:
    """Routes that wait, for which versions, and why."""
    return {
        **traffic_document(pending.wanted),
        "waits_for": list(pending.versions),
        "reason": pending.reason or "it is being asked about",
    }
