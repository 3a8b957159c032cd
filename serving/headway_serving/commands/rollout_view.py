"""How a rollout looks to people and to pipelines."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from headway_serving.adapters.files.rollout_document import rollout_to
from headway_serving.core.rollout_state import RolloutState, RolloutStatus
from headway_serving.core.rollout_traffic import ShadowTraffic
from headway_serving.core.routing import ModelRoutes
from headway_serving.operations.rollout_controller import Look

_MOST_PAIRS = 10


def json_line(document: Mapping[str, Any]) -> str:
    """One object on one line."""
    return json.dumps(document, ensure_ascii=False)


def status_document(model: str, routes: ModelRoutes) -> dict[str, Any]:
    """Where a model's traffic goes and how its rollout stands."""
    candidate, shadow = routes.candidate, routes.shadow
    return {
        "model": model,
        "stable": routes.stable,
        "candidate": None if candidate is None else asdict(candidate),
        "shadow": None if shadow is None else asdict(shadow),
        "rollout": None if routes.rollout is None else rollout_to(routes.rollout),
    }


def status_text(model: str, routes: ModelRoutes) -> str:
    """The same as a table of two columns."""
    rows = [("model", model), ("stable", f"version {routes.stable}")]
    if routes.candidate is not None:
        rows.append(("candidate", f"version {routes.candidate.version}, {100 * routes.candidate.weight:g} % of keys"))
    if routes.shadow is not None:
        rows.append(("shadow", f"version {routes.shadow.version}, {100 * routes.shadow.share:g} % of traffic"))
    state = routes.rollout
    if state is None:
        rows.append(("rollout", "none"))
    else:
        rows += [
            ("rollout", f"version {state.previous} -> {state.candidate}: {state.status}"),
            ("stages", _stages(state)),
            ("looks", f"{state.looks} at this stage"),
            ("verified", f"{state.verification.at}, {state.verification.digest}"),
            ("last", state.reason or "nothing yet"),
        ]
    return "\n".join(f"{name:<10} {text}" for name, text in rows)


def look_document(model: str, look: Look) -> dict[str, Any]:
    """One look at the data, for ``--json``."""
    stage = look.state.policy.stages()[look.state.stage]
    return {
        "event": "look",
        "model": model,
        "version": look.state.candidate,
        "stage": str(stage),
        "decision": look.decision.name,
        "reason": look.decision.reason,
        "findings": [asdict(finding) for finding in look.decision.findings],
    }


def look_text(look: Look) -> str:
    """One look at the data, as a line and one more for each criterion."""
    stage = str(look.state.policy.stages()[look.state.stage])
    lines = [f"{stage:>11}  {look.decision.name}: {look.decision.reason}"]
    lines += [f"{'':>11}    {each.criterion}: {each.verdict}: {each.text}" for each in look.decision.findings]
    return "\n".join(lines)


def report_document(model: str, shadow: ShadowTraffic) -> dict[str, Any]:
    """How the shadow's answers compare, with the most flipped pairs first."""
    compared = shadow.agree + shadow.disagree
    pairs = sorted(shadow.flips.items(), key=lambda item: (-item[1], item[0]))[:_MOST_PAIRS]
    return {
        "model": model,
        "compared": compared,
        "agreement": shadow.agree / compared if compared else None,
        "mean_score_shift": shadow.mean_shift,
        "errors": shadow.error,
        "dropped": shadow.dropped,
        "most_flipped": [
            {"from": source, "to": target, "count": count, "of": shadow.by_class.get(source)}
            for (source, target), count in pairs
        ],
    }


def report_text(document: Mapping[str, Any]) -> str:
    """The same for people."""
    lines = [f"{document['compared']:.0f} pictures compared, {document['errors']:.0f} failed by the shadow, "
             f"{document['dropped']:.0f} not mirrored"]  # fmt: skip
    if document["agreement"] is not None:
        shift = document["mean_score_shift"]
        moved = "" if shift is None else f"; the score of stable's label moves by {shift:.4f} on average"
        lines.append(f"agreement {document['agreement']:.2%}{moved}")
    for pair in document["most_flipped"]:
        of = f" of {pair['of']:.0f}" if pair["of"] else ""
        lines.append(f"  {pair['from']} -> {pair['to']}: {pair['count']:.0f}{of}")
    return "\n".join(lines)


def _stages(state: RolloutState) -> str:
    done = state.status is RolloutStatus.PROMOTED
    names = [f"[{stage}]" if number == state.stage and not done else str(stage)
             for number, stage in enumerate(state.policy.stages())]  # fmt: skip
    return "  ".join(names)
