"""Which models were taken out of service on purpose: ``headway serve`` takes up every other model that it finds.

The decision belongs to the routes, so it is kept beside them: ``routes.json`` -> ``routes.removed.json``, a JSON list
of names.
"""

import json
from pathlib import Path

from headway_contract.durable_files import write_atomically
from headway_contract.regular_files import read_regular_file
from headway_serving.adapters.files.locks import locked
from headway_serving.adapters.files.values import InvalidRoutes


def removed_file(routes_file: Path) -> Path:
    """Where the names are."""
    return routes_file.with_name(f"{routes_file.stem}.removed.json")


def removed_models(routes_file: Path) -> frozenset[str]:
    """The names. Raises ``InvalidRoutes`` for a file that cannot be read."""
    path = removed_file(routes_file)
    try:
        names = json.loads(read_regular_file(path)) if path.exists() else []
    except (OSError, ValueError) as error:
        raise InvalidRoutes(f"{path} cannot be read: {error}; it is a JSON list of names of models") from error
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise InvalidRoutes(f"{path} is not a JSON list of names of models")
    return frozenset(names)


def remember_removed(routes_file: Path, model: str, *, removed: bool) -> None:
    """Remember that a model was removed, or that it is wanted again. Raises as :func:`removed_models`, and OSError."""
    path = removed_file(routes_file)
    with locked(path):
        before = removed_models(routes_file)
        after = before | {model} if removed else before - {model}
        if after != before:
            write_atomically(path, f"{json.dumps(sorted(after), ensure_ascii=False)}\n".encode())
