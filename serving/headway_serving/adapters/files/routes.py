"""``routes.json``: where traffic goes. Read whole, watched for changes, and never half believed.

::

    {"schema": 2, "models": {"digits-0to4": {"stable": 2, "candidate": {"version": 3, "weight": 0.05},
                                             "labels": {"canary": 3}}}}

A file that cannot be used is refused with the reason; the last good one stays in force.
"""

import errno
import os
from collections.abc import Callable
from pathlib import Path

from headway_contract.durable_files import write_atomically
from headway_serving.adapters.files.documents import Place, document_at
from headway_serving.adapters.files.routes_document import ROUTES_SCHEMA, format_routes, parse_routes
from headway_serving.adapters.files.values import InvalidRoutes
from headway_serving.adapters.files.watched_file import WatchedFile
from headway_serving.core.documents import Document, Unreadable
from headway_serving.core.routing import ModelRoutes, RouteTable

__all__ = [
    "ROUTES_SCHEMA",
    "InvalidRoutes",
    "RouteFile",
    "UnverifiedVersion",
    "change_model",
    "change_routes",
    "format_routes",
    "parse_routes",
    "read_routes",
    "routes_if_any",
    "write_routes",
]


class UnverifiedVersion(Exception):
    """A change would send traffic to a version that no verification admits."""


def read_routes(place: Place) -> RouteTable:
    """Read the routes. Raises :class:`InvalidRoutes` naming the file and what is wrong with it, and OSError."""
    document = document_at(place)
    return _parsed(document, _content(document))


def routes_if_any(place: Place) -> RouteTable:
    """The table of a place that need not have routes; without any it is empty. Raises as :func:`read_routes`."""
    document = document_at(place)
    content = _content(document)
    return RouteTable({}) if content is None else _parsed(document, content)


def _content(document: Document) -> bytes | None:
    try:
        return document.read()
    except Unreadable as error:
        raise InvalidRoutes(f"routes file {document} cannot be read: {error.why}") from error


def _parsed(document: Document, content: bytes | None) -> RouteTable:
    if content is None:
        raise InvalidRoutes(f"routes file {document} cannot be read: {os.strerror(errno.ENOENT)}")
    try:
        return parse_routes(content)
    except InvalidRoutes as error:
        raise InvalidRoutes(f"routes file {document} is refused: {error}") from error


def write_routes(path: Path, table: RouteTable) -> None:
    """Replace the file atomically: a gateway sees the old table or the new one."""
    write_atomically(path, format_routes(table).encode("utf-8"))


def change_model(place: Place, model: str, change: Callable[[ModelRoutes], ModelRoutes]) -> ModelRoutes:
    """Replace the routes of one model by what ``change`` makes of them, and return those.

    ``change`` may be called several times: what another has changed meanwhile is not lost. Raises ``ModelNotFound``,
    :class:`InvalidRoutes`, :class:`UnverifiedVersion`, OSError, and what ``change`` raises; the routes then stay.
    """

    def changed(table: RouteTable) -> RouteTable:
        before = table.of(model)
        after = change(before)
        _check_admitted(before, after)
        return RouteTable({**table.models, model: after})

    return change_routes(place, changed).of(model)


def change_routes(place: Place, change: Callable[[RouteTable], RouteTable]) -> RouteTable:
    """Replace the table by what ``change`` makes of it, and return that. Raises as :func:`change_model`."""
    document, made = document_at(place), list[RouteTable]()

    def changed(content: bytes | None) -> bytes | None:
        before = _parsed(document, content)
        after = change(before)
        made.append(after)
        return None if after == before else format_routes(after).encode("utf-8")

    try:
        document.change(changed)
    except Unreadable as error:
        raise InvalidRoutes(f"routes file {document} cannot be read: {error.why}") from error
    return made[-1]


def _check_admitted(before: ModelRoutes, after: ModelRoutes) -> None:
    """A version that did not get traffic before needs a verification of its own to get it."""
    known = {before.stable}
    if before.candidate is not None:
        known.add(before.candidate.version)
    if after.rollout is not None:
        known |= {after.rollout.previous, after.rollout.verification.version}
    wanted = {after.stable}
    wanted |= {after.candidate.version} if after.candidate is not None else set()
    wanted |= {after.shadow.version} if after.shadow is not None else set()
    if wanted - known:
        raise UnverifiedVersion(
            f"version {min(wanted - known)} was not verified and gets no traffic; begin with: headway rollout start"
        )


class RouteFile(WatchedFile[RouteTable]):
    """The table of a file, kept current by a thread that looks at it every ``poll_seconds``."""

    def __init__(self, path: Path, poll_seconds: float) -> None:
        """Read the file. Raises :class:`InvalidRoutes`: there is no last good one to keep yet."""
        super().__init__(path, poll_seconds, read=read_routes, refusal=InvalidRoutes, what="routes")

    def table(self) -> RouteTable:
        """The last good table."""
        return self.content()
