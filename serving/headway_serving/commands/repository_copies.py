"""``headway repository push|pull|sync``: versions from a folder to an object store, and back."""

import argparse
import json
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from urllib.parse import unquote, urlsplit

from headway_contract.errors import ContractError, RepositoryError
from headway_contract.model_name import is_model_name
from headway_contract.model_repository import ModelRepository, is_version
from headway_serving.adapters.files.routes import InvalidRoutes
from headway_serving.adapters.stores.errors import StoreUnavailable
from headway_serving.adapters.stores.folder import FolderStore
from headway_serving.operations import repository_care as care
from headway_serving.operations.models_config import ForeignConfiguration
from headway_serving.operations.repository_copy import Outcome, RepositoryCopy, Store, Version

VERBS = frozenset({"push", "pull", "sync"})

_DONE, _FAILED, _REFUSED = 0, 1, 2
_MEGABYTE = 1_000_000
_SHOWN_EVERY_SECONDS = 0.2


def add_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the three verbs to the parser of `headway repository`."""
    summaries = {
        "push": "copy versions from a folder to an object store",
        "pull": "copy versions from an object store or a web server to a folder",
        "sync": "copy what the destination lacks, from any place to any other, once or for ever",
    }
    for name, summary in summaries.items():
        added = verbs.add_parser(name, help=summary, description=summary)
        added.add_argument(
            "source", metavar="SOURCE", help="a folder, or a URL: s3://BUCKET/PATH, gs://, az://, https://"
        )
        added.add_argument("destination", metavar="DESTINATION", help="a folder, or a URL of an object store")
        added.add_argument(
            "--only", action="append", type=_wanted, default=[], metavar="MODEL[/VERSION]",
            help="copy only these, and the bases that they are run on; repeatable",
        )  # fmt: skip
        added.add_argument(
            "--skip-damaged", action="store_true", help="exit 0 although single versions were not copied"
        )
        added.add_argument("--json", action="store_true", help="write one JSON object for each look")
    _add_sync_arguments(verbs.choices["sync"])


def _add_sync_arguments(sync: argparse.ArgumentParser) -> None:
    sync.add_argument("--watch", type=_seconds, metavar="SECONDS", help="look again and again, so long after each look")
    sync.add_argument("--delete", action="store_true", help="delete at the destination what the source no longer has")
    sync.add_argument("--routes", type=Path, help="with --delete: what it names stays (default: in the destination)")
    sync.add_argument("--models-config", type=Path, help="with --delete: the same, of models.config")


def run(arguments: argparse.Namespace) -> int:
    """Run one of the verbs. Exit codes: 0 done, 1 some version was not copied, 2 refused."""
    try:
        source, destination = _store(arguments.source), _store(arguments.destination)
        _check_direction(arguments.verb, source, destination)
        copy = RepositoryCopy(source, destination, arguments.only)
        if arguments.verb == "sync" and arguments.watch is not None:
            _watch(arguments, copy)
        return _look(arguments, copy)
    except StoreUnavailable as error:
        sys.stderr.write(f"headway repository: {error}\n")
        return _REFUSED


def _store(place: str) -> Store:
    if "://" not in place:
        return FolderStore(Path(place))
    if place.startswith("file://"):
        return FolderStore(Path(unquote(urlsplit(place).path)))
    try:
        from headway_serving.adapters.stores.object_store import ObjectStore  # noqa: PLC0415  # an extra's package
    except ModuleNotFoundError as error:
        raise StoreUnavailable(
            f"{place} needs the Python module {error.name!r}; install it with: pip install 'headway[object-storage]'"
        ) from error
    return ObjectStore(place)


def _check_direction(verb: str, source: Store, destination: Store) -> None:
    folders = isinstance(source, FolderStore), isinstance(destination, FolderStore)
    if verb == "push" and folders != (True, False):
        raise RepositoryError("push takes a folder and then a URL; between two of a kind: headway repository sync")
    if verb == "pull" and folders != (False, True):
        raise RepositoryError("pull takes a URL and then a folder; between two of a kind: headway repository sync")
    if source.name == destination.name:
        raise RepositoryError(f"{source.name} is both source and destination")


def _look(arguments: argparse.Namespace, copy: RepositoryCopy) -> int:
    outcome = copy.run(_Progress(), _in_use(arguments, copy.destination))
    sys.stdout.write(f"{_document(outcome)}\n" if arguments.json else _text(outcome))
    sys.stdout.flush()
    return _FAILED if outcome.problems and not arguments.skip_damaged else _DONE


def _watch(arguments: argparse.Namespace, copy: RepositoryCopy) -> None:
    """Look until SIGTERM ends the process; a store that is away for a while is only told of."""
    # The first process of a container ignores a signal that it has no handler for.
    signal.signal(signal.SIGTERM, _end)
    before: Outcome | str | None = None
    while True:
        try:
            outcome = copy.run(_Progress(), _in_use(arguments, copy.destination))
            # What is as it was at the last look is not said again.
            if outcome != before:
                sys.stdout.write(f"{_document(outcome)}\n" if arguments.json else _text(outcome))
                sys.stdout.flush()
            before = outcome
        except (StoreUnavailable, ContractError, InvalidRoutes, ForeignConfiguration, OSError) as error:
            if str(error) != before:
                sys.stderr.write(f"headway repository: {error}; looking again every {arguments.watch:g} s\n")
            before = str(error)
        time.sleep(arguments.watch)


def _end(number: int, frame: FrameType | None) -> None:
    del number, frame
    sys.exit(_DONE)


def _in_use(arguments: argparse.Namespace, destination: Store) -> Mapping[Version, str] | None:
    """What must not be deleted, and why; None: nothing is deleted."""
    if arguments.verb != "sync" or not arguments.delete:
        return None
    root = Path(destination.name) if isinstance(destination, FolderStore) else None
    if root is None:
        return {}
    routes, config = arguments.routes or root / "routes.json", arguments.models_config or root / "models.config"
    return care.in_use(ModelRepository(root), routes, config)


class _Progress:
    """Rewrites one line on a terminal; elsewhere nothing, as the copied versions are listed afterwards."""

    def __init__(self) -> None:
        self._shown = 0.0

    def __call__(self, version: Version, files: int, size: int) -> None:
        now = time.monotonic()
        if sys.stderr.isatty() and now - self._shown > _SHOWN_EVERY_SECONDS:
            self._shown = now
            sys.stderr.write(f"\r\033[K{version[0]}/{version[1]}  {files} files, {size / _MEGABYTE:.1f} MB\r")
            sys.stderr.flush()


def _text(outcome: Outcome) -> str:
    lines = [
        f"copied  {_name(each)}  {done.files} files, {done.size / _MEGABYTE:.1f} MB, {done.seconds:.1f} s"
        for each, done in outcome.copied.items()
    ]
    lines += [f"deleted {_name(each)}" for each in outcome.deleted]
    lines += [f"keep    {_name(each)}  gone from the source, but {reason}" for each, reason in outcome.kept.items()]
    lines += [f"FAILED  {_name(each)}  {problem}" for each, problem in outcome.problems.items()]
    lines.append(f"{len(outcome.there)} were there already")
    return "\n".join(lines) + "\n"


def _document(outcome: Outcome) -> str:
    document = {
        "copied": {
            _name(each): {"files": done.files, "bytes": done.size, "seconds": round(done.seconds, 3)}
            for each, done in outcome.copied.items()
        },
        "there": [_name(each) for each in outcome.there],
        "deleted": [_name(each) for each in outcome.deleted],
        "kept": {_name(each): reason for each, reason in outcome.kept.items()},
        "problems": {_name(each): problem for each, problem in outcome.problems.items()},
    }
    return json.dumps(document, ensure_ascii=False)


def _name(each: Version) -> str:
    return f"{each[0]}/{each[1]}"


def _wanted(text: str) -> tuple[str, int | None]:
    model, slash, number = text.partition("/")
    if not is_model_name(model) or (slash and not is_version(number)):
        raise argparse.ArgumentTypeError(f"{text!r} is not MODEL or MODEL/VERSION, such as digits-0to4/2")
    return model, int(number) if slash else None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 1 to 86400")
    return seconds
