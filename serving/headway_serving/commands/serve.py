"""``headway serve``: a model server and the gateway on one machine, started, watched and stopped together.

The model server is the real ``tensorflow_model_server`` where there is one, else the embedded one; flags and files are
the same. A child that dies is started again; the other serves meanwhile.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headway_contract.errors import ContractError
from headway_contract.model_manifest import BFLOAT16
from headway_contract.model_repository import ModelRepository
from headway_contract.processor import bfloat16_obstacle_here
from headway_serving.adapters.files.routes import InvalidRoutes, read_routes, write_routes
from headway_serving.core.routing import ModelRoutes, RouteTable
from headway_serving.operations.managed_process import ManagedProcess
from headway_serving.operations.models_config import write_models_config

_EMBEDDED = "headway_serving.modelserver"
_EMBEDDED_FLAGS = (
    "--isolate_models=true",  # one broken model must not keep a laptop's others from being served
    "--bind_address=127.0.0.1",  # only the gateway on this machine asks it
)
_FEW_CPUS = 2
"""On so few, requests beside each other keep them busy, and dividing one run's operations only costs: see docs."""
_TFSERVING = "tensorflow_model_server"
_MOST_SOCKET_BYTES = 100
"""A Unix socket's path may not be longer on any system; without the socket gRPC is used."""

_READY_POLL_SECONDS = 0.2
_WATCH_SECONDS = 0.2
_GATEWAY_GRACE_SECONDS = 30.0
_MODEL_SERVER_GRACE_SECONDS = 15.0
_EXTERNAL_TARGET = re.compile(r"(dns:///)?[^/\s]+:\d{1,5}")


class CannotServe(Exception):
    """What was asked for cannot be served; the text says why and what to do."""


@dataclass(frozen=True)
class Plan:
    """What ``headway serve`` was asked to run, with every default filled in."""

    repository: ModelRepository
    routes: Path
    models_config: Path
    host: str
    port: int
    grpc_port: int
    rest_port: int | None
    model_server: str
    mixed_precision: str

    @property
    def url(self) -> str:
        """Where the gateway is reached from this machine."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host  # noqa: S104  # compared, not bound
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. Exit codes: 0 stopped, 1 a child failed at start, 2 refused."""
    try:
        plan = _plan(_parser().parse_args(argv))
        _write_missing_files(plan)
        model_server, target = _model_server_command(plan)
        _check_ports(plan, starts_model_server=model_server is not None)
    except (CannotServe, ContractError, InvalidRoutes, OSError) as error:
        sys.stderr.write(f"headway serve: {error}\n")
        return 2
    with tempfile.TemporaryDirectory(prefix="headway-") as folder:
        environment = dict(_gateway_environment(plan, target))
        path = Path(folder) / "model-server.sock"
        if model_server is not None and _EMBEDDED in model_server and len(os.fsencode(path)) <= _MOST_SOCKET_BYTES:
            model_server = [*model_server, f"--local_socket_path={path}"]
            environment["HEADWAY_MODEL_SERVER_SOCKET"] = str(path)
        children = [ManagedProcess("gateway", _gateway_command(), environment)]
        if model_server is not None:
            children.insert(0, ManagedProcess("model server", model_server, dict(os.environ)))
        return _run(plan, children)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="headway serve", description="Host a model repository behind the gateway on this machine."
    )
    parser.add_argument("--repository", type=Path, default=Path("models"), help="the models (default: models)")
    parser.add_argument("--routes", type=Path, help="routes.json (default: in the repository; written if absent)")
    parser.add_argument(
        "--models-config", type=Path, help="models.config (default: in the repository; written if absent)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address the gateway listens on (default: 127.0.0.1)")
    parser.add_argument("--port", type=_port, default=8080, help="port of the gateway (default: 8080)")
    parser.add_argument("--grpc-port", type=_port, default=8500, help="port of the model server (default: 8500)")
    parser.add_argument(
        "--rest-port",
        type=_port_or_none,
        help="REST port of the model server, to which :predict is passed on; 0 for none (default: one that is free)",
    )
    parser.add_argument(
        "--model-server",
        default="auto",
        metavar="auto|embedded|PATH|HOST:PORT",
        help=f"auto: {_TFSERVING} if it is on PATH, else embedded; PATH: that binary; HOST:PORT: one that runs already",
    )
    parser.add_argument(
        "--mixed-precision",
        choices=("auto", "off", "bfloat16"),
        default="auto",
        help="auto: bfloat16 where the processor has it and the version was measured to bear it; bfloat16: for all",
    )
    return parser


def _plan(arguments: argparse.Namespace) -> Plan:
    root = arguments.repository.resolve()
    repository = ModelRepository(root)
    if not repository.models():
        raise CannotServe(
            f"repository {root} holds no model; train one first: headway train digits-5to9 --repository {root}"
        )
    return Plan(
        repository=repository,
        routes=(arguments.routes or root / "routes.json").resolve(),
        models_config=(arguments.models_config or root / "models.config").resolve(),
        host=arguments.host,
        port=arguments.port,
        grpc_port=arguments.grpc_port,
        rest_port=_rest_port(arguments),
        model_server=arguments.model_server,
        mixed_precision=arguments.mixed_precision,
    )


def _write_missing_files(plan: Plan) -> None:
    """Newest version of each model is stable, and what is routed is loaded; files that are there stay as they are."""
    newest = _newest_routable(plan.repository)
    if not newest and not plan.routes.exists():
        raise CannotServe(
            f"repository {plan.repository.root} holds only backbones, which have no classes; train a head: "
            f"headway train --images DIR --name NAME --repository {plan.repository.root}"
        )
    if not plan.routes.exists():
        plan.routes.parent.mkdir(parents=True, exist_ok=True)
        write_routes(plan.routes, RouteTable(newest))
    table = read_routes(plan.routes)
    if not plan.models_config.exists():
        plan.models_config.parent.mkdir(parents=True, exist_ok=True)
        write_models_config(plan.models_config, plan.repository, table)
    unrouted = sorted(set(newest) - set(table.models))
    if unrouted:
        sys.stderr.write(
            f"headway serve: {', '.join(unrouted)} in {plan.repository.root} gets no traffic: "
            f"not named in {plan.routes}\n"
        )


def _newest_routable(repository: ModelRepository) -> dict[str, ModelRoutes]:
    """The newest version of each model that names classes; backbones only serve the heads that stand on them."""
    routes = {}
    for name in repository.models():
        version = next(
            (each for each in reversed(repository.versions(name)) if _has_classes(repository, name, each)), None
        )
        if version is not None:
            routes[name] = ModelRoutes(version)
    return routes


def _has_classes(repository: ModelRepository, model: str, version: int) -> bool:
    try:
        return repository.manifest(model, version).form != "features"
    except ContractError:
        # The gateway says what is wrong with it, under its name, when it is asked for.
        return True


def _model_server_command(plan: Plan) -> tuple[list[str] | None, str]:
    """The command that starts the model server (None if it runs already) and the gRPC target to reach it."""
    choice, target = plan.model_server, f"127.0.0.1:{plan.grpc_port}"
    if _EXTERNAL_TARGET.fullmatch(choice):
        if plan.mixed_precision == BFLOAT16:
            raise CannotServe(
                f"--mixed-precision: the model server at {choice} runs already; start that one with "
                f"--mixed_precision={plan.mixed_precision}"
            )
        return None, choice
    if choice == "auto":
        choice = shutil.which(_TFSERVING) or "embedded"
    if choice == "embedded":
        binary = [sys.executable, "-m", _EMBEDDED, *_EMBEDDED_FLAGS]
        binary.append(f"--mixed_precision={plan.mixed_precision}")
        if (os.cpu_count() or 1) <= _FEW_CPUS:
            binary.append("--tensorflow_intra_op_parallelism=1")
    elif shutil.which(choice):
        binary = [choice, *_tfserving_precision(plan)]
    else:
        raise CannotServe(
            f"--model-server {choice}: neither auto, embedded, HOST:PORT nor a program that can be run; "
            f"give the path of {_TFSERVING}"
        )
    flags = [
        f"--port={plan.grpc_port}",
        f"--rest_api_port={plan.rest_port or 0}",
        f"--model_config_file={plan.models_config}",
        "--model_config_file_poll_wait_seconds=1",
        "--file_system_poll_wait_seconds=1",
    ]
    return [*binary, *flags], target


def _tfserving_precision(plan: Plan) -> list[str]:
    """The flag of TensorFlow Serving, which is for all models, if it is asked for; else say whether all may."""
    if plan.mixed_precision == BFLOAT16:
        return [f"--mixed_precision={BFLOAT16}"]
    if plan.mixed_precision == "auto" and bfloat16_obstacle_here() is None:
        others = _not_for_bfloat16(plan)
        sys.stderr.write(
            f"headway serve: not every version may be computed in {BFLOAT16}, so none is: {', '.join(others)}\n"
            if others
            else f"headway serve: every version may be computed in {BFLOAT16}; --mixed-precision {BFLOAT16} does it\n"
        )
    return []


def _not_for_bfloat16(plan: Plan) -> list[str]:
    """The routed versions that were not measured to bear it."""
    found = []
    for name, routes in sorted(read_routes(plan.routes).models.items()):
        for version in routes.versions():
            try:
                measured = plan.repository.manifest(name, version).precision(BFLOAT16)
            except ContractError:
                measured = None
            if measured is None or not measured.allowed:
                found.append(f"{name}/{version}")
    return found


def _gateway_command() -> list[str]:
    return [sys.executable, "-m", "headway_serving.gateway"]


def _gateway_environment(plan: Plan, target: str) -> Mapping[str, str]:
    host = target.removeprefix("dns:///").rpartition(":")[0]
    rest = {"HEADWAY_MODEL_SERVER_REST": f"http://{host}:{plan.rest_port}"} if plan.rest_port else {}
    return (
        os.environ
        | rest
        | {
            "HEADWAY_HOST": plan.host,
            "HEADWAY_PORT": str(plan.port),
            "HEADWAY_MODEL_SERVER": target,
            "HEADWAY_ROUTES_FILE": str(plan.routes),
        }
    )


def _check_ports(plan: Plan, *, starts_model_server: bool) -> None:
    """Refuse a port that is taken before anything is started: what a child says of it is harder to find and to read."""
    wanted = [("--port", plan.host, plan.port)]
    if starts_model_server:
        wanted.append(("--grpc-port", "0.0.0.0", plan.grpc_port))  # noqa: S104  # where TF Serving itself binds
        if plan.rest_port:
            wanted.append(("--rest-port", "0.0.0.0", plan.rest_port))  # noqa: S104
    for flag, host, port in wanted:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As the servers do: a port in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise CannotServe(f"{host}:{port} cannot be used ({error.strerror}); choose another {flag}") from error


def _run(plan: Plan, children: Sequence[ManagedProcess]) -> int:
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    exit_code = 0
    try:
        for child in children:
            child.start()
        if _wait_until_ready(plan, children, stopping):
            _announce(plan)
            while not stopping.wait(_WATCH_SECONDS):
                for child in children:
                    child.revive()
        elif not stopping.is_set():
            exit_code = 1
    finally:
        # The gateway first: its requests in flight still need the model server.
        for child in reversed(children):
            child.stop(_GATEWAY_GRACE_SECONDS if child.name == "gateway" else _MODEL_SERVER_GRACE_SECONDS)
    return exit_code


def _wait_until_ready(plan: Plan, children: Sequence[ManagedProcess], stopping: threading.Event) -> bool:
    """Wait for ``/readyz``. False when asked to stop, or when a child ended before: it would only end again."""
    shown, changed_at = "", time.monotonic()
    while not stopping.wait(_READY_POLL_SECONDS):
        for child in children:
            code = child.exit_code()
            if code is not None:
                sys.stderr.write(f"headway serve: the {child.name} ended at start with exit code {code}; see above\n")
                return False
        obstacle = _obstacle(plan.url)
        if obstacle is None:
            return True
        if obstacle != shown and time.monotonic() - changed_at > 5:
            sys.stderr.write(f"headway serve: waiting: {obstacle}\n")
            shown, changed_at = obstacle, time.monotonic()
    return False


def _obstacle(url: str) -> str | None:
    """Why the gateway is not ready, or None if it is."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2):  # noqa: S310  # our own http URL
            return None
    except urllib.error.HTTPError as error:
        try:
            return str(json.load(error)["detail"])
        except (ValueError, KeyError):
            return f"the gateway answers {error.code}"
    except OSError:
        return "the gateway is starting"


def _announce(plan: Plan) -> None:
    table = read_routes(plan.routes)
    lines = [f"Serving {plan.url}  (Ctrl-C stops)"]
    lines += [f"  {name}: version {routes.stable} is stable" for name, routes in sorted(table.models.items())]
    if table.models:
        lines.append(f"  try: headway classify PICTURE --model {min(table.models)} --url {plan.url}")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _rest_port(arguments: argparse.Namespace) -> int | None:
    """The model server's REST port; None if it runs already and nobody said which: ``HEADWAY_*`` may."""
    if arguments.rest_port is not None or _EXTERNAL_TARGET.fullmatch(arguments.model_server):
        given: int | None = arguments.rest_port
        return given
    # Nobody needs to know this port, so two servers on one machine need no options to get along.
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))  # noqa: S104  # where the model server binds
        return int(probe.getsockname()[1])


def _port_or_none(text: str) -> int:
    return 0 if text == "0" else _port(text)


def _port(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 65535:
        raise argparse.ArgumentTypeError("must be 1 to 65535")
    return value


if __name__ == "__main__":
    sys.exit(main())
