"""What is loaded to be checked stays loaded only if the checks end well."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from headway_contract.model_repository import ModelRepository
from headway_serving.adapters.files.routes import write_routes
from headway_serving.core.routing import ModelRoutes, RouteTable
from headway_serving.operations.models_config import loaded_versions, write_models_config
from headway_serving.operations.tentative_loading import loaded_tentatively


@pytest.fixture
def repository(tmp_path: Path) -> ModelRepository:
    """Versions 1 and 2 of one model; version 1 is stable and loaded."""
    made = ModelRepository(tmp_path)
    for version in (1, 2):
        (tmp_path / "digits" / str(version)).mkdir(parents=True)
    table = RouteTable({"digits": ModelRoutes(1)})
    write_routes(tmp_path / "routes.json", table)
    write_models_config(tmp_path / "models.config", made, table)
    return made


def load(repository: ModelRepository, check: Callable[[], None]) -> None:
    config = repository.root / "models.config"
    with loaded_tentatively(config, repository, repository.root / "routes.json", "digits", 2):
        assert loaded_versions(config)["digits"] == (1, 2)
        check()


def fail() -> None:
    raise ValueError("another answer")


def interrupt() -> None:
    raise KeyboardInterrupt


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)


def test_what_passes_stays(repository: ModelRepository) -> None:
    load(repository, lambda: None)
    assert loaded_versions(repository.root / "models.config")["digits"] == (1, 2)


@pytest.mark.parametrize(
    ("check", "ends"), [(fail, ValueError), (interrupt, KeyboardInterrupt), (terminate, SystemExit)]
)
def test_what_fails_or_is_ended_is_taken_back(
    repository: ModelRepository, check: Callable[[], None], ends: type[BaseException]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ends):
        load(repository, check)
    assert loaded_versions(repository.root / "models.config")["digits"] == (1,)
    assert signal.getsignal(signal.SIGTERM) is before


def test_without_a_file_nothing_is_written(repository: ModelRepository) -> None:
    before = (repository.root / "models.config").read_bytes()
    with loaded_tentatively(None, repository, repository.root / "routes.json", "digits", 2):
        pass
    assert (repository.root / "models.config").read_bytes() == before
