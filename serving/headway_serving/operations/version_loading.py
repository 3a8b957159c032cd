"""Waits until every model server has a version: one that lacks it would answer its share of the traffic with errors."""

import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from headway_serving.adapters.model_server.predictor import TfServingPredictor
from headway_serving.core.catalog import VersionStates
from headway_serving.core.errors import ServingError

_DNS = "dns:///"
_POLL_SECONDS = 0.2
_TIMEOUT_SECONDS = 2.0
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

    Raises :class:`NotLoaded` if one does not within ``seconds``, or says earlier that it has given up.
    """
    began = clock()
    for model, version in needed:
        old = _failures(servers, model, version)
        while waiting := {name: state for name, server in servers.items() if (state := _state(server, model, version))}:
            failed = _failures({name: servers[name] for name in waiting}, model, version)
            if clock() < began + _OLD_FAILURE_SECONDS:
                # What begins anew leaves this state first, so a failure that was seen to end is an old one no more.
                new = {name: why for name, why in failed.items() if name not in old}
                old = {name: why for name, why in old.items() if name in failed}
                failed = new
            if failed:
                listed = "; ".join(f"{name}: {why}" for name, why in sorted(failed.items()))
                raise NotLoaded(f"version {version} of {model!r} cannot be loaded: {listed}")
            if clock() >= began + seconds:
                listed = "; ".join(f"{name}: {state}" for name, state in sorted(waiting.items()))
                raise NotLoaded(f"version {version} of {model!r} was not loaded within {seconds:g} s: {listed}")
            sleep(_POLL_SECONDS)


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


def _state(server: VersionStates, model: str, version: int) -> str | None:
    """What the server says of the version, None if that is AVAILABLE."""
    try:
        state = server.version_states(model, _TIMEOUT_SECONDS).get(version, "not loaded")
    except ServingError as error:
        return str(error)
    return None if state == "AVAILABLE" else state


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
