"""What has come to lie in a repository that is served: models that nobody has decided about, and newer versions."""

from collections.abc import Collection
from dataclasses import dataclass, field

from headway_contract.model_repository import ModelRepository
from headway_serving.core.routing import RouteTable
from headway_serving.operations.model_changes import newest_routable


@dataclass(frozen=True)
class Found:
    """``newcomers``: models without routes, which nobody has removed. ``newer``: (model, version) above all routed."""

    newcomers: tuple[str, ...] = ()
    newer: tuple[tuple[str, int], ...] = ()


@dataclass
class RepositoryWatch:
    """Looks again and again, and tells everything once; manifests are read only of what has changed."""

    repository: ModelRepository
    _seen: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def look(self, table: RouteTable, removed: Collection[str]) -> Found:
        """What was published since the last look, and at the first look everything. Raises OSError."""
        newcomers, newer = list[str](), list[tuple[str, int]]()
        for name in self.repository.models():
            versions = self.repository.versions(name)
            if self._seen.get(name) == versions:
                continue
            self._seen[name] = versions
            newest, routes = newest_routable(self.repository, name), table.models.get(name)
            if newest is None:
                continue
            if routes is None and name not in removed:
                newcomers.append(name)
            elif routes is not None and newest > max(routes.versions()):
                newer.append((name, newest))
        return Found(tuple(newcomers), tuple(newer))
