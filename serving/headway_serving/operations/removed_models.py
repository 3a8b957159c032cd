"""Which models were taken out of service on purpose: ``headway serve`` takes up every other model that it finds.

The decision belongs to the routes, so it is kept beside them: ``routes.json`` -> ``routes.removed.json``, a JSON list
of names.
"""

import json
from pathlib import Path

from headway_serving.adapters.files.documents import Place, document_at
from headway_serving.adapters.files.values import InvalidRoutes
from headway_serving.core.documents import Document, Unreadable


def removed_file(routes_file: Path) -> Path:
    """Where the names are."""
    return routes_file.with_name(f"{routes_file.stem}.removed.json")


def removed_models(routes: Place) -> frozenset[str]:
    """The names. Raises ``InvalidRoutes`` for a file that cannot be read, and OSError."""
    document = _document(routes)
    try:
        return _parsed(document, document.read())
    except Unreadable as error:
        raise _refusal(document, error.why) from error


def remember_removed(routes: Place, model: str, *, removed: bool) -> None:
    """Remember that a model was removed, or that it is wanted again. Raises as :func:`removed_models`."""
    document = _document(routes)

    def changed(content: bytes | None) -> bytes | None:
        before = _parsed(document, content)
        after = before | {model} if removed else before - {model}
        return None if after == before else f"{json.dumps(sorted(after), ensure_ascii=False)}\n".encode()

    try:
        document.change(changed)
    except Unreadable as error:
        raise _refusal(document, error.why) from error


def _document(routes: Place) -> Document:
    return document_at(routes).beside("removed")


def _parsed(document: Document, content: bytes | None) -> frozenset[str]:
    try:
        names = [] if content is None else json.loads(content)
    except ValueError as error:
        raise _refusal(document, str(error)) from error
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise InvalidRoutes(f"{document} is not a JSON list of names of models")
    return frozenset(names)


def _refusal(document: Document, why: str) -> InvalidRoutes:
    return InvalidRoutes(f"{document} cannot be read: {why}; it is a JSON list of names of models")
