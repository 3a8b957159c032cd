"""The command line of ``headway rollout``: each verb is a value, made at once."""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headway_serving.adapters.files.documents import Place
from headway_serving.commands.document_places import add_kubernetes, models_config_place, routes_place
from headway_serving.commands.rollout_policy import add_policy, policy_of
from headway_serving.core.rollout_state import RolloutPolicy
from headway_serving.operations.availability import Asked
from headway_serving.operations.notification import check_target
from headway_serving.operations.verification import TOLERANCE, AcceptedChanges

EPILOG = (
    "Exit codes: 0 done or promoted, 1 a routed version is gone (status), 2 refused, 3 rolled back, 4 inconclusive, "
    "130 interrupted (resume continues)."
)

GATEWAY, MODEL_SERVER = "http://127.0.0.1:8080", "127.0.0.1:8500"


@dataclass(frozen=True)
class Target:
    """The model whose rollout is meant, and where its files are; ``as_json``: write one object a line."""

    model: str
    repository: Path
    routes_file: Place
    as_json: bool


@dataclass(frozen=True)
class DataSource:
    """Where data comes from: a Prometheus, or the gateways whose ``/metrics`` are at ``metrics``."""

    prometheus: str | None
    metrics: tuple[str, ...]


@dataclass(frozen=True)
class Gate:
    """What a version is checked by. ``version``: None for the newest; ``tolerance``: of a golden score.

    None: what the version's manifest says for the precisions that it may run in.
    """

    version: int | None
    gateways: tuple[str, ...]
    model_servers: tuple[str, ...]
    tolerance: float | None
    accepted: AcceptedChanges


@dataclass(frozen=True)
class Start:
    """Load, verify, then shift step by step. ``models_config``: None if versions are loaded by other means.

    ``shadow_auto``: the policy's share is not a person's, but follows from the traffic. ``disagreement_auto``: what is
    tolerated follows from the test pictures. ``notify``: URLs and commands that are told how it ends.
    """

    target: Target
    gate: Gate
    policy: RolloutPolicy
    data: DataSource
    models_config: Place | None
    load_seconds: float
    resume: bool
    shadow_auto: bool = False
    disagreement_auto: bool = False
    notify: tuple[str, ...] = ()


@dataclass(frozen=True)
class Resume:
    """Continue a rollout that was paused, held or interrupted. ``notify``: as in :class:`Start`."""

    target: Target
    data: DataSource
    notify: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verify:
    """The checks of :class:`Start` alone."""

    target: Target
    gate: Gate


@dataclass(frozen=True)
class Status:
    """Where a rollout stands; ``watch``: until it is over."""

    target: Target
    watch: bool


@dataclass(frozen=True)
class Decide:
    """A person's decision, ``pause``, ``promote`` or ``abort``, and why.

    ``asked``: whether the version that gets the traffic can answer; None: nobody, whether it can or not.
    """

    target: Target
    verb: str
    why: str
    asked: Asked | None = None


@dataclass(frozen=True)
class Finish:
    """End a rollout that is over, and unload the version that lost."""

    target: Target
    models_config: Place | None


@dataclass(frozen=True)
class History:
    """What was changed, when, by whom and why."""

    target: Target


@dataclass(frozen=True)
class Report:
    """How the shadow's answers compare."""

    target: Target
    data: DataSource


Command = Start | Resume | Verify | Status | Decide | Finish | History | Report


class InvalidCommand(Exception):
    """The arguments contradict each other; ``as_json``: how that is to be written."""

    def __init__(self, text: str, *, as_json: bool) -> None:
        super().__init__(text)
        self.as_json = as_json


def parse(argv: Sequence[str] | None) -> Command:
    """The command that the arguments name. Exits with 2 and a message if they name none.

    Raises :class:`InvalidCommand` for a policy that makes no sense.
    """
    arguments = parser().parse_args(argv)
    try:
        target = Target(arguments.model, arguments.repository, routes_place(arguments), arguments.json)
        return _COMMANDS[arguments.verb](target, arguments)
    except (ValueError, OSError) as error:
        raise InvalidCommand(str(error), as_json=arguments.json) from error


def _start(target: Target, arguments: argparse.Namespace) -> Start:
    return Start(
        target,
        _gate(arguments),
        policy_of(arguments),
        _data(arguments),
        models_config_place(arguments),
        arguments.load_timeout,
        arguments.resume,
        shadow_auto=arguments.shadow is None,
        disagreement_auto=arguments.max_disagreement is None and arguments.max_class_disagreement is None,
        notify=tuple(arguments.notify or ()),
    )


def _decide(target: Target, arguments: argparse.Namespace) -> Decide:
    asked = None
    if arguments.verb != "pause" and not arguments.force:
        servers = arguments.model_server or [MODEL_SERVER]
        asked = Asked(
            tuple(arguments.gateway or [default_gateway()]),
            tuple(servers),
            model_servers_named=bool(arguments.model_server),
        )
    return Decide(target, arguments.verb, arguments.why or "by hand", asked)


_COMMANDS: Mapping[str, Callable[[Target, argparse.Namespace], Command]] = {
    "start": _start,
    "resume": lambda target, arguments: Resume(target, _data(arguments), tuple(arguments.notify or ())),
    "verify": lambda target, arguments: Verify(target, _gate(arguments)),
    "status": lambda target, arguments: Status(target, arguments.watch),
    "pause": _decide,
    "promote": _decide,
    "abort": _decide,
    "finish": lambda target, arguments: Finish(target, models_config_place(arguments)),
    "history": lambda target, _: History(target),
    "report": lambda target, arguments: Report(target, _data(arguments)),
}


def _gate(arguments: argparse.Namespace) -> Gate:
    return Gate(
        arguments.version,
        tuple(arguments.gateway or [default_gateway()]),
        tuple(arguments.model_server or [MODEL_SERVER]),
        arguments.tolerance,
        AcceptedChanges(
            arguments.accept_label_change, arguments.accept_geometry_change, arguments.accept_lower_accuracy
        ),
    )


def default_gateway() -> str:
    """The gateway that every verb asks which is given none: ``HEADWAY_URL``, else that of this machine."""
    return os.environ.get("HEADWAY_URL") or GATEWAY


def _data(arguments: argparse.Namespace) -> DataSource:
    return DataSource(arguments.prometheus, tuple(arguments.metrics or arguments.gateway or [default_gateway()]))


def parser() -> argparse.ArgumentParser:
    """The parser of all verbs; ``verb`` says which was chosen."""
    top = argparse.ArgumentParser(
        prog="headway rollout", epilog=EPILOG, description="Give a new version traffic step by step, and take it back."
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, summary: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=summary, description=summary, epilog=EPILOG)
        added.add_argument("model", metavar="MODEL", help="the model's name")
        added.add_argument("--repository", type=Path, default=Path("models"), help="the models (default: models)")
        added.add_argument("--routes", type=Path, help="routes.json (default: in the repository)")
        add_kubernetes(added)
        added.add_argument("--json", action="store_true", help="write JSON, one object a line")
        return added

    start = verb("start", "load and verify a version, then shift traffic to it step by step")
    _add_version(start)
    _add_processes(start)
    _add_gate(start)
    add_policy(start)
    _add_data(start)
    _add_notify(start)
    start.add_argument("--resume", action="store_true", help="continue a rollout of this version if there is one")
    resume = verb("resume", "continue a rollout that was paused, held or interrupted")
    _add_gateways(resume)
    _add_data(resume)
    _add_notify(resume)
    check = verb("verify", "run the checks of start on a version that is loaded; changes nothing")
    _add_version(check)
    _add_gateways(check)
    _add_model_servers(check)
    _add_gate(check)
    status = verb("status", "where a rollout stands")
    status.add_argument("--watch", action="store_true", help="show it live until it is over")
    for name, summary in (
        ("pause", "leave traffic as it is until resume"),
        ("promote", "make the candidate stable now, whatever the data says"),
        ("abort", "give all traffic back to the version before, now"),
    ):
        decision = verb(name, summary)
        decision.add_argument("--why", default="", help="a reason for the history")
        if name != "pause":
            _add_gateways(decision)
            _add_model_servers(decision)
            decision.add_argument("--force", action="store_true", help="even if the version that gets traffic is gone")
    finish = verb("finish", "end a rollout that is over: the version that lost need not stay loaded")
    finish.add_argument("--models-config", help="models.config (default: in the repository), or none")
    verb("history", "what was changed, when, by whom and why")
    report = verb("report", "how the shadow's answers compare, and which classes differ")
    _add_gateways(report)
    _add_data(report)
    return top


def _add_version(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--version", type=int, metavar="N", help="the version (default: the newest)")


def _add_processes(verb: argparse.ArgumentParser) -> None:
    _add_gateways(verb)
    _add_model_servers(verb)
    verb.add_argument("--models-config", help="models.config (default: in the repository); none: loaded by other means")
    verb.add_argument("--load-timeout", type=float, default=120.0, metavar="SECONDS", help="for loading (default: 120)")


def _add_gateways(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--gateway", action="append", metavar="URL",
        help="a gateway, repeatable; dns+http://NAME:PORT is all behind a name "
        f"(default: HEADWAY_URL, else {GATEWAY})",
    )  # fmt: skip


def _add_model_servers(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--model-server", action="append", metavar="HOST:PORT",
        help="a model server's gRPC port, repeatable; dns:///NAME:PORT is all (default: 127.0.0.1:8500)",
    )  # fmt: skip


def _add_gate(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--tolerance", type=float, metavar="X",
        help=f"largest difference of a golden score (default: {TOLERANCE:g}, or what the manifest says of bfloat16)",
    )  # fmt: skip
    verb.add_argument("--accept-label-change", action="store_true", help="labels may differ from stable's")
    verb.add_argument("--accept-geometry-change", action="store_true", help="picture geometry may differ from stable's")
    verb.add_argument(
        "--accept-lower-accuracy", action="store_true", help="the version may be provably less accurate than stable"
    )


def _add_data(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--prometheus", metavar="URL", help="take data from this Prometheus, not from the gateways")
    verb.add_argument(
        "--metrics", action="append", metavar="URL",
        help="where gateways show /metrics if not at --gateway, repeatable; dns+http as there",
    )  # fmt: skip


def _told(text: str) -> str:
    try:
        return check_target(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _add_notify(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--notify", action="append", metavar="URL|COMMAND", type=_told,
        help="told as JSON when the rollout is promoted, rolled back or held, or nobody controls it any more (POST, or "
        "on its input; without a shell); repeatable",
    )  # fmt: skip
