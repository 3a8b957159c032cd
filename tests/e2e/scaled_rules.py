"""The rules of ``deploy/prometheus`` in less time: an hour of theirs is half a minute of the test's."""

import re
from pathlib import Path
from typing import Any

import yaml

from deploy.prometheus_rule import RULES

FACTOR = 120
"""1 h becomes 30 s, 5 min 2.5 s, 6 h 3 min; counts and ratios stay as they are."""

DRIFT_FACTOR = 86_400 // 5
"""For drift alone: a day becomes 5 s, the week between the days 35 s."""

_WINDOW = r"(?<=\[)\d+[smhd](?=\])|(?<=offset )\d+[smhd]\b"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def scaled(duration: str, factor: int = FACTOR) -> str:
    """A duration such as ``5m``, in milliseconds of the test."""
    return f"{int(duration[:-1]) * _SECONDS[duration[-1]] * 1000 // factor}ms"


def write_scaled_rules(path: Path) -> Path:
    """Write the rules with every window, offset and ``for`` divided, by :data:`FACTOR` or :data:`DRIFT_FACTOR`."""
    document = yaml.safe_load(RULES.read_text())
    for group in document["groups"]:
        group.pop("interval", None)
        factor = DRIFT_FACTOR if group["name"] == "headway-drift" else FACTOR
        group["rules"] = [_scaled_rule(rule, factor) for rule in group["rules"]]
    path.write_text(yaml.safe_dump(document))
    return path


def _scaled_rule(rule: dict[str, Any], factor: int) -> dict[str, Any]:
    expr = re.sub(_WINDOW, lambda found: scaled(found[0], factor), rule["expr"])
    return {**rule, "expr": expr} | ({"for": scaled(rule["for"], factor)} if "for" in rule else {})
