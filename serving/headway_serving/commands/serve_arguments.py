"""The command line of ``headway serve``: what is to run, with every default filled in, and refused what cannot."""

import argparse
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headway_contract.model_repository import ModelRepository
from headway_contract.regular_files import followed

TFSERVING = "tensorflow_model_server"
EXTERNAL_TARGET = re.compile(r"(dns:///)?[^/\s]+:\d{1,5}")


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

    @property
    def starts_model_server(self) -> bool:
        """Whether the model server is a child of ours; else it runs already."""
        return EXTERNAL_TARGET.fullmatch(self.model_server) is None

    @property
    def target(self) -> str:
        """Where the model server is asked, by gRPC."""
        return f"127.0.0.1:{self.grpc_port}" if self.starts_model_server else self.model_server


def parse(argv: Sequence[str] | None) -> Plan:
    """The plan that the arguments describe. Raises :class:`CannotServe` for a repository without models."""
    return _plan(_parser().parse_args(argv))


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
        help=f"auto: {TFSERVING} if it is on PATH, else embedded; PATH: that binary; HOST:PORT: one that runs already",
    )
    parser.add_argument(
        "--mixed-precision",
        choices=("auto", "off", "bfloat16"),
        default="auto",
        help="auto: bfloat16 where the processor has it and the version was measured to bear it; bfloat16: for all",
    )
    return parser


def _plan(arguments: argparse.Namespace) -> Plan:
    root = followed(arguments.repository)
    repository = ModelRepository(root)
    if not repository.models():
        raise CannotServe(
            f"repository {root} holds no model; train one first: headway train digits-5to9 --repository {root}"
        )
    return Plan(
        repository=repository,
        routes=followed(arguments.routes or root / "routes.json"),
        models_config=followed(arguments.models_config or root / "models.config"),
        host=arguments.host,
        port=arguments.port,
        grpc_port=arguments.grpc_port,
        rest_port=_rest_port(arguments),
        model_server=arguments.model_server,
        mixed_precision=arguments.mixed_precision,
    )


def check_ports(plan: Plan) -> None:
    """Refuse a port that is taken before anything is started: what a child says of it is harder to find and to read."""
    wanted = [("--port", plan.host, plan.port)]
    if plan.starts_model_server:
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


def _rest_port(arguments: argparse.Namespace) -> int | None:
    """The model server's REST port; None if it runs already and nobody said which: ``HEADWAY_*`` may."""
    if arguments.rest_port is not None or EXTERNAL_TARGET.fullmatch(arguments.model_server):
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
