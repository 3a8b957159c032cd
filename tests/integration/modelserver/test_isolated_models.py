"""`--isolate_models`: what is missing or broken harms no other model, and storage that blinks unloads nothing."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.integration.modelserver.model_server_process import ModelServerProcess, refusal
from tests.integration.modelserver.repository_files import config_list, copy_tree
from tests.support.waiting import eventually

X = {"x": np.array([[2.0]], np.float32)}


@pytest.fixture
def publish(saved_models: Path, tmp_path: Path) -> Callable[[str, int], None]:
    def copy(model: str, version: int) -> None:
        (tmp_path / model).mkdir(exist_ok=True)
        copy_tree(saved_models / f"half_plus_{version}", tmp_path / model / str(version))

    return copy


def loaded(server: ModelServerProcess) -> set[tuple[str, int]]:
    """Return names and numbers of the versions that the log says were loaded."""
    found = re.findall(r"Successfully loaded servable version {name: (\w+) version: (\d+)}", server.stderr)
    return {(name, int(number)) for name, number in found}


def test_a_missing_and_a_broken_model_harm_no_other(publish: Callable[[str, int], None], tmp_path: Path) -> None:
    publish("half", 1)
    (tmp_path / "broken" / "1").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    config = tmp_path / "models.config"
    config.write_text(config_list(tmp_path, "absent", "broken", "empty", "half"))
    # A minute between the tries of the broken model: nobody waits for it.
    with ModelServerProcess(f"--model_config_file={config}", "--isolate_models=true") as server:
        server.wait_until_ready()
        assert "E serving: Starting without some models: 1 servable(s) did not become" in server.stderr
        assert server.stubs.predict("half", X)["y"].tolist() == [[2.0]]
        assert server.stubs.states("broken") == [(1, "LOADING")]
        assert refusal(server.stubs.states, "absent") == "NOT_FOUND: Could not find any versions of model absent"

        publish("half", 2)
        eventually(lambda: server.stubs.states("half") == [(2, "AVAILABLE"), (1, "END")], "the update of half")

        def serves(name: str, version: int) -> bool:
            return (name, version) in loaded(server) and server.stubs.states(name) == [(version, "AVAILABLE")]

        publish("absent", 1)
        publish("empty", 3)
        for name, version in (("absent", 1), ("empty", 3)):
            eventually(
                partial(serves, name, version),
                f"{name}, which came late",
            )


def test_storage_that_blinks_unloads_nothing(publish: Callable[[str, int], None], tmp_path: Path) -> None:
    publish("half", 1)
    base_path = tmp_path / "half"
    with ModelServerProcess("--isolate_models", "--model_name=half", f"--model_base_path={base_path}") as server:
        server.wait_until_ready()
        (base_path / "1").rename(tmp_path / "away")
        server.wait_for_log("No versions of servable half found under base path")
        base_path.rmdir()
        server.wait_for_log("Could not find base path")
        assert server.stubs.states("half") == [(1, "AVAILABLE")]
        assert server.stubs.predict("half", X)["y"].tolist() == [[2.0]]
        base_path.mkdir()
        publish("half", 2)
        eventually(lambda: server.stubs.states("half") == [(2, "AVAILABLE"), (1, "END")], "the next version")
