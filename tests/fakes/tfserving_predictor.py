"""The adapter's fake: a model server in memory, held to the same conformance test as the real one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headway_serving.core.errors import (
    DeadlineExceeded,
    IncompatibleModel,
    ModelUnavailable,
    PredictionFailed,
    ServingError,
    VersionNotFound,
)
from headway_serving.core.routing import Route
from tests.fakes.scripted_models import Fault, ScriptedModels, ScriptedVersion, scripted_answer

_FAULTS: dict[Fault, ServingError] = {
    Fault.HANGS: DeadlineExceeded("the model server did not answer within the request's time"),
    Fault.REFUSES: PredictionFailed("the model server answered INTERNAL: refused"),
    Fault.MALFORMED: IncompatibleModel("the answer is not what the signature promises"),
}


class FakePredictor:
    """Predicts, describes and lists :class:`ScriptedVersion`; set ``away`` to make it unreachable.

    ``predicted`` holds the route and the rows of every Predict, ``described`` the route of every manifest asked for,
    ``timeouts`` the seconds that each call was given.
    """

    def __init__(self, models: ScriptedModels) -> None:
        self.models = models
        self.away = False
        self.predicted: list[tuple[Route, NDArray[np.uint8]]] = []
        self.described: list[Route] = []
        self.timeouts: list[float] = []

    def predict(
        self, route: Route, rows: NDArray[Any], timeout: float, signature: str = "serving_default"
    ) -> NDArray[np.float32]:
        self.predicted.append((route, rows))
        self.timeouts.append(timeout)
        version = self._loaded(route)
        if version.fault in _FAULTS:
            raise _FAULTS[version.fault]
        return scripted_answer(rows, version, signature)

    def manifest_json(self, route: Route, timeout: float) -> bytes:
        self.described.append(route)
        self.timeouts.append(timeout)
        version = self._loaded(route)
        if version.fault is Fault.REFUSES:
            raise IncompatibleModel(f"{route.model} version {route.version} does not describe itself")
        if version.fault in _FAULTS:
            raise _FAULTS[version.fault]
        return version.manifest

    def version_states(self, model: str, timeout: float) -> dict[int, str]:
        self.timeouts.append(timeout)
        self._check_reachable()
        versions = self.models.get(model, {})
        return {number: versions[number].state for number in sorted(versions, reverse=True)}

    def load_failures(self, model: str, timeout: float) -> dict[int, str]:
        self.timeouts.append(timeout)
        self._check_reachable()
        return {number: each.failure for number, each in self.models.get(model, {}).items() if each.failure}

    def _loaded(self, route: Route) -> ScriptedVersion:
        self._check_reachable()
        version = self.models.get(route.model, {}).get(route.version)
        if version is not None and version.state == "AVAILABLE":
            return version
        if route.reason == "version":
            raise VersionNotFound(f"model {route.model!r} has no version {route.version} loaded")
        raise ModelUnavailable(f"version {route.version} of model {route.model!r} gets traffic but is not loaded")

    def _check_reachable(self) -> None:
        if self.away:
            raise ModelUnavailable("the model server cannot answer now; try again in a moment")
