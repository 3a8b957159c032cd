"""Asks model servers for the golden samples of a version that no gateway routes yet, by the gateway's own code."""

from collections.abc import Mapping
from typing import Protocol

from headway_contract.errors import InvalidImage
from headway_contract.model_manifest import ModelManifest
from headway_contract.preprocessing import DecodeLimits
from headway_serving.concurrency.signal import Signal
from headway_serving.core.admission import Admission
from headway_serving.core.catalog import Catalog, ManifestSource
from headway_serving.core.classification import Classifier, Predictor
from headway_serving.core.errors import ServingError
from headway_serving.core.request_queue import QueueLimits
from headway_serving.core.requests import ClassifyRequest, Deadline, SharedWork
from headway_serving.core.routing import Arm, Pin, Route, RouteTable
from headway_serving.operations.verification import TOLERANCE, VerificationFailed

_TIMEOUT_SECONDS = 30.0


class AnsweringServer(Predictor, ManifestSource, Protocol):
    """A model server that is asked without a gateway."""


def check_direct_answers(
    servers: Mapping[str, AnsweringServer], manifest: ModelManifest, version: int, tolerance: float | None = None
) -> None:
    """Send every golden sample to every model server. Raises :class:`VerificationFailed`.

    ``tolerance``: how far a score may lie from the export's; None: as the manifest says, at least :data:`TOLERANCE`.
    """
    tolerance = manifest.golden_tolerance(TOLERANCE) if tolerance is None else tolerance
    route = Route(manifest.model, version, Arm.PINNED, "version")
    for name, server in servers.items():
        limits = QueueLimits()
        classifier = Classifier(
            lambda: RouteTable({}), Catalog(server), server, DecodeLimits(), Admission(limits, Signal)
        )
        for number, sample in enumerate(manifest.golden):
            where = f"golden sample {number} of {len(manifest.golden)} at model server {name}"
            request = ClassifyRequest(
                manifest.model, [sample.image], Pin(version=version), "", Deadline(_TIMEOUT_SECONDS)
            )
            try:
                (found,) = classifier.classify_by(request, route, SharedWork()).scores.tolist()
            except (ServingError, InvalidImage) as error:
                raise VerificationFailed(f"{where}: {error}") from error
            # Not "more than": a score that is no number is within no tolerance.
            if not all(abs(one - other) <= tolerance for one, other in zip(found, sample.scores, strict=True)):
                raise VerificationFailed(
                    f"{where}: scores are {_listed(found)}, exported {_listed(sample.scores)}; at most {tolerance:g} "
                    "apart is the same model"
                )


def _listed(scores: list[float] | tuple[float, ...]) -> str:
    return ", ".join(f"{score:.4f}" for score in scores)
