"""The command that comes next, written out with the addresses of the pair that runs: it can be pasted as it is."""

import shlex
from pathlib import Path

from headway_contract.running_pair import Pair

_REPOSITORY, _ROUTES, _MODELS_CONFIG = Path("models"), "routes.json", "models.config"


def rollout_start(
    model: str, pair: Pair | None, repository: Path, routes: Path | None = None, models_config: Path | None = None
) -> str:
    """``headway rollout start``; ``routes`` and ``models_config``: None where they are by default."""
    return _command(["rollout", "start", model], pair, repository, routes, models_config)


def models_add(
    model: str, pair: Pair | None, repository: Path, routes: Path | None = None, models_config: Path | None = None
) -> str:
    """``headway models add``, with arguments as above."""
    return _command(["models", "add", model], pair, repository, routes, models_config)


def serve(repository: Path) -> str:
    """``headway serve``."""
    return _command(["serve"], None, repository, None, None)


def _command(
    words: list[str], pair: Pair | None, repository: Path, routes: Path | None, models_config: Path | None
) -> str:
    words = ["headway", *words]
    if repository.resolve() != _REPOSITORY.resolve():
        words += ["--repository", str(repository)]
    if routes is not None and routes != repository.resolve() / _ROUTES:
        words += ["--routes", str(routes)]
    if models_config is not None and models_config != repository.resolve() / _MODELS_CONFIG:
        words += ["--models-config", str(models_config)]
    if pair is not None:
        # Also where they are the defaults: HEADWAY_URL of another shell may say otherwise.
        words += ["--gateway", pair.url, "--model-server", pair.model_server]
    return shlex.join(words)
