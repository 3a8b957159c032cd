"""``headway rollout``: load, verify, shift, judge, promote or take back; see docs/rollout.md.

``abort`` is one write of ``routes.json`` and needs nothing else: no repository, gateway, model server or network. Where
they are there, it asks first whether the version that gets the traffic back can answer.
"""

import contextlib
import getpass
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from headway_contract.errors import ContractError
from headway_contract.model_repository import ModelRepository
from headway_serving.adapters.files.routes import InvalidRoutes, UnverifiedVersion, change_model, read_routes
from headway_serving.adapters.kubernetes.errors import Unreachable as ApiAway
from headway_serving.adapters.metrics.traffic_window import GatewayMetrics, PrometheusApi, TrafficUnknown
from headway_serving.commands import rollout_view as view
from headway_serving.commands.rollout_arguments import (
    Command,
    DataSource,
    Decide,
    Finish,
    History,
    InvalidCommand,
    Report,
    Resume,
    Start,
    Status,
    Target,
    Verify,
    parse,
)
from headway_serving.commands.rollout_gate import (
    check_before_loading,
    check_unchanged,
    evidence,
    http_client,
    verified_loaded,
)
from headway_serving.commands.rollout_status import say_status
from headway_serving.core.documents import ReservationLost
from headway_serving.core.errors import ServingError
from headway_serving.core.rollout import changes
from headway_serving.core.rollout.changes import Author, RolloutRefused
from headway_serving.core.rollout.planning import shadow_share, with_expected_disagreement
from headway_serving.core.rollout_state import OPEN, RolloutStatus, Verification
from headway_serving.core.routing import ModelRoutes
from headway_serving.operations.availability import Asked, check_available
from headway_serving.operations.model_changes import ChangeRefused, NotFollowed, ServedBy, add
from headway_serving.operations.models_config import ForeignConfiguration, unload
from headway_serving.operations.notification import notify
from headway_serving.operations.reachability import Unreachable
from headway_serving.operations.rollout_controller import (
    ControlledElsewhere,
    Controller,
    Look,
    TrafficSource,
    controlling,
)
from headway_serving.operations.tentative_loading import loaded_tentatively
from headway_serving.operations.verification import VerificationFailed
from headway_serving.operations.version_loading import NotLoaded

_DONE, _ALARM, _REFUSED, _ROLLED_BACK, _INCONCLUSIVE = 0, 1, 2, 3, 4
_EXIT_CODES = {
    RolloutStatus.PROMOTED: _DONE,
    RolloutStatus.ROLLED_BACK: _ROLLED_BACK,
    RolloutStatus.HELD: _INCONCLUSIVE,
}
_REFUSALS = (
    RolloutRefused, VerificationFailed, NotLoaded, Unreachable, ChangeRefused, NotFollowed,
    ForeignConfiguration, UnverifiedVersion, InvalidRoutes,
    ServingError, ContractError, ReservationLost, ValueError, OSError,
)  # fmt: skip
_WATCH_SECONDS = 1.0
_GO_ON = "headway rollout resume, or abort"


@dataclass(frozen=True)
class Surroundings:
    """What a verb needs of the world beside its files; tests bring their own.

    ``clock``: Unix time, seconds. ``source``: where the traffic of a rollout is seen; None: as the command says.
    """

    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    source: TrafficSource | None = None
    settle_seconds: float = 1.5

    def author(self) -> Author:
        """Who changes something, and when."""
        return Author(datetime.fromtimestamp(self.clock(), UTC).isoformat(timespec="seconds"), _user())


@dataclass(frozen=True)
class Output:
    """Where events go: as JSON, one object a line, or as text for people."""

    as_json: bool

    def say(self, document: Mapping[str, object], text: str, code: int = _DONE) -> int:
        """Write one event and return the exit code; what was refused goes to stderr for people."""
        if self.as_json:
            sys.stdout.write(view.json_line(document) + "\n")
        else:
            stream = sys.stderr if code == _REFUSED else sys.stdout
            stream.write(f"headway rollout: {text}\n" if code == _REFUSED else f"{text}\n")
        sys.stdout.flush()
        return code


def main(argv: Sequence[str] | None = None, surroundings: Surroundings = Surroundings()) -> int:  # frozen
    """Run one verb. Exit codes: 0 done or promoted, 1 alarm, 2 refused, 3 rolled back, 4 inconclusive."""
    try:
        command = parse(argv)
    except InvalidCommand as error:
        return Output(error.as_json).say({"event": "refused", "why": str(error)}, f"refused: {error}", _REFUSED)
    output = Output(command.target.as_json)
    try:
        return _run(command, output, surroundings)
    except ApiAway as error:
        # Nothing is decided by that: whoever starts Jobs again may try again.
        return output.say({"event": "unreachable", "why": str(error)}, f"ALARM {error}", _ALARM)
    except _REFUSALS as error:
        return output.say({"event": "refused", "why": str(error)}, f"refused: {error}", _REFUSED)
    except TrafficUnknown as error:
        return output.say({"event": "inconclusive", "why": str(error)}, f"no data: {error}", _INCONCLUSIVE)


def _run(command: Command, output: Output, world: Surroundings) -> int:  # noqa: PLR0911  # one for each verb
    match command:
        case Start():
            return _start(command, output, world)
        case Resume():
            return _resume(command, output, world)
        case Verify():
            return _verify(command, output, world)
        case Status():
            return _status(command, output, world)
        case Decide():
            return _decide(command, output, world)
        case Finish():
            return _finish(command, output, world)
        case History():
            return _history(command, output)
        case Report():
            return _report(command, output, world)


def _start(command: Start, output: Output, world: Surroundings) -> int:
    policy, target = command.policy, command.target
    routes_file, model = target.routes_file, target.model
    repository = ModelRepository(target.repository)
    if model not in read_routes(routes_file).models:
        return _added(command, repository, output, world)
    with controlling(routes_file, model):
        routes = read_routes(routes_file).of(model)
        version = repository.latest(model) if command.gate.version is None else command.gate.version
        state = routes.rollout
        running = state is not None and state.status in OPEN
        if command.resume and state is not None and state.candidate == version:
            if state.status is RolloutStatus.RUNNING:
                return _resumed(target, command.data, command.notify, output, world)
            # What a person has paused waits for that person; of what is held or over, it is said how it ended.
            return _control(target, command.data, command.notify, output, world)
        if running or version == routes.stable:
            # The same refusal as later, but before anything is loaded.
            changes.begun(routes, Verification(version, "", "", 0), policy, "", 0.0, world.author())
        check_before_loading(model, command.gate, repository, routes, version, output.say)
        with _data_source(command.data, world) as source:
            rate = _tried(source, model)
        if command.shadow_auto:
            policy = replace(policy, shadow_share=shadow_share(policy, rate))
        with loaded_tentatively(command.models_config, repository, routes_file, model, version):
            proof = verified_loaded(
                model, command.gate, repository, routes, version, command.load_seconds, output.say, world.sleep
            )
        if command.disagreement_auto:
            policy = with_expected_disagreement(policy, proof)
        now = world.clock()
        salt = f"{version}-{now:.0f}"
        accepted = command.gate.accepted.flags()
        change_model(
            routes_file, model, lambda found: changes.begun(found, proof, policy, salt, now, world.author(), accepted)
        )
        output.say(
            {"event": "started", "model": model, "version": version, "digest": proof.digest},
            f"version {version} of {model} is loaded and verified ({evidence(proof)}); "
            f"stages: {', '.join(map(str, policy.stages()))}",
        )
        return _control(target, command.data, command.notify, output, world)


def _tried(source: TrafficSource, model: str) -> float:
    """Requests a second; nobody is given to a version whose traffic cannot be seen. Raises :class:`RolloutRefused`."""
    try:
        return source.rate(model)
    except TrafficUnknown as error:
        raise RolloutRefused(f"the traffic of {model!r} cannot be seen, so nobody was shifted: {error}") from error


@contextlib.contextmanager
def _data_source(data: DataSource, world: Surroundings) -> Iterator[TrafficSource]:
    with http_client() as http:
        yield world.source or (
            PrometheusApi(data.prometheus, http) if data.prometheus else GatewayMetrics(data.metrics, http)
        )


def _added(command: Start, repository: ModelRepository, output: Output, world: Surroundings) -> int:
    """A first version has no other to be compared with: it is checked, and then has all traffic of its name."""
    gate, model = command.gate, command.target.model
    pair = ServedBy(
        repository, command.target.routes_file, command.models_config, gate.gateways, gate.model_servers,
        command.load_seconds, gate.tolerance,
    )  # fmt: skip
    with http_client() as http:
        text = add(pair, model, gate.version, world.author(), http)
    return output.say({"event": "added", "model": model, "why": text}, f"first version: {text}")


def _verify(command: Verify, output: Output, world: Surroundings) -> int:
    model, repository = command.target.model, ModelRepository(command.target.repository)
    routes = read_routes(command.target.routes_file).of(model)
    version = repository.latest(model) if command.gate.version is None else command.gate.version
    check_before_loading(model, command.gate, repository, routes, version, output.say)
    proof = verified_loaded(model, command.gate, repository, routes, version, 0.0, output.say, world.sleep)
    text = f"version {version} of {model} passes: {evidence(proof)}, {proof.digest}"
    return output.say({"event": "verified", "version": version, "digest": proof.digest}, text)


def _resume(command: Resume, output: Output, world: Surroundings) -> int:
    target = command.target
    try:
        with controlling(target.routes_file, target.model):
            return _resumed(target, command.data, command.notify, output, world)
    except ControlledElsewhere:
        state = read_routes(target.routes_file).of(target.model).rollout
        if state is None or state.status is not RolloutStatus.PAUSED:
            raise
    # The command that controls it has waited for this. This one reports how that ends, or continues if it was killed.
    _change(target, lambda routes: changes.resumed(routes, world.clock(), world.author()))
    with controlling(target.routes_file, target.model, wait=True):
        return _control(target, command.data, command.notify, output, world)


def _resumed(target: Target, data: DataSource, told: Sequence[str], output: Output, world: Surroundings) -> int:
    state = read_routes(target.routes_file).of(target.model).rollout
    if state is not None:
        check_unchanged(ModelRepository(target.repository), target.model, state.verification)
    _change(target, lambda routes: changes.resumed(routes, world.clock(), world.author()))
    return _control(target, data, told, output, world)


def _control(target: Target, data: DataSource, told: Sequence[str], output: Output, world: Surroundings) -> int:
    def report(look: Look) -> None:
        output.say(view.look_document(target.model, look), view.look_text(look))

    with _data_source(data, world) as source:
        controller = Controller(
            target.routes_file, target.model, source, world.author, report, world.settle_seconds, world.clock,
            world.sleep, _warn,
        )  # fmt: skip
        try:
            routes = controller.run()
        except (InvalidRoutes, OSError) as error:
            # Nothing could be written, and the gateways keep the last routes that were good.
            why = f"{target.routes_file}: {error}: nobody controls this rollout now, and its versions keep their shares"
            document: dict[str, object] = {"event": "uncontrolled", "model": target.model, "why": why}
            return _tell(told, output, document, f"ALARM {why}; mend that, then: {_GO_ON}", _ALARM)
    state = routes.rollout
    assert state is not None  # the controller returns no routes without one
    document = {"event": state.status.value, "model": target.model, "stable": routes.stable, "why": state.reason}
    text = f"{state.status.value.replace('_', ' ')}: {state.reason}"
    return _tell(told, output, document, text, _EXIT_CODES[state.status])


def _warn(text: str) -> None:
    sys.stderr.write(f"headway rollout: {text}\n")


def _tell(told: Sequence[str], output: Output, document: Mapping[str, object], text: str, code: int) -> int:
    for each in told:
        if (problem := notify(each, document)) is not None:
            _warn(problem)
    return output.say(document, text, code)


def _status(command: Status, output: Output, world: Surroundings) -> int:
    model = command.target.model
    while True:
        routes = read_routes(command.target.routes_file).of(model)
        if command.watch and sys.stdout.isatty() and not output.as_json:
            sys.stdout.write("\x1b[H\x1b[2J")
        code = say_status(command.target, routes, output.say)
        if not command.watch or routes.rollout is None or routes.rollout.status not in OPEN:
            return code
        world.sleep(_WATCH_SECONDS)


def _decide(command: Decide, output: Output, world: Surroundings) -> int:
    change = _DECISIONS[command.verb]
    if command.asked is not None:
        _check_target(command, command.asked)
    routes = _change(command.target, lambda found: change(found, command.why, world.author()))
    say_status(command.target, routes, output.say)
    return _DONE


def _check_target(command: Decide, asked: Asked) -> None:
    """The version that is to get the traffic must be there. Raises ``VersionUnavailable``."""
    target = command.target
    state = read_routes(target.routes_file).of(target.model).rollout
    if state is None:
        return  # the change itself is refused
    version = state.candidate if command.verb == "promote" else state.previous
    if command.verb == "promote":
        check_unchanged(ModelRepository(target.repository), target.model, state.verification)
    with http_client() as http:
        warning = check_available(ModelRepository(target.repository), target.model, version, asked, http)
    if warning is not None:
        _warn(warning)


def _finish(command: Finish, output: Output, world: Surroundings) -> int:
    target, before = command.target, list[ModelRoutes]()

    def finished(found: ModelRoutes) -> ModelRoutes:
        before.append(found)
        return changes.finished(found, world.author())

    routes = _change(target, finished)
    state = before[-1].rollout
    if state is not None and command.models_config is not None:
        lost = state.previous if state.status is RolloutStatus.PROMOTED else state.candidate
        # Read after the change: what is unloaded must not be routed by then, of any model.
        table = read_routes(target.routes_file)
        unload(command.models_config, ModelRepository(target.repository), table, target.model, lost)
    say_status(target, routes, output.say)
    return _DONE


def _history(command: History, output: Output) -> int:
    for entry in read_routes(command.target.routes_file).of(command.target.model).history:
        document = {"at": entry.at, "by": entry.by, "what": entry.what, "why": entry.why}
        output.say(document, f"{entry.at}  {entry.what}: {entry.why} ({entry.by})")
    return _DONE


def _report(command: Report, output: Output, world: Surroundings) -> int:
    model = command.target.model
    state = read_routes(command.target.routes_file).of(model).rollout
    if state is None:
        raise RolloutRefused(f"there is no rollout of {model!r} to report on")
    # The whole rollout, not only its present stage: the shadow comes first. The gateways' own counters have no past;
    # all they have counted is the best that is known.
    since = datetime.fromisoformat(state.verification.at).timestamp() if command.data.prometheus else 0.0
    with _data_source(command.data, world) as source:
        seen = source.window(model, state.previous, state.candidate, since)
    document = view.report_document(model, seen.shadow)
    if not document["compared"]:
        text = "ALARM: no answer of a shadow was compared; is there traffic, and a shadow in routes.json?"
        return output.say({"event": "alarm", **document}, f"{view.report_text(document)}\n{text}", _INCONCLUSIVE)
    return output.say({"event": "report", **document}, view.report_text(document))


def _change(target: Target, change: Callable[[ModelRoutes], ModelRoutes]) -> ModelRoutes:
    return change_model(target.routes_file, target.model, change)


def _user() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        # A container may run as a user without a name.
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"


_DECISIONS: Mapping[str, Callable[[ModelRoutes, str, Author], ModelRoutes]] = {
    "pause": changes.paused,
    "promote": changes.promoted,
    "abort": changes.rolled_back,
}
