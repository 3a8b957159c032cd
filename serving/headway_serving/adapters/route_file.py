"""``routes.json``: where traffic goes. Read whole, watched for changes, and never half believed.

::

    {"schema": 1, "models": {"digits-0to4": {"stable": 2, "candidate": {"version": 3, "weight": 0.05},
                                             "labels": {"canary": 3}}}}

A file that cannot be used is refused with the reason; the last good one stays in force.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headway_contract.durable_files import write_atomically
from headway_contract.errors import RepositoryError
from headway_contract.model_name import check_model_name
from headway_serving.adapters.watched_file import WatchedFile
from headway_serving.core.routing import Candidate, ModelRoutes, RouteTable

ROUTES_SCHEMA = 1


class InvalidRoutes(Exception):
    """The routes file cannot be read or used; the text says what is wrong and where."""


def parse_routes(text: str | bytes) -> RouteTable:
    """Read the JSON form. Raises :class:`InvalidRoutes`; unknown keys are refused, they would be ignored wishes."""
    try:
        document = json.loads(text)
    # RecursionError: brackets nested beyond what the parser follows.
    except (ValueError, RecursionError) as error:
        raise InvalidRoutes(f"not JSON: {error}") from error
    document = _section(document, "the file", required={"schema", "models"})
    if document["schema"] != ROUTES_SCHEMA:
        raise InvalidRoutes(f"schema {document['schema']!r} is unknown to this release; {ROUTES_SCHEMA} is known")
    models = document["models"]
    if not isinstance(models, dict):
        raise InvalidRoutes("models: an object of model names is needed")
    return RouteTable({name: _model_routes(name, routes) for name, routes in models.items()})


def read_routes(path: Path) -> RouteTable:
    """Read a routes file. Raises :class:`InvalidRoutes` naming the file and what is wrong with it."""
    try:
        return parse_routes(path.read_bytes())
    except OSError as error:
        raise InvalidRoutes(f"routes file {path} cannot be read: {error.strerror}") from error
    except InvalidRoutes as error:
        raise InvalidRoutes(f"routes file {path} is refused: {error}") from error


def format_routes(table: RouteTable) -> str:
    """The JSON form of a table, as :func:`parse_routes` reads it."""
    models: dict[str, Any] = {}
    for name, routes in sorted(table.models.items()):
        entry: dict[str, Any] = {"stable": routes.stable}
        if routes.candidate is not None:
            entry["candidate"] = {"version": routes.candidate.version, "weight": routes.candidate.weight}
        models[name] = {**entry, "labels": dict(sorted(routes.labels.items()))}
    return json.dumps({"schema": ROUTES_SCHEMA, "models": models}, indent=2) + "\n"


def write_routes(path: Path, table: RouteTable) -> None:
    """Replace the file atomically: a gateway sees the old table or the new one."""
    write_atomically(path, format_routes(table).encode("utf-8"))


class RouteFile(WatchedFile[RouteTable]):
    """The table of a file, kept current by a thread that looks at it every ``poll_seconds``."""

    def __init__(self, path: Path, poll_seconds: float) -> None:
        """Read the file. Raises :class:`InvalidRoutes`: there is no last good one to keep yet."""
        super().__init__(path, poll_seconds, read=read_routes, refusal=InvalidRoutes, what="routes")

    def table(self) -> RouteTable:
        """The last good table."""
        return self.content()


def _model_routes(name: str, value: Any) -> ModelRoutes:
    where = f"models.{name}"
    try:
        check_model_name(name)
    except RepositoryError as error:
        raise InvalidRoutes(f"{where}: {error}") from error
    entry = _section(value, where, required={"stable"}, optional=frozenset({"candidate", "labels"}))
    candidate = entry.get("candidate")
    labels = entry.get("labels", {})
    if not isinstance(labels, dict):
        raise InvalidRoutes(f"{where}.labels: an object of labels is needed")
    reserved = sorted({"stable", "candidate"} & set(labels))
    if reserved:
        raise InvalidRoutes(f"{where}.labels: {reserved[0]} always means that arm and cannot be set")
    return ModelRoutes(
        stable=_version(entry["stable"], f"{where}.stable"),
        candidate=None if candidate is None else _candidate(candidate, f"{where}.candidate"),
        labels={label: _version(version, f"{where}.labels.{label}") for label, version in labels.items()},
    )


def _candidate(value: Any, where: str) -> Candidate:
    entry = _section(value, where, required={"version", "weight"})
    weight = entry["weight"]
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1:
        raise InvalidRoutes(f"{where}.weight: a number from 0 to 1 is needed, not {weight!r}")
    return Candidate(_version(entry["version"], f"{where}.version"), float(weight))


def _version(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise InvalidRoutes(f"{where}: a version number is needed, not {value!r}")
    return value


def _section(
    value: Any, where: str, *, required: set[str], optional: frozenset[str] = frozenset()
) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InvalidRoutes(f"{where}: an object is needed, not {value!r}")
    missing, unknown = sorted(required - set(value)), sorted(set(value) - required - optional)
    if missing:
        raise InvalidRoutes(f"{where}: missing {', '.join(missing)}")
    if unknown:
        raise InvalidRoutes(
            f"{where}: unknown key {', '.join(unknown)}; known: {', '.join(sorted(required | optional))}"
        )
    return value
