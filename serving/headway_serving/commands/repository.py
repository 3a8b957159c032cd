"""``headway repository``: checksums, copies, what may go, what must stay, and what changed between two versions."""

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from headway_contract.errors import ContractError
from headway_contract.model_repository import ModelRepository
from headway_contract.regular_files import followed
from headway_serving.adapters.files.documents import Place
from headway_serving.adapters.files.locks import locked
from headway_serving.adapters.files.routes import InvalidRoutes, routes_if_any
from headway_serving.commands import repository_copies
from headway_serving.commands.document_places import add_kubernetes, models_config_place, routes_place
from headway_serving.operations import repository_care as care
from headway_serving.operations.models_config import ForeignConfiguration

_DONE, _DAMAGED, _REFUSED = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb. Exit codes: 0 done, 1 something is damaged or gone, 2 refused."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.verb in repository_copies.VERBS:
            return repository_copies.run(arguments)
        return _VERBS[arguments.verb](arguments, ModelRepository(arguments.repository))
    except (ContractError, InvalidRoutes, ForeignConfiguration, ValueError, OSError) as error:
        sys.stderr.write(f"headway repository: {error}\n")
        return _REFUSED


def _verify(arguments: argparse.Namespace, repository: ModelRepository) -> int:
    every = [(model, version) for model in repository.models() for version in repository.versions(model)]
    chosen = [arguments.version] if arguments.version else every
    checks = [care.check(repository, model, version) for model, version in chosen]
    for each in checks:
        sys.stdout.write(f"{each.model}/{each.version}  {each.digest or f'DAMAGED: {each.problem}'}\n")
    for path in care.half_versions(repository):
        sys.stdout.write(f"{path}  left by a publishing that was interrupted or still runs; nothing loads it\n")
    routes = _routes(arguments, repository)
    gone = {} if arguments.version else care.routed_but_gone(repository, routes_if_any(routes))
    for (model, version), role in gone.items():
        sys.stdout.write(f"{model}/{version}  GONE: it is {role} in {routes}, but its directory is not there\n")
    return _DAMAGED if gone or any(each.problem for each in checks) else _DONE


def _prune(arguments: argparse.Namespace, repository: ModelRepository) -> int:
    routes, config = _routes(arguments, repository), _models_config(arguments, repository)
    with contextlib.ExitStack() as stack:
        if arguments.yes and isinstance(routes, Path) and routes.exists():
            # Nobody may give a version traffic between the look at the routes and its removal.
            stack.enter_context(locked(followed(routes)))
        going, staying = care.prunable(repository, routes, config, arguments.keep)
        for (model, version), reason in staying.items():
            sys.stdout.write(f"keep    {model}/{version}  {reason}\n")
        for model, version in going:
            if arguments.yes:
                if not isinstance(routes, Path) and (model, version) in care.in_use(repository, routes, config):
                    # A ConfigMap has no lock: it is asked again, just before.
                    sys.stdout.write(f"keep    {model}/{version}  taken into use meanwhile\n")
                    continue
                repository.remove(model, version)
            sys.stdout.write(f"{'removed' if arguments.yes else 'remove '} {model}/{version}\n")
    if going and not arguments.yes:
        sys.stdout.write("Nothing was removed; to remove: --yes\n")
    return _DONE


def _routes(arguments: argparse.Namespace, repository: ModelRepository) -> Place:
    if arguments.kubernetes is not None:
        return routes_place(arguments)
    return _named(arguments.routes, repository, "routes.json")


def _models_config(arguments: argparse.Namespace, repository: ModelRepository) -> Place:
    found = None if arguments.kubernetes is None else models_config_place(arguments)
    return found or _named(arguments.models_config, repository, "models.config")


def _named(path: Path | None, repository: ModelRepository, name: str) -> Path:
    """The file that was named, else the repository's own, which need not be there.

    Raises FileNotFoundError: what stands in a file that was named and is not there may be in use all the same.
    """
    if path is not None and not path.exists():
        raise FileNotFoundError(f"{path} is not there; name the file that the gateways and model servers read")
    return path or repository.root / name


def _pin(arguments: argparse.Namespace, repository: ModelRepository) -> int:
    model, version = arguments.version
    care.pin(repository, model, version, pinned=not arguments.remove)
    sys.stdout.write(f"{model}/{version} is {'no longer ' if arguments.remove else ''}pinned\n")
    return _DONE


def _diff(arguments: argparse.Namespace, repository: ModelRepository) -> int:
    before, after = (repository.manifest(*each) for each in (arguments.before, arguments.after))
    changed = care.difference(before, after)
    if arguments.json:
        sys.stdout.write(json.dumps({name: list(pair) for name, pair in changed.items()}, ensure_ascii=False) + "\n")
        return _DONE
    for name, (old, new) in changed.items():
        sys.stdout.write(f"{name}: {json.dumps(old, ensure_ascii=False)} -> {json.dumps(new, ensure_ascii=False)}\n")
    if not changed:
        sys.stdout.write("The manifests say the same.\n")
    return _DONE


def _parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="headway repository", description="Check, copy, clean and compare published versions."
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, summary: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=summary, description=summary)
        added.add_argument("--repository", type=Path, default=Path("models"), help="the models (default: models)")
        return added

    check = verb("verify", "compare versions with the checksums they were published with")
    check.add_argument("version", nargs="?", type=_version, metavar="MODEL/VERSION", help="default: every version")
    check.add_argument("--routes", type=Path, help="routes.json (default: in the repository)")
    add_kubernetes(check)
    prune = verb("prune", "remove versions that nothing uses")
    prune.add_argument(
        "--keep", type=_count, default=3, metavar="N", help="newest of each model that stay (default: 3)"
    )
    prune.add_argument("--yes", action="store_true", help="remove; without it only what would go is shown")
    prune.add_argument("--routes", type=Path, help="routes.json (default: in the repository)")
    add_kubernetes(prune)
    prune.add_argument("--models-config", type=Path, help="models.config (default: in the repository)")
    pin = verb("pin", "keep a version whatever happens")
    pin.add_argument("version", type=_version, metavar="MODEL/VERSION")
    pin.add_argument("--remove", action="store_true", help="no longer keep it")
    diff = verb("diff", "what two versions say of themselves differently")
    diff.add_argument("before", type=_version, metavar="MODEL/VERSION")
    diff.add_argument("after", type=_version, metavar="MODEL/VERSION")
    diff.add_argument("--json", action="store_true", help="write one JSON object")
    repository_copies.add_verbs(verbs)
    return top


def _version(text: str) -> tuple[str, int]:
    model, _, number = text.partition("/")
    if not (model and number.isascii() and number.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not MODEL/VERSION, such as digits-0to4/2")
    return model, int(number)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)


_VERBS: Mapping[str, Callable[[argparse.Namespace, ModelRepository], int]] = {
    "verify": _verify,
    "prune": _prune,
    "pin": _pin,
    "diff": _diff,
}
