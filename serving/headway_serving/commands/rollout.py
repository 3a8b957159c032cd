"""``headway rollout``: load, verify, shift, judge, promote or take back; see docs/rollout.md.

``abort`` is one write of ``routes.json`` and needs nothing else: no repository, gateway, model server or network.
"""

import argparse
import getpass
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import httpx

from headway_contract.errors import ContractError
from headway_contract.model_repository import ModelRepository
from headway_serving.adapters.files.routes import InvalidRoutes, UnverifiedVersion, change_model, read_routes
from headway_serving.adapters.metrics.traffic_window import GatewayMetrics, PrometheusApi, TrafficUnknown, addresses
from headway_serving.commands import rollout_view as view
from headway_serving.commands.rollout_arguments import parser, policy_of
from headway_serving.core.errors import ServingError
from headway_serving.core.rollout import changes
from headway_serving.core.rollout.changes import Author, RolloutRefused
from headway_serving.core.rollout_state import OPEN, RolloutStatus, Verification
from headway_serving.core.routing import ModelRoutes
from headway_serving.operations.models_config import ForeignConfiguration, base_of, load_also, unload
from headway_serving.operations.rollout_controller import (
    ControlledElsewhere,
    Controller,
    Look,
    TrafficSource,
    controlling,
)
from headway_serving.operations.verification import (
    AcceptedChanges,
    VerificationFailed,
    check_golden_samples,
    check_loaded,
    compare_with_stable,
    verified,
    verify_files,
)
from headway_serving.operations.version_loading import NotLoaded, model_servers, wait_until_loaded

_DONE, _REFUSED, _ROLLED_BACK, _INCONCLUSIVE = 0, 2, 3, 4
_EXIT_CODES = {
    RolloutStatus.PROMOTED: _DONE,
    RolloutStatus.ROLLED_BACK: _ROLLED_BACK,
    RolloutStatus.HELD: _INCONCLUSIVE,
}
_REFUSALS = (
    RolloutRefused, VerificationFailed, NotLoaded, ForeignConfiguration, UnverifiedVersion, InvalidRoutes,
    ServingError, ContractError, ValueError, OSError,
)  # fmt: skip
_WATCH_SECONDS = 1.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb. Exit codes: 0 done or promoted, 2 refused, 3 rolled back, 4 inconclusive."""
    arguments = parser().parse_args(argv)
    try:
        return _VERBS[arguments.verb](arguments)
    except _REFUSALS as error:
        return _say(arguments, {"event": "refused", "why": str(error)}, f"refused: {error}", _REFUSED)
    except TrafficUnknown as error:
        return _say(arguments, {"event": "inconclusive", "why": str(error)}, f"no data: {error}", _INCONCLUSIVE)


def _start(arguments: argparse.Namespace) -> int:
    policy, routes_file, model = policy_of(arguments), _routes_file(arguments), arguments.model
    repository = ModelRepository(arguments.repository)
    with controlling(routes_file, model):
        routes = read_routes(routes_file).of(model)
        version = repository.latest(model) if arguments.version is None else arguments.version
        going = routes.rollout is not None and routes.rollout.status in OPEN
        if arguments.resume and going and routes.rollout is not None and routes.rollout.candidate == version:
            return _resumed(arguments)
        if going or version == routes.stable:
            # The same refusal as later, but before anything is loaded.
            changes.begun(routes, Verification(version, "", "", 0), policy, "", 0.0, _author())
        proof = _load_and_verify(arguments, repository, routes, version)
        salt = f"{version}-{time.time():.0f}"
        change_model(routes_file, model, lambda now: changes.begun(now, proof, policy, salt, time.time(), _author()))
        _say(
            arguments,
            {"event": "started", "model": model, "version": version, "digest": proof.digest},
            f"version {version} of {model} is loaded and verified ({proof.golden_samples} golden samples); "
            f"stages: {', '.join(map(str, policy.stages()))}",
        )
        return _control(arguments)


def _load_and_verify(
    arguments: argparse.Namespace, repository: ModelRepository, routes: ModelRoutes, version: int
) -> Verification:
    """Load the version everywhere and run every check; unload it again if one fails."""
    verify_files(repository, arguments.model, version)
    config = _models_config(arguments)
    if config is not None:
        load_also(config, repository, arguments.model, version)
    try:
        return _verified(arguments, repository, routes, version, arguments.load_timeout)
    except (VerificationFailed, NotLoaded):
        if config is not None:
            unload(config, repository, read_routes(_routes_file(arguments)), arguments.model, version)
        raise


def _verified(
    arguments: argparse.Namespace, repository: ModelRepository, routes: ModelRoutes, version: int, seconds: float
) -> Verification:
    manifest = verify_files(repository, arguments.model, version)
    accepted = AcceptedChanges(arguments.accept_label_change, arguments.accept_geometry_change)
    compare_with_stable(manifest, repository.manifest(arguments.model, routes.stable), accepted)
    base = base_of(repository, arguments.model, version)
    needed = [(arguments.model, version)] + ([] if base is None else [(base.model, base.version)])
    with model_servers(arguments.model_server or ["127.0.0.1:8500"]) as servers, _http() as http:
        wait_until_loaded(servers, needed, seconds)
        check_loaded(servers, manifest, version)
        check_golden_samples(_gateways(arguments), http, manifest, version, arguments.tolerance)
    return verified(repository, manifest, version)


def _verify(arguments: argparse.Namespace) -> int:
    repository = ModelRepository(arguments.repository)
    routes = read_routes(_routes_file(arguments)).of(arguments.model)
    version = repository.latest(arguments.model) if arguments.version is None else arguments.version
    proof = _verified(arguments, repository, routes, version, seconds=0.0)
    text = f"version {version} of {arguments.model} passes: {proof.golden_samples} golden samples, {proof.digest}"
    return _say(arguments, {"event": "verified", "version": version, "digest": proof.digest}, text)


def _resume(arguments: argparse.Namespace) -> int:
    routes_file, model = _routes_file(arguments), arguments.model
    try:
        with controlling(routes_file, model):
            return _resumed(arguments)
    except ControlledElsewhere:
        state = read_routes(routes_file).of(model).rollout
        if state is None or state.status is not RolloutStatus.PAUSED:
            raise
    # The command that controls it has waited for this. Here it is told how that ends, or gone on if it was killed.
    _change(arguments, lambda routes: changes.resumed(routes, time.time(), _author()))
    with controlling(routes_file, model, wait=True):
        return _control(arguments)


def _resumed(arguments: argparse.Namespace) -> int:
    _change(arguments, lambda routes: changes.resumed(routes, time.time(), _author()))
    return _control(arguments)


def _control(arguments: argparse.Namespace) -> int:
    def told(look: Look) -> None:
        _say(arguments, view.look_document(arguments.model, look), view.look_text(look))

    with _http() as http:
        source = _source(arguments, http)
        try:
            status = Controller(_routes_file(arguments), arguments.model, source, _author, told).run()
        except (InvalidRoutes, OSError) as error:
            # Nothing was decided, and the gateways keep the last routes that were good.
            return _say(arguments, {"event": "inconclusive", "why": str(error)}, str(error), _INCONCLUSIVE)
    routes = read_routes(_routes_file(arguments)).of(arguments.model)
    why = routes.rollout.reason if routes.rollout is not None else ""
    document = {"event": status.value, "model": arguments.model, "stable": routes.stable, "why": why}
    return _say(arguments, document, f"{status.value.replace('_', ' ')}: {why}", _EXIT_CODES[status])


def _status(arguments: argparse.Namespace) -> int:
    while True:
        routes = read_routes(_routes_file(arguments)).of(arguments.model)
        if arguments.watch and sys.stdout.isatty() and not arguments.json:
            sys.stdout.write("\x1b[H\x1b[2J")
        _say(arguments, view.status_document(arguments.model, routes), view.status_text(arguments.model, routes))
        if not arguments.watch or routes.rollout is None or routes.rollout.status not in OPEN:
            return _DONE
        time.sleep(_WATCH_SECONDS)


def _pause(arguments: argparse.Namespace) -> int:
    return _changed(arguments, lambda routes: changes.paused(routes, arguments.why or "by hand", _author()))


def _promote(arguments: argparse.Namespace) -> int:
    return _changed(arguments, lambda routes: changes.promoted(routes, arguments.why or "by hand", _author()))


def _abort(arguments: argparse.Namespace) -> int:
    return _changed(arguments, lambda routes: changes.rolled_back(routes, arguments.why or "by hand", _author()))


def _finish(arguments: argparse.Namespace) -> int:
    state = read_routes(_routes_file(arguments)).of(arguments.model).rollout
    _change(arguments, lambda routes: changes.finished(routes, _author()))
    config = _models_config(arguments)
    if state is not None and config is not None:
        lost = state.previous if state.status is RolloutStatus.PROMOTED else state.candidate
        table = read_routes(_routes_file(arguments))
        unload(config, ModelRepository(arguments.repository), table, arguments.model, lost)
    return _status_said(arguments)


def _history(arguments: argparse.Namespace) -> int:
    for entry in read_routes(_routes_file(arguments)).of(arguments.model).history:
        document = {"at": entry.at, "by": entry.by, "what": entry.what, "why": entry.why}
        _say(arguments, document, f"{entry.at}  {entry.what}: {entry.why} ({entry.by})")
    return _DONE


def _report(arguments: argparse.Namespace) -> int:
    state = read_routes(_routes_file(arguments)).of(arguments.model).rollout
    if state is None:
        raise RolloutRefused(f"there is no rollout of {arguments.model!r} to report on")
    # The whole rollout, not only its present stage: the shadow comes first. The gateways' own counters have no past;
    # all they have counted is the best that is known.
    since = datetime.fromisoformat(state.verification.at).timestamp() if arguments.prometheus else 0.0
    with _http() as http:
        seen = _source(arguments, http).window(arguments.model, state.previous, state.candidate, since)
    document = view.report_document(arguments.model, seen.shadow)
    if not document["compared"]:
        text = "ALARM: no answer of a shadow was compared; is there traffic, and a shadow in routes.json?"
        return _say(arguments, {"event": "alarm", **document}, f"{view.report_text(document)}\n{text}", _INCONCLUSIVE)
    return _say(arguments, {"event": "report", **document}, view.report_text(document))


def _changed(arguments: argparse.Namespace, change: Callable[[ModelRoutes], ModelRoutes]) -> int:
    _change(arguments, change)
    return _status_said(arguments)


def _change(arguments: argparse.Namespace, change: Callable[[ModelRoutes], ModelRoutes]) -> ModelRoutes:
    return change_model(_routes_file(arguments), arguments.model, change)


def _status_said(arguments: argparse.Namespace) -> int:
    routes = read_routes(_routes_file(arguments)).of(arguments.model)
    return _say(arguments, view.status_document(arguments.model, routes), view.status_text(arguments.model, routes))


def _source(arguments: argparse.Namespace, http: httpx.Client) -> TrafficSource:
    if arguments.prometheus:
        return PrometheusApi(arguments.prometheus, http)
    return GatewayMetrics(arguments.metrics or arguments.gateway or [_GATEWAY], http)


_GATEWAY = "http://127.0.0.1:8080"


def _gateways(arguments: argparse.Namespace) -> list[str]:
    urls = [url for configured in arguments.gateway or [_GATEWAY] for url in addresses(configured)]
    if not urls:
        raise VerificationFailed(f"no gateway has an address: {', '.join(arguments.gateway)}")
    return urls


def _http() -> httpx.Client:
    token = os.environ.get("HEADWAY_TOKEN")
    return httpx.Client(headers={"Authorization": f"Bearer {token}"} if token else None)


def _routes_file(arguments: argparse.Namespace) -> Path:
    path: Path = arguments.routes or arguments.repository / "routes.json"
    # A link is followed: replacing it by a file would cut off whoever reads what it points to.
    return path.resolve()


def _models_config(arguments: argparse.Namespace) -> Path | None:
    if arguments.models_config == "none":
        return None
    return Path(arguments.models_config or arguments.repository / "models.config").resolve()


def _author() -> Author:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        # A container may run as a user without a name.
        name = str(os.getuid())
    return Author(datetime.now(UTC).isoformat(timespec="seconds"), f"{name}@{socket.gethostname()}")


def _say(arguments: argparse.Namespace, document: Mapping[str, object], text: str, code: int = _DONE) -> int:
    """Write one event, as JSON where that was asked for; what was refused goes to stderr for people."""
    if arguments.json:
        sys.stdout.write(view.json_line(document) + "\n")
    else:
        stream = sys.stderr if code == _REFUSED else sys.stdout
        stream.write(f"headway rollout: {text}\n" if code == _REFUSED else f"{text}\n")
    sys.stdout.flush()
    return code


_VERBS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "start": _start,
    "resume": _resume,
    "verify": _verify,
    "status": _status,
    "pause": _pause,
    "promote": _promote,
    "abort": _abort,
    "finish": _finish,
    "history": _history,
    "report": _report,
}
