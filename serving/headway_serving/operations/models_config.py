"""``models.config``: what the model server loads, in TensorFlow Serving's own text format.

A file that is begun here bears :data:`MARK`, a comment to TensorFlow Serving, and is kept whole: a repository that has
moved gets its new paths. In a file without it versions are added and taken away, and the rest is somebody's decision.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from headway_contract.durable_files import write_atomically
from headway_contract.errors import ContractError
from headway_contract.model_manifest import BaseReference
from headway_contract.model_repository import ModelRepository
from headway_serving.adapters.files.documents import FileDocument, Place, document_at
from headway_serving.core.documents import Document, Unreadable
from headway_serving.core.routing import ModelRoutes, RouteTable

Loaded = Mapping[str, tuple[str, tuple[int, ...]]]
"""By model: its base path as it is written in the file, and the versions that are loaded."""

_ENTRY = re.compile(
    r'\s*config\s*{\s*name:\s*"([^"\\]+)"\s*base_path:\s*"((?:[^"\\]|\\.)*)"\s*model_platform:\s*"tensorflow"'
    r"\s*model_version_policy\s*{\s*specific\s*{\s*((?:versions:\s*\d+\s*)+)}\s*}\s*}\s*"
)


MARK = "# Written by headway, which keeps names, paths and versions; without this line the paths stay as they are.\n"


class ForeignConfiguration(Exception):
    """The file says more than this module writes; the text says what to do."""


def format_models_config(repository: ModelRepository, table: RouteTable) -> str:
    """A ``ModelServerConfig`` that loads what the table can send traffic to and the bases it needs, and nothing else.

    The policy is ``specific``: TensorFlow Serving's default, the newest version, would drop a stable version as soon
    as another is published. Raises ``ModelMissing`` or ``VersionMissing`` for a routed version, or a base of one, that
    is not there.
    """
    return _format(_located(repository, _needed(repository, table)), marked=True)


def write_models_config(path: Path, repository: ModelRepository, table: RouteTable) -> None:
    """Replace the file atomically: a model server that polls it reads the old configuration or the new one."""
    write_atomically(path, format_models_config(repository, table).encode("utf-8"))


def load_also(place: Place, repository: ModelRepository, model: str, version: int) -> None:
    """Add a version, and the base that it needs, to what the file loads; everything else stays.

    Raises :class:`ForeignConfiguration` if the file holds what would be lost, ``ModelMissing`` or ``VersionMissing``,
    and OSError.
    """
    added = _located(repository, _needed(repository, RouteTable({model: ModelRoutes(version)})))

    def changed(document: Document, text: str | None) -> str:
        loaded = dict(_parse(document, text))
        for name, (base_path, versions) in added.items():
            path_before, before = loaded.get(name, (base_path, ()))
            loaded[name] = (path_before, tuple(sorted({*before, *versions})))
        return _format(loaded, marked=_bears_mark(text))

    _change(document_at(place), changed)


def unload(place: Place, repository: ModelRepository, table: RouteTable, model: str, version: int) -> None:
    """Take a version, and a base that nothing else in the table needs, out of what the file loads.

    What the table still needs stays. Raises :class:`ForeignConfiguration`, and OSError.
    """
    needed = _needed(repository, table)
    gone = _needed(repository, RouteTable({model: ModelRoutes(version)}))

    def changed(document: Document, text: str | None) -> str:
        loaded = dict(_parse(document, text))
        for name, numbers in gone.items():
            base_path, before = loaded.get(name, ("", ()))
            left = tuple(number for number in before if number not in numbers or number in needed.get(name, ()))
            if left:
                loaded[name] = (base_path, left)
            else:
                loaded.pop(name, None)
        return _format(loaded, marked=_bears_mark(text))

    _change(document_at(place), changed)


def bring_up_to_date(path: Path, repository: ModelRepository, table: RouteTable) -> list[str]:
    """Make a file with the mark name what is in the repository and routed, where the repository is now.

    What is routed and there is added, what is gone from the repository is taken out, what else is loaded stays. Returns
    what was changed, for people. Raises :class:`ForeignConfiguration`.
    """
    root, needed, remarks = repository.root.resolve(), _needed(repository, table), list[str]()

    def changed(document: Document, text: str | None) -> str | None:
        before = _parse(document, text)
        after: dict[str, tuple[str, tuple[int, ...]]] = {}
        for name in sorted({*before, *needed}):
            base_path, versions = before.get(name, (_quoted(root / name), ()))
            there = set(repository.versions(name))
            kept = tuple(sorted({*versions, *needed.get(name, ())} & there))
            if base_path != _quoted(root / name):
                remarks.append(f"{name} is in {root / name} now, and no longer in {base_path}")
            remarks.extend(f"{name}/{gone} is no longer in the repository" for gone in sorted(set(versions) - there))
            remarks.extend(f"{name}/{added} is routed and was not loaded" for added in kept if added not in versions)
            if kept:
                after[name] = (_quoted(root / name), kept)
        return None if after == before else _format(after, marked=True)

    _change(FileDocument(path), changed)
    return remarks


def is_marked(path: Path) -> bool:
    """Whether the file is kept by these functions alone; one that is not there will be."""
    return _bears_mark(_text(FileDocument(path)))


def loaded_versions(place: Place) -> dict[str, tuple[int, ...]]:
    """The versions by model that the file loads; nothing if it is not there.

    Raises :class:`ForeignConfiguration`, and OSError.
    """
    document = document_at(place)
    return {name: versions for name, (_, versions) in _parse(document, _text(document)).items()}


def _change(document: Document, change: Callable[[Document, str | None], str | None]) -> None:
    """Replace the text by what ``change`` makes of it; None: it stays."""

    def changed(content: bytes | None) -> bytes | None:
        after = change(document, _decoded(document, content))
        return None if after is None else after.encode("utf-8")

    try:
        document.change(changed)
    except Unreadable as error:
        raise _unreadable(document, error.why) from error


def _bears_mark(text: str | None) -> bool:
    return text is None or text.startswith(MARK)


def _parse(document: Document, text: str | None) -> Loaded:
    """Read what this module writes, and nothing else: a setting it does not know would be lost by writing again."""
    text = "model_config_list {}" if text is None else text.removeprefix(MARK)
    body = re.fullmatch(r"\s*model_config_list\s*:?\s*{(.*)}\s*", text, re.DOTALL)
    entries = [] if body is None else list(_ENTRY.finditer(body.group(1)))
    if body is None or "".join(entry.group(0) for entry in entries) != body.group(1):
        if body is not None and not body.group(1).strip():
            return {}
        raise ForeignConfiguration(
            f"{document} holds more than names, paths and specific versions, which would be lost by changing it; "
            "load the versions there yourself and give --models-config none"
        )
    return {entry[1]: (entry[2], tuple(int(number) for number in re.findall(r"\d+", entry[3]))) for entry in entries}


def _text(document: Document) -> str | None:
    try:
        return _decoded(document, document.read())
    except Unreadable as error:
        raise _unreadable(document, error.why) from error


def _decoded(document: Document, content: bytes | None) -> str | None:
    try:
        return None if content is None else content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _unreadable(document, "not UTF-8") from error


def _unreadable(document: Document, why: str) -> ForeignConfiguration:
    return ForeignConfiguration(f"{document} cannot be read: {why}; correct it, or move it away and it is written anew")


def _located(repository: ModelRepository, needed: Mapping[str, list[int]]) -> Loaded:
    for name, versions in needed.items():
        for version in versions:
            repository.path(name, version)
    return {name: (_quoted(repository.root.resolve() / name), tuple(versions)) for name, versions in needed.items()}


def _format(loaded: Loaded, *, marked: bool) -> str:
    entries = []
    for name, (base_path, versions) in sorted(loaded.items()):
        listed = " ".join(f"versions: {version}" for version in versions)
        entries.append(
            "  config {\n"
            f'    name: "{name}"\n'
            f'    base_path: "{base_path}"\n'
            '    model_platform: "tensorflow"\n'
            f"    model_version_policy {{ specific {{ {listed} }} }}\n"
            "  }\n"
        )
    return (MARK if marked else "") + "model_config_list {\n" + "".join(entries) + "}\n"


def _needed(repository: ModelRepository, table: RouteTable) -> dict[str, list[int]]:
    """Versions by model, oldest first: what is routed, and for a head on a base that base."""
    needed: dict[str, set[int]] = {}
    for name, routes in table.models.items():
        for version in routes.versions():
            needed.setdefault(name, set()).add(version)
            base = base_of(repository, name, version)
            if base is not None:
                needed.setdefault(base.model, set()).add(base.version)
    return {name: sorted(versions) for name, versions in needed.items()}


def base_of(repository: ModelRepository, model: str, version: int) -> BaseReference | None:
    """The base that must be loaded beside a version: that of a head exported without it; None for all others."""
    try:
        manifest = repository.manifest(model, version)
    except ContractError:
        # A version that was not exported by Headway, or is broken: the gateway says so when it is asked for.
        return None
    return manifest.base if manifest.form == "on_base" else None


def _quoted(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
