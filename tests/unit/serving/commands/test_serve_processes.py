"""Which model server ``headway serve`` starts, by what is there and what it can load."""

import shutil
import sys
from pathlib import Path

import pytest

from headway_contract.model_repository import ModelRepository
from headway_serving.commands.serve_arguments import CannotServe, Plan
from headway_serving.commands.serve_processes import EMBEDDED, model_server_command

BINARY = "/opt/tensorflow_model_server"


@pytest.fixture(autouse=True)
def tensorflow_serving_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: BINARY if "tensorflow_model_server" in name else None)


def command(root: Path, model_server: str) -> list[str]:
    files = root / "routes.json", root / "models.config"
    plan = Plan(ModelRepository(root), *files, "127.0.0.1", 8080, 8500, None, model_server, "off")
    made = model_server_command(plan)
    assert made is not None
    return made


def test_tensorflow_serving_is_chosen_where_it_is_on_the_path(tmp_path: Path) -> None:
    assert command(tmp_path, "auto")[0] == command(tmp_path, BINARY)[0] == BINARY
    assert command(tmp_path, "embedded")[:3] == [sys.executable, "-m", EMBEDDED]
    assert f"--model_config_file={tmp_path}/models.config" in command(tmp_path, "auto")


@pytest.mark.parametrize("name", ["models[2]", "mod\\els", "mod*ls"])
def test_it_is_not_given_a_path_that_it_takes_for_a_pattern(tmp_path: Path, name: str) -> None:
    """It would wait for ever for variables that it does not find; the embedded server finds them."""
    assert command(tmp_path / name, "auto")[:3] == [sys.executable, "-m", EMBEDDED]
    with pytest.raises(CannotServe, match="would find no variables; rename the folder, or use --model-server embedded"):
        command(tmp_path / name, BINARY)


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CannotServe, match="neither auto, embedded, HOST:PORT nor a program that can be run"):
        command(tmp_path, "no-such-program")
