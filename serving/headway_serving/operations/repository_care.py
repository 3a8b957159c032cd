"""What a repository holds that is damaged, in use, no longer needed, or different.

A version is in use when it is routed, loaded, pinned, or the base of a head that is kept. Such a version is never
pruned, and nothing is pruned while one of the files that say so cannot be read.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from headway_contract.durable_files import write_atomically
from headway_contract.errors import ContractError, RepositoryError
from headway_contract.model_manifest import ModelManifest
from headway_contract.model_repository import ModelRepository
from headway_contract.regular_files import read_regular_file
from headway_serving.adapters.files.documents import Place
from headway_serving.adapters.files.routes import routes_if_any
from headway_serving.core.routing import ModelRoutes, RouteTable
from headway_serving.operations.models_config import loaded_versions

PINS_FILE = "pins.json"
"""In the repository's root: the versions by model that are kept whatever happens."""

_UNCOMPARED = frozenset({"golden", "classes", "schema"})


@dataclass(frozen=True)
class VersionCheck:
    """One version: its digest, or what is wrong with it."""

    model: str
    version: int
    digest: str | None
    problem: str | None


def check(repository: ModelRepository, model: str, version: int) -> VersionCheck:
    """Compare a version with its checksums and read its manifest."""
    try:
        repository.verify(model, version)
        repository.manifest(model, version)
        return VersionCheck(model, version, repository.digest(model, version), None)
    except ContractError as error:
        return VersionCheck(model, version, None, str(error))


def half_versions(repository: ModelRepository) -> tuple[Path, ...]:
    """What publishing that was interrupted left behind; no model server sees it."""
    area = repository.root / ".staging"
    return tuple(sorted(area.iterdir())) if area.is_dir() else ()


def read_pins(repository: ModelRepository) -> dict[str, tuple[int, ...]]:
    """The pinned versions by model. Raises ``RepositoryError`` for a file that cannot be read."""
    path = repository.root / PINS_FILE
    try:
        document = json.loads(read_regular_file(path)) if path.exists() else {}
        return {str(model): tuple(sorted(int(version) for version in versions)) for model, versions in document.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise RepositoryError(f"{path} cannot be read: {error}; it maps models to lists of versions") from error


def pin(repository: ModelRepository, model: str, version: int, *, pinned: bool) -> None:
    """Keep a version whatever happens, or no longer. Raises ``RepositoryError``, also if there is no such version."""
    repository.path(model, version)
    pins = read_pins(repository)
    versions = {*pins.get(model, ()), version} if pinned else {*pins.get(model, ())} - {version}
    changed = {**pins, model: tuple(sorted(versions))}
    text = json.dumps({name: list(kept) for name, kept in sorted(changed.items()) if kept}, indent=2)
    write_atomically(repository.root / PINS_FILE, f"{text}\n".encode())


def in_use(repository: ModelRepository, routes: Place, models_config: Place) -> dict[tuple[str, int], str]:
    """Each (model, version) that must stay, and why. Raises what reading one of the files raises."""
    reasons: dict[tuple[str, int], str] = {}
    for name, versions in read_pins(repository).items():
        reasons |= {(name, version): "pinned" for version in versions}
    for name, versions in loaded_versions(models_config).items():
        reasons |= {(name, version): "loaded" for version in versions}
    for name, routed in routes_if_any(routes).models.items():
        reasons |= {(name, version): "routed" for version in routed.versions()}
    return reasons


def routed_but_gone(repository: ModelRepository, table: RouteTable) -> dict[tuple[str, int], str]:
    """Each (model, version) that the table can send traffic to, or that a routed head stands on, and that is not there.

    With what it is needed for. A model server that holds it still loses it at its next look, or start.
    """
    needed = {(name, version): _roles(routed, version) for name, routed in table.models.items()
              for version in routed.versions()}  # fmt: skip
    for head in list(needed):
        if base := _base(repository, *head, run_on_it=True):
            needed.setdefault(base, f"the base of {'/'.join(map(str, head))}")
    there = {name: repository.versions(name) for name, _ in needed}
    return {each: why for each, why in needed.items() if each[1] not in there[each[0]]}


def _roles(routed: ModelRoutes, version: int) -> str:
    """What a version is routed as, for people."""
    roles = ["stable"] if version == routed.stable else []
    roles += ["the candidate"] if routed.candidate is not None and version == routed.candidate.version else []
    roles += ["the shadow"] if routed.shadow is not None and version == routed.shadow.version else []
    roles += [f"labelled {label}" for label, labelled in routed.labels.items() if labelled == version]
    return ", ".join(roles) or "part of a rollout that is not finished"


def prunable(
    repository: ModelRepository, routes: Place, models_config: Place, keep: int
) -> tuple[list[tuple[str, int]], dict[tuple[str, int], str]]:
    """What may go and what stays, with the reason. The newest ``keep`` versions of each model always stay."""
    staying = in_use(repository, routes, models_config)
    everything = [(model, version) for model in repository.models() for version in repository.versions(model)]
    for model in repository.models():
        for version in repository.versions(model)[-keep:] if keep else ():
            staying.setdefault((model, version), f"one of the newest {keep}")
    # A head's base may itself be a head's base: until nothing is added.
    added = True
    while added:
        bases = {base: f"base of {'/'.join(map(str, head))}" for head in staying if (base := _base(repository, *head))}
        added = not set(bases) <= set(staying)
        staying = {**bases, **staying}
    return [each for each in everything if each not in staying], {each: staying[each] for each in everything
                                                                  if each in staying}  # fmt: skip


def difference(before: ModelManifest, after: ModelManifest) -> dict[str, tuple[Any, Any]]:
    """What two manifests say otherwise, by dotted name; golden samples and figures by class are left out."""
    old, new = _flat(_document(before)), _flat(_document(after))
    return {name: (old.get(name), new.get(name)) for name in sorted({*old, *new}) if old.get(name) != new.get(name)}


def _base(repository: ModelRepository, model: str, version: int, *, run_on_it: bool = False) -> tuple[str, int] | None:
    """The base of a head; with ``run_on_it`` only of a head that was exported without its base."""
    try:
        manifest = repository.manifest(model, version)
    except ContractError:
        return None
    base = None if run_on_it and manifest.form != "on_base" else manifest.base
    return None if base is None else (base.model, base.version)


def _document(manifest: ModelManifest) -> Mapping[str, Any]:
    return {name: value for name, value in asdict(manifest).items() if name not in _UNCOMPARED}


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested objects as dotted names; lists stay whole."""
    if not isinstance(value, Mapping):
        return {name: list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value}
    found: dict[str, Any] = {}
    for key, each in value.items():
        found |= _flat(each, f"{name}.{key}" if name else str(key))
    return found
