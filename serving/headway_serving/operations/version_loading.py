"""Waits until every model server has a version: one that lacks it would answer its share of the traffic with errors."""

import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from headway_serving.adapters.model_server.predictor import TfServingPredictor
from headway_serving.core.catalog import VersionStates
from headway_serving.core.errors import ModelUnavailable, ServingError

_DNS = "dns:///"
_POLL_SECONDS = 0.2
_TIMEOUT_SECONDS = 2.0
_GONE_SECONDS = 1.0
_OLD_FAILURE_SECONDS = 6.0
"""A failure that is there at the first look may be of an earlier try: so long a model server may take to begin anew."""


class LoadingStates(VersionStates, Protocol):
    """Where one sees what is loaded, and why something is not."""

    def load_failures(self, model: str, timeout: float) -> dict[int, str]:
        """Why versions of the model could not be loaded, by version. Raises a ``ServingError``."""
        ...


class NotLoaded(Exception):
    """A model server does not have the version; the text says which, and what it says of it."""


@contextmanager
def model_servers(targets: Sequence[str]) -> Iterator[dict[str, TfServingPredictor]]:
    """A connection to every model server, by address; ``dns:///NAME:PORT`` is all addresses of the name.

    Raises :class:`NotLoaded` for a name without addresses.
    """
    servers = {address: TfServingPredictor(address) for target in targets for address in _addresses(target)}
    try:
        yield servers
    finally:
        for server in servers.values():
            server.close()


def wait_until_loaded(
    servers: Mapping[str, LoadingStates],
    needed: Sequence[tuple[str, int]],
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return once every server says AVAILABLE of all ``needed``: (model, version), a version and the base it stands on.

    Raises :class:`NotLoaded` if one does not within ``seconds``, says earlier that it has given up, or is gone for
    :data:`_GONE_SECONDS` after it has answered: what is loaded may have ended it, and would end it again.
    """
    began = clock()
    watched = _Watched(servers, clock)
    for model, version in needed:
        old = _failures(servers, model, version)
        while waiting := watched.waiting(model, version):
            failed = _failures({name: servers[name] for name in waiting}, model, version)
            if clock() < began + _OLD_FAILURE_SECONDS:
                # What begins anew leaves this state first, so a failure that was seen to end is an old one no more.
                new = {name: why for name, why in failed.items() if name not in old}
                old = {name: why for name, why in old.items() if name in failed}
                failed = new
            if failed:
                listed = "; ".join(f"{name}: {why}" for name, why in sorted(failed.items()))
                raise NotLoaded(f"version {version} of {model!r} cannot be loaded: {listed}")
            if (ended := watched.ended()) is not None:
                raise NotLoaded(f"version {version} of {model!r} cannot be loaded: {ended}")
            if clock() >= began + seconds:
                listed = "; ".join(f"{name}: {state}" for name, state in sorted(waiting.items()))
                raise NotLoaded(f"version {version} of {model!r} was not loaded within {seconds:g} s: {listed}")
            sleep(_POLL_SECONDS)


class _Watched:
    """Model servers that are asked for states, and which of them have answered and then do no more."""

    def __init__(self, servers: Mapping[str, VersionStates], clock: Callable[[], float]) -> None:
        self._servers, self._clock = servers, clock
        self._away_since: dict[str, float | None] = {}

    def waiting(self, model: str, version: int) -> dict[str, str]:
        """What the servers say of the version that do not say AVAILABLE."""
        found = {}
        for name, server in self._servers.items():
            try:
                state = server.version_states(model, _TIMEOUT_SECONDS).get(version, "not loaded")
            except ModelUnavailable as error:
                state = str(error)
                if name in self._away_since and self._away_since[name] is None:
                    self._away_since[name] = self._clock()
            except ServingError as error:
                state = str(error)
            else:
                self._away_since[name] = None
            if state != "AVAILABLE":
                found[name] = state
        return found

    def ended(self) -> str | None:
        """Which server has ended, in words."""
        for name, since in self._away_since.items():
            if since is not None and self._clock() >= since + _GONE_SECONDS:
                return f"{name}: the model server ended while it loaded the version; its log says why"
        return None


def wait_until_unloaded(
    servers: Mapping[str, VersionStates],
    gone: Sequence[tuple[str, int]],
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return once no server has any of ``gone``, (model, version). Raises :class:`NotLoaded` after ``seconds``."""
    ends = clock() + seconds
    for model, version in gone:
        while holding := [name for name, server in servers.items() if not _unloaded(server, model, version)]:
            if clock() >= ends:
                raise NotLoaded(
                    f"version {version} of {model!r} was not unloaded within {seconds:g} s at {', '.join(holding)}"
                )
            sleep(_POLL_SECONDS)


def _unloaded(server: VersionStates, model: str, version: int) -> bool:
    try:
        return server.version_states(model, _TIMEOUT_SECONDS).get(version, "END") == "END"
    except ServingError:
        return False


def _failures(servers: Mapping[str, LoadingStates], model: str, version: int) -> dict[str, str]:
    """Why the version could not be loaded, by server; a server that does not answer says nothing."""
    found = {}
    for name, server in servers.items():
        try:
            why = server.load_failures(model, _TIMEOUT_SECONDS).get(version)
        except ServingError:
            continue
        if why is not None:
            found[name] = why
    return found


def _addresses(target: str) -> list[str]:
    if not target.startswith(_DNS):
        return [target]
    host, _, port = target.removeprefix(_DNS).rpartition(":")
    try:
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        raise NotLoaded(f"model server {target} has no address: {error}") from error
    hosts = sorted({str(each[4][0]) for each in found})
    return [f"[{each}]:{port}" if ":" in each else f"{each}:{port}" for each in hosts]
