"""After training the command is shown that fits what the repository shows of how it is served."""

import fcntl
import json
from pathlib import Path

import pytest

from headway_contract.model_repository import ModelRepository
from headway_contract.running_pair import Pair, lock_path
from headway_training.next_step import next_steps
from tests.support.contract_examples import publish

PAIR = Pair(1, "http://127.0.0.1:8081", "127.0.0.1:8501")


@pytest.fixture
def repository(tmp_path: Path) -> ModelRepository:
    made = ModelRepository(tmp_path / "models")
    publish(made)
    return made


def route(repository: ModelRepository, *models: str) -> None:
    document = {"schema": 2, "models": {model: {"stable": 1} for model in models}}
    (repository.root / "routes.json").write_text(json.dumps(document))


def test_what_nobody_serves_yet_is_to_be_served(repository: ModelRepository) -> None:
    (line,) = next_steps(repository, [("letters", 1)])
    assert line == f"Next: headway serve --repository {repository.root}"


def test_what_is_routed_gets_a_rollout_with_the_addresses_of_the_pair(repository: ModelRepository) -> None:
    route(repository, "letters")
    start = f"Next: headway rollout start letters --repository {repository.root}"
    assert next_steps(repository, [("letters", 1)]) == [start]
    lock = lock_path(repository.root / "models.config")
    lock.write_bytes(PAIR.to_json())
    with lock.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        (line,) = next_steps(repository, [("letters", 1), ("letters", 1)])
    assert line == f"{start} --gateway {PAIR.url} --model-server {PAIR.model_server}"


def test_what_is_not_routed_is_taken_up_or_added(repository: ModelRepository) -> None:
    route(repository, "faces")
    (line,) = next_steps(repository, [("letters", 1)])
    assert "headway serve --repository" in line
    assert f"headway models add letters --repository {repository.root}" in line
    lock = lock_path(repository.root / "models.config")
    lock.write_bytes(PAIR.to_json())
    with lock.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        (line,) = next_steps(repository, [("letters", 1)])
    assert line == (
        "letters is taken up by headway serve; next: headway classify PICTURE --model letters --url " + PAIR.url
    )


def test_what_cannot_be_served_has_no_next_step(repository: ModelRepository) -> None:
    assert next_steps(repository, [("nothing", 1)]) == []
    (repository.root / "routes.json").write_text("{")
    assert next_steps(repository, [("letters", 1)]) == [f"Next: headway serve --repository {repository.root}"]
