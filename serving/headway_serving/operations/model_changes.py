"""Puts a model or a version into service, or takes it out, while gateways and model servers run.

Nothing is routed before every model server has it and answers as it was exported, and nothing is unloaded before every
gateway has stopped asking for it. A first version has nothing to be compared with, so it gets all traffic of its name
at once; a later one gets none here: that is what a rollout is for.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import httpx

from headway_contract.errors import ContractError
from headway_contract.model_repository import ModelRepository
from headway_serving.adapters.files.documents import Place
from headway_serving.adapters.files.routes import change_routes, read_routes
from headway_serving.adapters.metrics.traffic_window import addresses
from headway_serving.core.rollout.changes import Author, RolloutRefused
from headway_serving.core.rollout_state import OPEN, HistoryEntry, appended
from headway_serving.core.routing import ModelRoutes, RouteTable
from headway_serving.operations.direct_answers import check_direct_answers
from headway_serving.operations.models_config import base_of, loaded_versions, unload
from headway_serving.operations.reachability import check_reachable
from headway_serving.operations.removed_models import remember_removed
from headway_serving.operations.tentative_loading import loaded_tentatively
from headway_serving.operations.verification import check_loaded, verify_files
from headway_serving.operations.version_loading import (
    model_servers,
    wait_until_loaded,
    wait_until_unloaded,
)

_FOLLOW_SECONDS = 30.0
_POLL_SECONDS = 0.2
_TIMEOUT_SECONDS = 5.0


class ChangeRefused(Exception):
    """The model cannot be added or removed now; the text says why and what to do."""


class NotFollowed(Exception):
    """A gateway does not show the change; the text says which, and what it answers."""


@dataclass(frozen=True)
class ServedBy:
    """The files of a pair and its processes; without gateways and model servers only the files are changed.

    ``models_config``: None if versions are loaded by other means. ``tolerance``: of a golden score; None: the one of
    the manifest.
    """

    repository: ModelRepository
    routes_file: Place
    models_config: Place | None
    gateways: tuple[str, ...]
    model_servers: tuple[str, ...]
    load_seconds: float = 120.0
    tolerance: float | None = None


def newest_routable(repository: ModelRepository, model: str) -> int | None:
    """The newest version that names classes: a backbone only serves the heads that stand on it. None: there is none."""
    for version in reversed(repository.versions(model)):
        try:
            if repository.manifest(model, version).form != "features":
                return version
        except ContractError:
            # What is wrong with it is said when it is to be served.
            return version
    return None


def add(pair: ServedBy, model: str, version: int | None, who: Author, http: httpx.Client) -> str:
    """Serve a model that is not routed, or load one more version of one that is. Returns what was done.

    Raises :class:`ChangeRefused`, :class:`NotFollowed`, and what checking, loading, reading and writing raise.
    """
    routed = read_routes(pair.routes_file).models.get(model)
    if routed is not None and (version is None or version in routed.versions()):
        raise ChangeRefused(
            f"{model} is served already: version {routed.stable} is stable; "
            f"a newer version gets traffic by: headway rollout start {model}"
        )
    if version is None:
        version = newest_routable(pair.repository, model)
        if version is None:
            pair.repository.latest(model)
            raise ChangeRefused(f"{model} is a backbone without classes; it is loaded with the heads that stand on it")
    _load_and_check(pair, model, version, http)
    if routed is not None:
        return f"{model}/{version} is loaded; version {routed.stable} keeps the traffic"
    _route(pair, model, version, who)
    _wait_for_gateways(pair, model, version, http)
    return f"{model}/{version} is served: it is stable"


def remove(pair: ServedBy, model: str, version: int | None, http: httpx.Client) -> str:
    """Take a model, or a version that gets no traffic, out of service; its files stay. Returns what was done.

    Raises as :func:`add`.
    """
    loaded = {} if pair.models_config is None else loaded_versions(pair.models_config)
    table = read_routes(pair.routes_file)
    _refuse_what_is_needed(pair, table, loaded, model, version)
    if version is not None:
        if version not in loaded.get(model, ()):
            raise ChangeRefused(f"{model}/{version} is not loaded by {pair.models_config}")
        check_reachable((), pair.model_servers, http)
        _unload(pair, model, (version,))
        return f"{model}/{version} is no longer loaded"
    if model not in table.models and model not in loaded and model not in pair.repository.models():
        raise ChangeRefused(f"there is no model {model!r} in {pair.routes_file} or {pair.repository.root}")
    check_reachable(pair.gateways, pair.model_servers, http)
    remember_removed(pair.routes_file, model, removed=True)
    _unroute(pair, model)
    _wait_for_gateways(pair, model, None, http)
    _unload(pair, model, loaded.get(model, ()))
    return f"{model} is no longer served; headway models add {model} brings it back"


def _load_and_check(pair: ServedBy, model: str, version: int, http: httpx.Client) -> None:
    """Load the version everywhere and compare its answers; unload it again if it does not pass."""
    manifest = verify_files(pair.repository, model, version)
    check_reachable(pair.gateways, pair.model_servers, http)
    base = base_of(pair.repository, model, version)
    needed = [(model, version)] + ([] if base is None else [(base.model, base.version)])
    with (
        loaded_tentatively(pair.models_config, pair.repository, pair.routes_file, model, version),
        model_servers(pair.model_servers) as servers,
    ):
        wait_until_loaded(servers, needed, pair.load_seconds)
        check_loaded(servers, manifest, version)
        check_direct_answers(servers, manifest, version, pair.tolerance)


def _route(pair: ServedBy, model: str, version: int, who: Author) -> None:
    remember_removed(pair.routes_file, model, removed=False)

    def routed(table: RouteTable) -> RouteTable:
        if model in table.models:
            raise ChangeRefused(f"{model} was added meanwhile: version {table.models[model].stable} is stable")
        added = ModelRoutes(version)
        entry = HistoryEntry(who.at, who.by, f"version {version} is stable", "the model was added")
        return RouteTable({**table.models, model: replace(added, history=appended(added.history, entry))})

    change_routes(pair.routes_file, routed)


def _unroute(pair: ServedBy, model: str) -> None:
    def unrouted(table: RouteTable) -> RouteTable:
        _refuse_open_rollout(table, model)
        return RouteTable({name: routes for name, routes in table.models.items() if name != model})

    change_routes(pair.routes_file, unrouted)


def _unload(pair: ServedBy, model: str, versions: tuple[int, ...]) -> None:
    if pair.models_config is None:
        return
    for version in versions:
        unload(pair.models_config, pair.repository, read_routes(pair.routes_file), model, version)
    left = loaded_versions(pair.models_config).get(model, ())
    with model_servers(pair.model_servers) as servers:
        wait_until_unloaded(servers, [(model, each) for each in versions if each not in left], pair.load_seconds)


def _refuse_open_rollout(table: RouteTable, model: str) -> None:
    routes = table.models.get(model)
    if routes is not None and routes.rollout is not None and routes.rollout.status in OPEN:
        raise RolloutRefused(
            f"version {routes.rollout.candidate} of {model} is being rolled out ({routes.rollout.status}); "
            f"end that first: headway rollout abort {model}, or promote"
        )


def _refuse_what_is_needed(
    pair: ServedBy, table: RouteTable, loaded: dict[str, tuple[int, ...]], model: str, version: int | None
) -> None:
    """Raise for what gets traffic from a rollout, is named by the routes, or is what a served head stands on."""
    _refuse_open_rollout(table, model)
    routed = table.models.get(model)
    if version is not None and routed is not None and version in routed.versions():
        raise ChangeRefused(f"{model}/{version} stays: {_part(routed, version)}")
    served = {name: {*loaded.get(name, ()), *(table.models[name].versions() if name in table.models else ())}
              for name in {*loaded, *table.models} - {model}}  # fmt: skip
    for name, numbers in sorted(served.items()):
        for number in sorted(numbers):
            base = base_of(pair.repository, name, number)
            if base is not None and base.model == model and version in (None, base.version):
                raise ChangeRefused(
                    f"{model} stays: head {name}/{number} stands on {base.model}/{base.version}; "
                    f"remove {name} first: headway models remove {name}"
                )


def _part(routes: ModelRoutes, version: int) -> str:
    if version == routes.stable:
        return "it is the stable version; headway models remove without a version takes the whole model out"
    labels = [label for label, each in routes.labels.items() if each == version]
    if labels:
        return f"label {labels[0]!r} in routes.json names it"
    return "the rollout that is over may have to go back to it; first: headway rollout finish"


def _wait_for_gateways(
    pair: ServedBy,
    model: str,
    version: int | None,
    http: httpx.Client,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Return once every gateway says that the version is stable; None: that it does not know the model."""
    ends = clock() + _FOLLOW_SECONDS
    wanted = None if version is None else f"version {version} is stable"
    for url in (each for configured in pair.gateways for each in addresses(configured)):
        while (answered := _shown(url, model, http)) != wanted:
            if clock() >= ends:
                shows = "no such model" if answered is None else answered
                raise NotFollowed(
                    f"{pair.routes_file} is changed and gateway {url} does not follow: {shows}; does it read that file?"
                )
            time.sleep(_POLL_SECONDS)


def _shown(url: str, model: str, http: httpx.Client) -> str | None:
    """What a gateway says of the model; None if it knows no such model. Raises :class:`NotFollowed` if it refuses."""
    try:
        answer = http.get(f"{url}/v1/models/{model}", timeout=_TIMEOUT_SECONDS)
        if answer.status_code == 404:
            return None
        document = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        return f"no answer that can be read: {error!r}"
    if answer.status_code in (401, 403):
        raise NotFollowed(f"gateway {url} does not say whether it follows: {document}; HEADWAY_TOKEN is sent to it")
    if answer.status_code != 200:
        return f"{answer.status_code}: {document}"
    # What it cannot describe it cannot answer for: the model server is asked at the first look.
    return document.get("unavailable") or f"version {document.get('stable')} is stable"
