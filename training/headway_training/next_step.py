"""The command that comes after training, by what the repository shows of how it is served."""

import json
from collections.abc import Sequence
from pathlib import Path

from headway_contract import next_commands
from headway_contract.errors import ContractError
from headway_contract.model_repository import ModelRepository
from headway_contract.regular_files import read_regular_file
from headway_contract.running_pair import running_pair


def next_steps(repository: ModelRepository, published: Sequence[tuple[str, int]]) -> list[str]:
    """One line for each thing to do now. ``published``: (model, version) in the order of training."""
    newest = {model: version for model, version in published if _has_classes(repository, model, version)}
    if not newest:
        return []
    routed, pair, root = _routed(repository.root), running_pair(repository.root / "models.config"), repository.root
    if routed is None:
        return [f"Next: {next_commands.serve(root)}"]
    lines = []
    for model in newest:
        if model in routed:
            lines.append(f"Next: {next_commands.rollout_start(model, pair, root)}")
        elif pair is not None:
            lines.append(
                f"{model} is taken up by headway serve; next: headway classify PICTURE --model {model} --url {pair.url}"
            )
        else:
            lines.append(
                f"Next: {next_commands.serve(root)}, or beside one that runs elsewhere: "
                f"{next_commands.models_add(model, None, root)}"
            )
    return lines


def _routed(root: Path) -> frozenset[str] | None:
    """The models that ``routes.json`` names; None if it is not there. What is wrong with it is said by who uses it."""
    try:
        return frozenset(json.loads(read_regular_file(root / "routes.json"))["models"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _has_classes(repository: ModelRepository, model: str, version: int) -> bool:
    try:
        return repository.manifest(model, version).form != "features"
    except ContractError:
        return False
