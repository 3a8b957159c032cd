"""Whether versions can answer: loaded at the model server, with a manifest that this release understands."""

from dataclasses import dataclass

from headway_serving.core.catalog import Catalog, VersionStates
from headway_serving.core.errors import ServingError
from headway_serving.core.routing import Pin, RouteTable

_TIMEOUT_SECONDS = 1.0


@dataclass(frozen=True)
class Readiness:
    """Looks at the model server now, and reads manifests on the way."""

    catalog: Catalog
    server: VersionStates

    def obstacles(self, table: RouteTable) -> dict[str, str]:
        """The models whose stable version cannot answer, by name, and why."""
        reasons = {name: self.obstacle(name, table) for name in sorted(table.models)}
        return {name: reason for name, reason in reasons.items() if reason is not None}

    def obstacle(self, name: str, table: RouteTable, version: int | None = None) -> str | None:
        """Why a version of a model, its stable one by default, cannot answer; None if it can.

        Raises ``ModelNotFound`` for a model that is not routed.
        """
        route = table.choose(name, Pin(label="stable") if version is None else Pin(version), "")
        try:
            state = self.server.version_states(name, _TIMEOUT_SECONDS).get(route.version, "not loaded")
            if state != "AVAILABLE":
                return f"version {route.version} is {state}"
            manifest = self.catalog.manifest(route, _TIMEOUT_SECONDS)
            if manifest.form == "on_base" and manifest.base is not None:
                base = manifest.base
                state = self.server.version_states(base.model, _TIMEOUT_SECONDS).get(base.version, "not loaded")
                if state != "AVAILABLE":
                    return f"its base {base.model} version {base.version} is {state}"
        except ServingError as error:
            return str(error)
        return None
