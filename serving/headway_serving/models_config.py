"""``models.config``: what the model server loads, in TensorFlow Serving's own text format."""

from pathlib import Path

from headway_contract.durable_files import write_atomically
from headway_contract.errors import ContractError
from headway_contract.model_manifest import BaseReference
from headway_contract.model_repository import ModelRepository
from headway_serving.core.routing import ModelRoutes, RouteTable


def format_models_config(repository: ModelRepository, table: RouteTable) -> str:
    """A ``ModelServerConfig`` that loads what the table can send traffic to and the bases it needs, and nothing else.

    The policy is ``specific``: TensorFlow Serving's default, the newest version, would drop a stable version as soon
    as another is published. Raises ``ModelMissing`` or ``VersionMissing`` for a routed version, or a base of one, that
    is not there.
    """
    entries = []
    for name, versions in sorted(_needed(repository, table).items()):
        for version in versions:
            repository.path(name, version)
        listed = " ".join(f"versions: {version}" for version in versions)
        entries.append(
            "  config {\n"
            f'    name: "{name}"\n'
            f'    base_path: "{_quoted(repository.root.resolve() / name)}"\n'
            '    model_platform: "tensorflow"\n'
            f"    model_version_policy {{ specific {{ {listed} }} }}\n"
            "  }\n"
        )
    return "model_config_list {\n" + "".join(entries) + "}\n"


def write_models_config(path: Path, repository: ModelRepository, table: RouteTable) -> None:
    """Replace the file atomically: a model server that polls it reads the old configuration or the new one."""
    write_atomically(path, format_models_config(repository, table).encode("utf-8"))


def _needed(repository: ModelRepository, table: RouteTable) -> dict[str, list[int]]:
    """Versions by model, oldest first: what is routed, and for a head on a base that base."""
    needed: dict[str, set[int]] = {}
    for name, routes in table.models.items():
        for version in _routed_versions(routes):
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


def _routed_versions(routes: ModelRoutes) -> list[int]:
    candidate = [] if routes.candidate is None else [routes.candidate.version]
    return sorted({routes.stable, *candidate, *routes.labels.values()})


def _quoted(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
