"""``headway models add`` and ``headway models remove``: what is served, changed while it is."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from headway_contract.errors import ContractError
from headway_contract.model_repository import ModelRepository
from headway_serving.adapters.files.routes import InvalidRoutes
from headway_serving.commands.document_places import add_kubernetes, models_config_place, routes_place
from headway_serving.commands.rollout import Surroundings
from headway_serving.commands.rollout_arguments import GATEWAY, MODEL_SERVER, default_gateway
from headway_serving.commands.rollout_gate import http_client
from headway_serving.core.errors import ServingError
from headway_serving.core.rollout.changes import RolloutRefused
from headway_serving.operations.model_changes import ChangeRefused, NotFollowed, ServedBy, add, remove
from headway_serving.operations.models_config import ForeignConfiguration
from headway_serving.operations.reachability import Unreachable
from headway_serving.operations.verification import VerificationFailed
from headway_serving.operations.version_loading import NotLoaded

_DONE, _REFUSED = 0, 2
_REFUSALS = (
    ChangeRefused, NotFollowed, NotLoaded, Unreachable, VerificationFailed, RolloutRefused, ForeignConfiguration,
    InvalidRoutes, ServingError, ContractError, OSError,
)  # fmt: skip


def main(verb: str, argv: Sequence[str]) -> int:
    """Run ``add`` or ``remove`` for each model that is named. Exit codes: 0 all done, 2 one was refused."""
    arguments = _parser(verb).parse_args(argv)
    try:
        pair, code = _pair(arguments), _DONE
    except (ValueError, OSError) as error:
        sys.stderr.write(f"headway models {verb}: {error}\n")
        return _REFUSED
    with http_client() as http:
        for model, version in arguments.models:
            try:
                if verb == "add":
                    done = add(pair, model, version, Surroundings().author(), http)
                else:
                    done = remove(pair, model, version, http)
            except _REFUSALS as error:
                away = "; --offline changes the files alone" if isinstance(error, Unreachable) else ""
                sys.stderr.write(f"headway models {verb}: {error}{away}\n")
                code = _REFUSED
            else:
                sys.stdout.write(f"{done}\n")
                sys.stdout.flush()
    return code


def _pair(arguments: argparse.Namespace) -> ServedBy:
    repository: Path = arguments.repository
    offline: bool = arguments.offline
    return ServedBy(
        repository=ModelRepository(repository),
        routes_file=routes_place(arguments),
        models_config=models_config_place(arguments),
        gateways=() if offline else tuple(arguments.gateway or [default_gateway()]),
        model_servers=() if offline else tuple(arguments.model_server or [MODEL_SERVER]),
        load_seconds=arguments.load_timeout,
    )


def _parser(verb: str) -> argparse.ArgumentParser:
    about = {
        "add": "Serve a model that gets no traffic yet (its newest version, or that named), or load one more version.",
        "remove": "Take a model, or a version that gets no traffic, out of service. Its files stay.",
    }
    parser = argparse.ArgumentParser(prog=f"headway models {verb}", description=about[verb])
    parser.add_argument("models", nargs="+", type=_named, metavar="NAME[/VERSION]", help="may be several")
    parser.add_argument("--repository", type=Path, default=Path("models"), help="the models (default: models)")
    parser.add_argument("--routes", type=Path, help="routes.json (default: in the repository)")
    add_kubernetes(parser)
    parser.add_argument(
        "--models-config", help="models.config (default: in the repository); none: versions are loaded by other means"
    )
    parser.add_argument(
        "--gateway", "--url", action="append", metavar="URL",
        help=f"a gateway, repeatable; dns+http://NAME:PORT is all behind a name (default: HEADWAY_URL, else {GATEWAY})",
    )  # fmt: skip
    parser.add_argument(
        "--model-server", action="append", metavar="HOST:PORT",
        help=f"a model server's gRPC port, repeatable; dns:///NAME:PORT is all (default: {MODEL_SERVER})",
    )  # fmt: skip
    parser.add_argument(
        "--load-timeout", type=float, default=120.0, metavar="SECONDS", help="for loading (default: 120)"
    )
    parser.add_argument("--offline", action="store_true", help="change the files only: nothing runs that must follow")
    return parser


def _named(text: str) -> tuple[str, int | None]:
    model, slash, number = text.partition("/")
    if not model or (slash and not (number.isascii() and number.isdecimal())):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME or NAME/VERSION, such as digits-0to4 or digits-0to4/2")
    return model, int(number) if slash else None
