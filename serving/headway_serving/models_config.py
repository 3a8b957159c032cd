"""``models.config``: what the model server loads, in TensorFlow Serving's own text format."""

from pathlib import Path

from headway_contract.durable_files import write_atomically
from headway_contract.model_repository import ModelRepository
from headway_serving.core.routing import ModelRoutes, RouteTable


def format_models_config(repository: ModelRepository, table: RouteTable) -> str:
    """A ``ModelServerConfig`` that loads every version the table can send traffic to, and no other.

    The policy is ``specific``: TensorFlow Serving's default, the newest version, would drop a stable version as soon
    as another is published. Raises ``ModelMissing`` or ``VersionMissing`` for a routed version that is not there.
    """
    entries = []
    for name, routes in sorted(table.models.items()):
        versions = _routed_versions(routes)
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


def _routed_versions(routes: ModelRoutes) -> list[int]:
    candidate = [] if routes.candidate is None else [routes.candidate.version]
    return sorted({routes.stable, *candidate, *routes.labels.values()})


def _quoted(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
