"""The routes of a ConfigMap, watched: a change is in force as soon as the API tells of it.

While the API is away the last good routes stay. If it is away at the start, the mounted file is read and followed until
the API answers. Source: kubernetes.io, "Kubernetes API Concepts", "Efficient detection of changes".
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from headway_serving.adapters.files.routes import InvalidRoutes, RouteFile, parse_routes
from headway_serving.adapters.kubernetes.api import ConfigMapApi, ConfigMapName, Object, config_map_named
from headway_serving.adapters.kubernetes.discovery import find_cluster
from headway_serving.adapters.kubernetes.errors import Gone, InvalidKubernetes, KubernetesError
from headway_serving.core.routing import RouteTable

KEY = "routes.json"
_LEAST_PAUSE_SECONDS, _MOST_PAUSE_SECONDS = 0.1, 5.0

_log = logging.getLogger(__name__)


class WatchedRoutes:
    """The table of a ConfigMap's ``routes.json``, kept current by a thread, as :class:`RouteFile` does for a file."""

    def __init__(self, api: ConfigMapApi, where: ConfigMapName, fallback: Path, poll_seconds: float) -> None:
        """Read the routes, from the file ``fallback`` if the API cannot be had.

        Raises :class:`InvalidRoutes` if neither has routes that can be used: there are no last good ones yet.
        """
        self._api, self._where = api, where
        self._followers: list[Callable[[RouteTable], None]] = []
        self._text: str | None = None
        self._problem: str | None = None
        self._trouble: str | None = None
        self._since = self._read_at = time.time()
        self._version: str | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="routes-watch", daemon=True)
        self._file: RouteFile | None = None
        self._lock = threading.Lock()
        try:
            found, version = api.listed(where)
            self._text = _text_of(found, where)
            self._content = parse_routes(self._text)
            self._version = version
        except (KubernetesError, InvalidRoutes) as error:
            self._trouble = str(error)
            try:
                self._file = RouteFile(fallback, poll_seconds)
            except InvalidRoutes as also:
                raise InvalidRoutes(
                    f"ConfigMap {where} has no routes to begin with: {error}; nor has the file: {also}"
                ) from also
            _log.warning("%s; the routes of %s are in force until it answers", error, fallback)
            self._content = self._file.content()

    def content(self) -> RouteTable:
        """The last good table."""
        return self._content

    @property
    def read_at(self) -> float:
        """When the last good table was read, Unix time."""
        return self._read_at

    def problem(self) -> str | None:
        """Why the routes as they are now were refused, or None if they are in force."""
        return self._problem if self._file is None else self._problem or self._file.problem()

    def standing(self) -> Mapping[str, Any]:
        """Where the routes come from, whether changes are seen at once, and since when (Unix time) that is so."""
        source = f"kubernetes:{self._where}" if self._file is None else "the file, until the API answers"
        return {"from": source, "followed": self._trouble is None, "trouble": self._trouble, "since": self._since}

    def follow(self, take: Callable[[RouteTable], None]) -> None:
        """Have ``take`` called with every new good table, by the thread that watches; it must return at once."""
        self._followers.append(take)

    def watch(self) -> None:
        """Begin to follow changes."""
        if self._file is not None:
            self._file.follow(self._take_from_file)
            self._file.watch()
        self._thread.start()

    def close(self) -> None:
        """Stop following changes; a watch that waits ends with the process."""
        self._stopping.set()
        if self._file is not None:
            self._file.close()

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                if self._version is None:
                    self._list()
                self._watch_once()
                failures = 0
            except Gone as error:
                # Too much has happened to be told one by one: what is there now is all that counts.
                _log.info("%s; the routes are read anew", error)
                self._version = None
            except KubernetesError as error:
                failures = 1 if self._trouble is None else failures + 1
                self._stand(str(error))
            # Whatever else is wrong must not end the following.
            except Exception as error:
                failures, self._version = failures + 1, None
                self._stand(f"the watch of ConfigMap {self._where} broke: {error!r}")
            most = min(_LEAST_PAUSE_SECONDS * 2.0**failures, _MOST_PAUSE_SECONDS)
            self._stopping.wait(random.uniform(_LEAST_PAUSE_SECONDS, most))  # noqa: S311  # so that not all ask at once

    def _list(self) -> None:
        found, version = self._api.listed(self._where)
        self._take(found)
        self._version = version
        self._stand(None)

    def _watch_once(self) -> None:
        assert self._version is not None  # _list comes first
        with self._api.watched(self._where, self._version) as events:
            self._stand(None)
            for event in events:
                found: Object = event["object"]
                if event["type"] in ("ADDED", "MODIFIED"):
                    self._take(found)
                elif event["type"] == "DELETED":
                    self._take(None)
                self._version = str(found["metadata"]["resourceVersion"])
                if self._stopping.is_set():
                    return

    def _stand(self, trouble: str | None) -> None:
        if (trouble is None) == (self._trouble is None):
            self._trouble = trouble
            return
        self._trouble, self._since = trouble, time.time()
        if trouble is None:
            _log.info("ConfigMap %s is watched: new routes are in force at once", self._where)
        else:
            _log.error("%s; the last good routes stay in force", trouble)

    def _take_from_file(self, table: RouteTable) -> None:
        with self._lock:
            # The file is behind the API, which may have answered in this moment.
            if self._file is not None:
                self._put_in_force(table)

    def _take(self, found: Object | None) -> None:
        try:
            text = _text_of(found, self._where)
            if text == self._text and self._problem is None:
                return  # another key, or an annotation
            table = parse_routes(text)
        except InvalidRoutes as error:
            if str(error) != self._problem:
                self._problem = str(error)
                _log.error("%s: %s; the last good routes stay in force", self._where, error)
            return
        changed, self._text, self._problem = text != self._text, text, None
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None
            if changed:
                _log.info("new routes were read from ConfigMap %s", self._where)
                self._put_in_force(table)

    def _put_in_force(self, table: RouteTable) -> None:
        self._content, self._read_at = table, time.time()
        for take in self._followers:
            try:
                take(table)
            except Exception:
                _log.exception("new routes were read, and could not be taken up")


def watch_routes(text: str, fallback: Path, poll_seconds: float) -> WatchedRoutes:
    """The routes of ``NAMESPACE/NAME`` in the cluster that is found, see :class:`WatchedRoutes`.

    Raises :class:`InvalidRoutes`, also if no cluster is known: that is a mistake, which no waiting mends.
    """
    try:
        return WatchedRoutes(ConfigMapApi(find_cluster()), config_map_named(text, ""), fallback, poll_seconds)
    except InvalidKubernetes as error:
        raise InvalidRoutes(f"the routes of {text} cannot be watched: {error}") from error


def _text_of(found: Object | None, where: ConfigMapName) -> str:
    if found is None:
        raise InvalidRoutes(f"ConfigMap {where} is not there")
    text = (found.get("data") or {}).get(KEY)
    if text is None:
        raise InvalidRoutes(f"ConfigMap {where} has no key {KEY}")
    return str(text)
