"""Waits until every model server has a version: one that lacks it would answer its share of the traffic with errors."""

import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from headway_serving.adapters.model_server.predictor import TfServingPredictor
from headway_serving.core.catalog import VersionStates
from headway_serving.core.errors import ServingError

_DNS = "dns:///"
_POLL_SECONDS = 0.2
_TIMEOUT_SECONDS = 2.0


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
    servers: Mapping[str, VersionStates],
    needed: Sequence[tuple[str, int]],
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return once every server says AVAILABLE of all ``needed``: (model, version), a version and the base it stands on.

    Raises :class:`NotLoaded` if one does not within ``seconds``.
    """
    ends = clock() + seconds
    for model, version in needed:
        while waiting := {name: state for name, server in servers.items() if (state := _state(server, model, version))}:
            if clock() >= ends:
                listed = "; ".join(f"{name}: {state}" for name, state in sorted(waiting.items()))
                raise NotLoaded(f"version {version} of {model!r} was not loaded within {seconds:g} s: {listed}")
            sleep(_POLL_SECONDS)


def _state(server: VersionStates, model: str, version: int) -> str | None:
    """What the server says of the version, None if that is AVAILABLE."""
    try:
        state = server.version_states(model, _TIMEOUT_SECONDS).get(version, "not loaded")
    except ServingError as error:
        return str(error)
    return None if state == "AVAILABLE" else state


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
