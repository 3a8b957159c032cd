"""Manifests are asked for where asking holds up nobody else."""

from concurrent.futures import Executor

from headway_serving.adapters.event_loop import aside
from headway_serving.core.catalog import ManifestSource
from headway_serving.core.routing import Route


class ManifestsAside:
    """A :class:`ManifestSource` that asks another one in a thread of ``executor``."""

    def __init__(self, inner: ManifestSource, executor: Executor) -> None:
        self._inner, self._executor = inner, executor

    def manifest_json(self, route: Route, timeout: float) -> bytes:
        """See :class:`ManifestSource`."""
        return aside(self._executor, lambda: self._inner.manifest_json(route, timeout))
