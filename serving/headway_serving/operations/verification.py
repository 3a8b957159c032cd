"""The gate that a version passes before it meets any traffic.

Five things have to hold: the files are those that were published; what the model servers loaded is what the repository
says; labels and picture geometry are those of the stable version (or the change was accepted); and the golden samples,
sent as pictures through every gateway's own path and pinned to the version, come back with the scores of the export;
and nothing proves it less accurate than stable (:mod:`headway_serving.operations.answer_comparison`).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from headway_contract.errors import ContractError
from headway_contract.model_manifest import GoldenSample, ModelManifest
from headway_contract.model_repository import ModelRepository
from headway_serving.core.catalog import ManifestSource
from headway_serving.core.errors import ServingError
from headway_serving.core.rollout_state import Verification
from headway_serving.core.routing import Arm, Route

TOLERANCE = 1e-3
"""Largest difference of a golden score. Other processors and kernels move a probability by less (float32 sums in
another order: some 1e-6); wrong weights, filters, labels or colours move it by more than that in some picture."""

_TIMEOUT_SECONDS = 30.0


class VerificationFailed(Exception):
    """The version must not get traffic; the text says which check found what."""


@dataclass(frozen=True)
class AcceptedChanges:
    """What may differ from stable because a person said so."""

    labels: bool = False
    geometry: bool = False
    accuracy: bool = False

    def flags(self) -> tuple[str, ...]:
        """The flags by which it was said, for the history."""
        said = (("--accept-label-change", self.labels), ("--accept-geometry-change", self.geometry),
                ("--accept-lower-accuracy", self.accuracy))  # fmt: skip
        return tuple(flag for flag, given in said if given)


def verify_files(repository: ModelRepository, model: str, version: int) -> ModelManifest:
    """Compare the version with its published checksums. Raises :class:`VerificationFailed`."""
    try:
        repository.verify(model, version)
        manifest = repository.manifest(model, version)
    except ContractError as error:
        raise VerificationFailed(f"files: {error}") from error
    if manifest.form == "features":
        raise VerificationFailed(f"files: {model} version {version} gives features only and answers no pictures")
    if not manifest.golden:
        raise VerificationFailed(
            f"golden samples: {model} version {version} has none, so nothing shows that it answers as exported; "
            "export it again with this release"
        )
    return manifest


def compare_with_stable(candidate: ModelManifest, stable: ModelManifest, accepted: AcceptedChanges) -> None:
    """Labels must keep their places (more may follow) and pictures their geometry.

    Raises :class:`VerificationFailed`.
    """
    if not accepted.labels and candidate.labels[: len(stable.labels)] != stable.labels:
        raise VerificationFailed(
            f"labels: {_label_change(stable.labels, candidate.labels)}; clients that rely on them would be misled; "
            "if that is meant: --accept-label-change"
        )
    if not accepted.geometry and candidate.image != stable.image:
        old, new = stable.image.to_mapping(), candidate.image.to_mapping()
        changes = ", ".join(f"{key} {old[key]} -> {new[key]}" for key in old if old[key] != new[key])
        raise VerificationFailed(f"geometry: {changes}; if that is meant: --accept-geometry-change")


def check_loaded(servers: Mapping[str, ManifestSource], manifest: ModelManifest, version: int) -> None:
    """Every model server must hold the version that the repository describes. Raises :class:`VerificationFailed`."""
    route = Route(manifest.model, version, Arm.PINNED, "version")
    for name, server in servers.items():
        try:
            found = ModelManifest.from_json(server.manifest_json(route, _TIMEOUT_SECONDS))
        except (ServingError, ContractError) as error:
            raise VerificationFailed(f"loaded: model server {name}: {error}") from error
        if found != manifest:
            raise VerificationFailed(
                f"loaded: version {version} at model server {name} describes itself otherwise than its files do"
            )


def check_golden_samples(
    gateways: Iterable[str],
    http: httpx.Client,
    manifest: ModelManifest,
    version: int,
    tolerance: float | None = None,
) -> None:
    """Send every golden sample through every gateway, pinned to the version. Raises :class:`VerificationFailed`.

    ``tolerance``: how far a score may lie from the export's; None: as far as the manifest says for the precisions that
    the version may run in, at least :data:`TOLERANCE`.
    """
    tolerance = manifest.golden_tolerance(TOLERANCE) if tolerance is None else tolerance
    for url in gateways:
        for number, sample in enumerate(manifest.golden):
            where = f"golden sample {number} of {len(manifest.golden)} at {url}"
            found = _scores(url, http, manifest, version, sample, where)
            expected = dict(zip(manifest.labels, sample.scores, strict=True))
            if set(found) != set(expected):
                raise VerificationFailed(f"{where}: the answer's labels are {sorted(found)}")
            worst = max(expected, key=lambda label: _difference(found[label], expected[label]))
            if not _difference(found[worst], expected[worst]) <= tolerance:
                raise VerificationFailed(
                    f"{where}: score of {worst!r} is {found[worst]:.6f}, exported {expected[worst]:.6f}; "
                    f"at most {tolerance:g} apart is the same model"
                )


def verified(
    repository: ModelRepository,
    manifest: ModelManifest,
    version: int,
    compared: int = 0,
    disagreed: int = 0,
    *,
    fair: bool = True,
) -> Verification:
    """The proof, once every check has passed.

    ``compared``, ``disagreed``: pictures that stable was asked as well; ``fair``: neither was trained on them.
    """
    return Verification(
        version=version,
        digest=repository.digest(manifest.model, version),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        golden_samples=len(manifest.golden),
        compared=compared,
        disagreed=disagreed,
        fair=fair,
    )


def _scores(
    url: str, http: httpx.Client, manifest: ModelManifest, version: int, sample: GoldenSample, where: str
) -> dict[str, float]:
    path = f"{url}/v1/models/{manifest.model}/versions/{version}:classify"
    headers = {"Content-Type": "application/octet-stream"}
    params = {"top_k": len(manifest.labels)}
    try:
        response = http.post(path, content=sample.image, params=params, headers=headers, timeout=_TIMEOUT_SECONDS)
        answer: Any = response.json()
        if response.status_code != 200:
            raise VerificationFailed(f"{where}: {response.status_code}: {answer.get('detail', answer)}")
        predictions = answer["results"][0]["predictions"]
        return {each["label"]: float(each["score"]) for each in predictions}
    except (httpx.HTTPError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise VerificationFailed(f"{where}: no answer that can be read: {error!r}") from error


def _difference(found: float, expected: float) -> float:
    return abs(found - expected) if math.isfinite(found) else math.inf


def _label_change(stable: Sequence[str], candidate: Sequence[str]) -> str:
    dropped = [label for label in stable if label not in candidate]
    added = [label for label in candidate if label not in stable]
    if dropped and added:
        return f"{', '.join(dropped)} renamed or dropped, {', '.join(added)} added"
    if dropped:
        return f"{', '.join(dropped)} dropped"
    return f"in another order: {', '.join(stable)} -> {', '.join(candidate)}"
