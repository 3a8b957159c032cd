"""The JSON form of the route table, strict both ways: ``docs/routes.schema.json`` describes the same.

Schema 1 knew stable, candidate and labels; it is still read. What is written is schema 2.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from headway_contract.errors import RepositoryError
from headway_contract.model_name import check_model_name
from headway_serving.adapters.files.rollout_document import history_of, history_to, rollout_of, rollout_to
from headway_serving.adapters.files.values import InvalidRoutes, section, share_of, text_of, version_of
from headway_serving.core.rollout_state import Shadow
from headway_serving.core.routing import Candidate, ModelRoutes, RouteTable

ROUTES_SCHEMA = 2
"""The schema that is written."""

_FIRST_KEYS = frozenset({"candidate", "labels"})
_OPTIONAL_KEYS: Mapping[int, frozenset[str]] = {
    1: _FIRST_KEYS,
    2: _FIRST_KEYS | {"shadow", "salt", "rollout", "history"},
}
"""What a model may have beside ``stable``, by schema."""

_LONGEST_SALT = 128


def parse_routes(text: str | bytes) -> RouteTable:
    """Read the JSON form. Raises :class:`InvalidRoutes`; unknown keys are refused, they would be ignored wishes."""
    try:
        document = json.loads(text)
    # RecursionError: brackets nested beyond what the parser follows.
    except (ValueError, RecursionError) as error:
        raise InvalidRoutes(f"not JSON: {error}") from error
    document = section(document, "the file", required={"schema", "models"})
    schema = document["schema"]
    if isinstance(schema, bool) or not isinstance(schema, int) or schema not in _OPTIONAL_KEYS:
        known = " and ".join(map(str, _OPTIONAL_KEYS))
        raise InvalidRoutes(f"schema {schema!r} is unknown to this release; {known} are known")
    models = document["models"]
    if not isinstance(models, dict):
        raise InvalidRoutes("models: an object of model names is needed")
    return RouteTable({name: _model_routes(name, routes, _OPTIONAL_KEYS[schema]) for name, routes in models.items()})


def format_routes(table: RouteTable) -> str:
    """The JSON form of a table, as :func:`parse_routes` reads it."""
    models = {name: _model_entry(routes) for name, routes in sorted(table.models.items())}
    return json.dumps({"schema": ROUTES_SCHEMA, "models": models}, indent=2, allow_nan=False) + "\n"


def routes_digest(table: RouteTable) -> str:
    """The first 16 digits of the SHA-256 of a table, as Headway writes it."""
    return hashlib.sha256(format_routes(table).encode()).hexdigest()[:16]


def _model_entry(routes: ModelRoutes) -> dict[str, Any]:
    entry: dict[str, Any] = {"stable": routes.stable}
    if routes.candidate is not None:
        entry["candidate"] = {"version": routes.candidate.version, "weight": routes.candidate.weight}
    if routes.shadow is not None:
        entry["shadow"] = {"version": routes.shadow.version, "share": routes.shadow.share}
    entry["labels"] = dict(sorted(routes.labels.items()))
    if routes.salt:
        entry["salt"] = routes.salt
    if routes.rollout is not None:
        entry["rollout"] = rollout_to(routes.rollout)
    if routes.history:
        entry["history"] = history_to(routes.history)
    return entry


def _model_routes(name: str, value: Any, optional: frozenset[str]) -> ModelRoutes:
    where = f"models.{name}"
    try:
        check_model_name(name)
    except RepositoryError as error:
        raise InvalidRoutes(f"{where}: {error}") from error
    entry = section(value, where, required={"stable"}, optional=optional)
    stable, candidate, shadow = entry["stable"], entry.get("candidate"), entry.get("shadow")
    rollout = entry.get("rollout")
    return ModelRoutes(
        stable=version_of(stable, f"{where}.stable"),
        candidate=None if candidate is None else _candidate(candidate, f"{where}.candidate"),
        labels=_labels(entry.get("labels", {}), f"{where}.labels"),
        shadow=None if shadow is None else _shadow(shadow, f"{where}.shadow"),
        salt=text_of(entry.get("salt", ""), f"{where}.salt", _LONGEST_SALT),
        rollout=None if rollout is None else rollout_of(rollout, f"{where}.rollout"),
        history=history_of(entry.get("history", []), f"{where}.history"),
    )


def _labels(value: Any, where: str) -> Mapping[str, int]:
    if not isinstance(value, dict):
        raise InvalidRoutes(f"{where}: an object of labels is needed")
    reserved = sorted({"stable", "candidate"} & set(value))
    if reserved:
        raise InvalidRoutes(f"{where}: {reserved[0]} always means that arm and cannot be set")
    return {label: version_of(version, f"{where}.{label}") for label, version in value.items()}


def _candidate(value: Any, where: str) -> Candidate:
    entry = section(value, where, required={"version", "weight"})
    return Candidate(version_of(entry["version"], f"{where}.version"), share_of(entry["weight"], f"{where}.weight"))


def _shadow(value: Any, where: str) -> Shadow:
    entry = section(value, where, required={"version", "share"})
    return Shadow(version_of(entry["version"], f"{where}.version"), share_of(entry["share"], f"{where}.share"))
