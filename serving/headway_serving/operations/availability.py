"""Whether the version that all traffic is about to go to can answer; found out in two seconds, or not at all.

Gateways and model servers are asked at the same time. What any of them says decides. If none can be asked, the
directory does: taking traffic back must work while everything else is away.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx

from headway_contract.model_repository import ModelRepository
from headway_serving.adapters.metrics.traffic_window import addresses
from headway_serving.core.rollout.changes import RolloutRefused
from headway_serving.operations.models_config import base_of
from headway_serving.operations.version_loading import model_servers

LOOK_SECONDS = 2.0
"""The whole look, whoever answers or does not."""

_AVAILABLE = "AVAILABLE"
_DIRECTORY, _GONE = "directory", "gone"


class VersionUnavailable(RolloutRefused):
    """Traffic would be sent to a version that cannot answer it; the text says who says so."""


@dataclass(frozen=True)
class Asked:
    """Who is asked. ``model_servers_named``: a person named them; else they are asked in case no gateway answers."""

    gateways: tuple[str, ...]
    model_servers: tuple[str, ...]
    model_servers_named: bool = False


def is_gone(repository: ModelRepository, model: str, version: int) -> bool:
    """Whether the version's directory is not there, although the repository is.

    A folder without any model says nothing: the repository may be elsewhere, or out of reach.
    """
    return version not in repository.versions(model) and bool(repository.models())


def check_available(
    repository: ModelRepository,
    model: str,
    version: int,
    asked: Asked,
    http: httpx.Client,
    seconds: float = LOOK_SECONDS,
) -> str | None:
    """Return None if the version can answer, or a warning if nobody could be asked and its directory is there.

    Raises :class:`VersionUnavailable`: a process says that it is not available, or its directory is gone. A model
    server that still holds such a version drops it at its next look.
    """
    states = _states(_questions(repository, model, version, asked, http, seconds), seconds)
    if states.pop(_DIRECTORY, None) == _GONE:
        raise VersionUnavailable(
            f"version {version} of {model!r} is gone: {repository.root / model / str(version)} is not there; "
            "put it back (from a backup, or published again), or name the repository with --repository; "
            "--force sends the traffic there all the same"
        )
    gateways = {name: state for name, state in states.items() if name.startswith("gateway")}
    heard = states if asked.model_servers_named or not gateways else gateways
    bad = {name: state for name, state in heard.items() if state != _AVAILABLE}
    if bad:
        listed = "; ".join(f"{name} says {state}" for name, state in sorted(bad.items()))
        raise VersionUnavailable(
            f"version {version} of {model!r} cannot answer: {listed}; load it, or --force sends the traffic there "
            "all the same"
        )
    if heard:
        return None
    return (
        f"no gateway or model server could say within {seconds:g} s whether version {version} of {model!r} answers "
        f"(asked: {', '.join((*asked.gateways, *asked.model_servers))})"
    )


def _questions(
    repository: ModelRepository, model: str, version: int, asked: Asked, http: httpx.Client, seconds: float
) -> Mapping[str, Callable[[], str | None]]:
    """What to ask whom, by name: each returns what is said of the version, None if nothing is."""
    found: dict[str, Callable[[], str | None]] = {
        # Storage can hang as a network can.
        _DIRECTORY: lambda: _GONE if is_gone(repository, model, version) else None
    }
    for url in asked.gateways:
        found[f"gateway {url}"] = partial(_at_gateways, url, http, model, version, seconds)
    for target in asked.model_servers:
        found[f"model server {target}"] = partial(_at_model_servers, target, repository, model, version, seconds)
    return found


def _at_gateways(configured: str, http: httpx.Client, model: str, version: int, seconds: float) -> str | None:
    """What the gateways at an address say; the first that is not AVAILABLE, if there is one."""
    said = None
    for url in addresses(configured):
        answer = http.get(f"{url}/v1/models/{model}", timeout=seconds)
        # A gateway that does not know the model, or cannot ask its model server, says nothing of the version.
        states: Any = answer.json().get("states") if answer.status_code == 200 else None  # OK
        if states:
            said = str(states.get(str(version), "not loaded"))
            if said != _AVAILABLE:
                break
    return said


def _at_model_servers(target: str, repository: ModelRepository, model: str, version: int, seconds: float) -> str | None:
    """What the model servers at an address say of the version, and of the base that it is run on."""
    base = base_of(repository, model, version)
    needed = [(model, version), *([] if base is None else [(base.model, base.version)])]
    with model_servers([target]) as servers:
        for server in servers.values():
            for name, number in needed:
                states = server.version_states(name, seconds)
                if not states:
                    return None  # it does not know the model: it may be another repository's
                said = states.get(number, "not loaded")
                if said != _AVAILABLE:
                    return f"{said} of {name}/{number}"
    return _AVAILABLE


def _states(questions: Mapping[str, Callable[[], str | None]], seconds: float) -> dict[str, str]:
    """The answers that came in time; who fails, or is late, is not among them."""
    found: dict[str, str] = {}

    def ask(name: str, question: Callable[[], str | None]) -> None:
        try:
            said = question()
        except Exception:  # whatever keeps it from answering, it says nothing
            return
        if said is not None:
            found[name] = said

    # Daemons: a name server or a socket that hangs must not keep the command from ending.
    threads = [threading.Thread(target=ask, args=each, daemon=True) for each in questions.items()]
    ends = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, ends - time.monotonic()))
    return dict(found)
