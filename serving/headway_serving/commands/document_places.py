"""Where the documents of a command are: files of the repository or named ones, or ConfigMaps of a cluster."""

import argparse
from pathlib import Path

from headway_contract.regular_files import followed
from headway_serving.adapters.files.documents import Place
from headway_serving.adapters.kubernetes.api import ConfigMapApi, ConfigMapName, config_map_named
from headway_serving.adapters.kubernetes.config_map import ConfigMapDocument
from headway_serving.adapters.kubernetes.discovery import find_cluster
from headway_serving.adapters.kubernetes.errors import InvalidKubernetes

ROUTES_MAP, MODELS_CONFIG_MAP = "headway-routes", "headway-models-config"
"""The ConfigMaps of ``k8s/base``."""


def add_kubernetes(parser: argparse.ArgumentParser) -> None:
    """Offer the ConfigMaps of a cluster instead of files."""
    parser.add_argument(
        "--kubernetes", metavar="NAMESPACE[/NAME]",
        help=f"routes.json is in this ConfigMap (NAME: {ROUTES_MAP}), models.config in {MODELS_CONFIG_MAP} beside it",
    )  # fmt: skip


def routes_place(arguments: argparse.Namespace) -> Place:
    """Where ``routes.json`` is. Raises ValueError for ``--kubernetes`` that cannot be used."""
    if arguments.kubernetes is not None:
        _refuse_beside_kubernetes(arguments.routes, "--routes")
        return _document(arguments.kubernetes, None, "routes.json")
    path: Path = arguments.routes or arguments.repository / "routes.json"
    # A link is followed: replacing it by a file would cut off whoever reads what it points to.
    return followed(path)


def models_config_place(arguments: argparse.Namespace) -> Place | None:
    """Where ``models.config`` is; None: versions are loaded by other means. Raises as :func:`routes_place`."""
    if str(arguments.models_config) == "none":
        return None
    if arguments.kubernetes is not None:
        _refuse_beside_kubernetes(arguments.models_config, "--models-config")
        return _document(arguments.kubernetes, MODELS_CONFIG_MAP, "models.config")
    return followed(Path(arguments.models_config or arguments.repository / "models.config"))


def _document(text: str, name: str | None, key: str) -> ConfigMapDocument:
    try:
        routes = config_map_named(text, ROUTES_MAP)
        where = routes if name is None else ConfigMapName(routes.namespace, name)
        return ConfigMapDocument(ConfigMapApi(find_cluster()), where, key)
    except InvalidKubernetes as error:
        raise ValueError(f"--kubernetes: {error}") from error


def _refuse_beside_kubernetes(value: object, flag: str) -> None:
    if value is not None:
        raise ValueError(f"{flag} names a file and --kubernetes a ConfigMap; give one of them")
