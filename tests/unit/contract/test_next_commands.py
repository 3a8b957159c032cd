"""What is shown can be pasted: only what is not the default is named, addresses always, awkward paths in quotes."""

from pathlib import Path

import pytest

from headway_contract import next_commands
from headway_contract.running_pair import Pair

PAIR = Pair(1, "http://127.0.0.1:8081", "127.0.0.1:8501")


def test_defaults_are_not_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "models"
    files = (root / "routes.json", root / "models.config")
    assert next_commands.serve(Path("models")) == "headway serve"
    assert next_commands.rollout_start("t", None, root, *files) == "headway rollout start t"
    assert next_commands.rollout_start("t", PAIR, root) == (
        "headway rollout start t --gateway http://127.0.0.1:8081 --model-server 127.0.0.1:8501"
    )


def test_everything_else_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "my models"
    assert next_commands.serve(root) == f"headway serve --repository '{root}'"
    assert next_commands.models_add("t", PAIR, root, tmp_path / "r.json", tmp_path / "m.config") == (
        f"headway models add t --repository '{root}' --routes {tmp_path / 'r.json'} "
        f"--models-config {tmp_path / 'm.config'} --gateway http://127.0.0.1:8081 --model-server 127.0.0.1:8501"
    )
