"""What the served versions say of themselves, read once from each version's ``manifest`` signature.

A published version never changes, so a manifest is kept for the life of the process once it is read.
"""

import threading
from typing import Protocol

from headway_contract.errors import InvalidManifest
from headway_contract.model_manifest import ModelManifest
from headway_serving.core.errors import IncompatibleModel
from headway_serving.core.routing import Route


class ManifestSource(Protocol):
    """Where manifests come from."""

    def manifest_json(self, route: Route, timeout: float) -> bytes:
        """The manifest of the route's version as JSON, within ``timeout`` seconds. Raises a ``ServingError``."""
        ...


class VersionStates(Protocol):
    """Where one sees what is loaded."""

    def version_states(self, model: str, timeout: float) -> dict[int, str]:
        """State of each version of the model, newest first; empty for an unknown one. Raises a ``ServingError``."""
        ...


class Catalog:
    """Manifests by model and version, asked for when first needed. Safe for use by many threads."""

    def __init__(self, source: ManifestSource) -> None:
        self._source = source
        self._manifests: dict[tuple[str, int], ModelManifest] = {}
        self._lock = threading.Lock()

    def manifest(self, route: Route, timeout: float) -> ModelManifest:
        """The manifest of a route's version. Raises :class:`IncompatibleModel`, or what the source raises."""
        known = self._manifests.get((route.model, route.version))
        if known is not None:
            return known
        text = self._source.manifest_json(route, timeout)
        try:
            manifest = ModelManifest.from_json(text)
        except InvalidManifest as error:
            raise IncompatibleModel(f"{route.model} version {route.version} cannot be served: {error}") from error
        if manifest.form == "features":
            raise IncompatibleModel(
                f"{route.model} version {route.version} is a backbone without classes; route a head that stands on it"
            )
        with self._lock:
            return self._manifests.setdefault((route.model, route.version), manifest)

    def knows(self, model: str, version: int) -> bool:
        """Whether the version's manifest has been read."""
        return (model, version) in self._manifests
