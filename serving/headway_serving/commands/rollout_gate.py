"""The checks that ``start`` and ``verify`` make, in their order; see docs/rollout.md, "The gate"."""

import os
from collections.abc import Callable, Mapping, Sequence

import httpx

from headway_contract.errors import ContractError
from headway_contract.model_repository import ModelRepository
from headway_serving.adapters.metrics.traffic_window import addresses
from headway_serving.commands.rollout_arguments import Gate
from headway_serving.core.rollout_state import Verification
from headway_serving.core.routing import ModelRoutes
from headway_serving.operations.answer_comparison import (
    Interview,
    Side,
    accuracies_text,
    check_claim,
    check_comparison,
    compare_manifests,
    questions,
)
from headway_serving.operations.models_config import base_of
from headway_serving.operations.reachability import check_reachable
from headway_serving.operations.verification import (
    VerificationFailed,
    check_golden_samples,
    check_loaded,
    compare_with_stable,
    verified,
    verify_files,
)
from headway_serving.operations.version_loading import model_servers, wait_until_loaded

Say = Callable[[Mapping[str, object], str], object]
"""Writes one event: as JSON, or as its text."""


def check_before_loading(
    model: str, gate: Gate, repository: ModelRepository, routes: ModelRoutes, version: int, say: Say
) -> None:
    """What can be seen before anything is loaded: addresses, files, labels, geometry, the manifests' accuracies.

    Raises ``Unreachable``, :class:`VerificationFailed`, and what reading the repository raises.
    """
    repository.path(model, version)
    with http_client() as http:
        # Before anything that takes time: the files of a large version are read for long.
        check_reachable(gate.gateways, gate.model_servers, http)
    candidate = Side(version, verify_files(repository, model, version))
    stable = Side(routes.stable, repository.manifest(model, routes.stable))
    text = accuracies_text(stable, candidate)
    say({"event": "accuracies", "model": model, "version": version, "text": text}, text)
    compare_with_stable(candidate.manifest, stable.manifest, gate.accepted)
    compare_manifests(stable, candidate, accepted=gate.accepted.accuracy)


def verified_loaded(
    model: str,
    gate: Gate,
    repository: ModelRepository,
    routes: ModelRoutes,
    version: int,
    seconds: float,
    say: Say,
    sleep: Callable[[float], None],
) -> Verification:
    """What can be seen of the loaded version only; it must be loaded within ``seconds``.

    Raises :class:`VerificationFailed`, ``NotLoaded``, and what reading the repository raises.
    """
    # Read again: loading may have taken minutes.
    candidate = Side(version, verify_files(repository, model, version))
    stable = Side(routes.stable, repository.manifest(model, routes.stable))
    base = base_of(repository, model, version)
    needed = [(model, version)] + ([] if base is None else [(base.model, base.version)])
    with model_servers(gate.model_servers) as servers, http_client() as http:
        wait_until_loaded(servers, needed, seconds, sleep=sleep)
        check_loaded(servers, candidate.manifest, version)
        gateways = _addresses(gate.gateways)
        check_golden_samples(gateways, http, candidate.manifest, version, gate.tolerance)
        asked = questions(repository, stable, candidate)

        def report(done: int, of: int) -> None:
            say({"event": "comparing", "asked": done, "of": of}, f"{done} of {of} pictures asked of both")

        found = Interview(gateways[0], http, report).compare(asked, stable, candidate)
    say({"event": "compared", **found.document()}, found.text())
    check_comparison(found, accepted=gate.accepted.accuracy)
    check_claim(found, candidate, accepted=gate.accepted.accuracy)
    return verified(repository, candidate.manifest, version, found.compared, found.disagreed, fair=found.fair)


def check_unchanged(repository: ModelRepository, model: str, proof: Verification) -> None:
    """The version that gets traffic must be the one that was verified, where its files are in reach.

    Raises :class:`VerificationFailed`, or ``VersionDamaged`` naming the files.
    """
    try:
        repository.path(model, proof.version)
    except ContractError:
        return
    repository.verify(model, proof.version)
    found = repository.digest(model, proof.version)
    if found != proof.digest:
        raise VerificationFailed(
            f"version {proof.version} of {model!r} is another than was verified: {found} lies in {repository.root}, "
            f"{proof.digest} was verified {proof.at}; abort, and start its rollout again"
        )


def evidence(proof: Verification) -> str:
    """What a verification rests on, for people."""
    return f"{proof.golden_samples} golden samples, {proof.compared} pictures asked of stable too"


def _addresses(gateways: Sequence[str]) -> list[str]:
    urls = [url for configured in gateways for url in addresses(configured)]
    if not urls:
        raise VerificationFailed(f"no gateway has an address: {', '.join(gateways)}")
    return urls


def http_client() -> httpx.Client:
    """Asks gateways, with the token of ``HEADWAY_TOKEN`` if there is one."""
    token = os.environ.get("HEADWAY_TOKEN")
    return httpx.Client(headers={"Authorization": f"Bearer {token}"} if token else None)
