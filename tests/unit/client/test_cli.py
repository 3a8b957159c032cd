"""The `headway` command: verbs, wrong words, missing extras, and how little `--help` loads."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import pytest
from PIL import Image

from headway_client import cli
from headway_client.cli import VERBS, main
from tests.unit.client.client_fake_gateway import FakeGateway

Out = pytest.CaptureFixture[str]


def headway(
    *arguments: str, environment: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "headway_client.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
    )


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_every_verb(arguments: list[str], capsys: Out) -> None:
    assert main(arguments) == 0
    out = capsys.readouterr().out
    for verb in VERBS:
        assert f"  {verb.name} " in out
        assert verb.summary in out


def test_version_is_the_installed_one(capsys: Out) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"headway {version('headway')}\n"


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("clasify", "did you mean 'classify'?"),
        ("serv", "did you mean 'serve'?"),
        ("xyzzy", "headway --help"),
        ("--model", "headway --help"),
    ],
)
def test_an_unknown_word_exits_2_with_one_line(word: str, hint: str, capsys: Out) -> None:
    assert main([word]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert word in line
    assert hint in line


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys; from headway_client.cli import main; main(['--help']);"
        "heavy = {'httpx', 'tensorflow', 'numpy', 'PIL', 'flask', 'grpc', 'rich', 'argparse'};"
        "print('loaded:', sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "loaded: []"


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_every_verb_leads_to_a_module(verb: cli.Verb) -> None:
    assert importlib.util.find_spec(verb.module) is not None


def test_a_verb_gets_the_arguments_after_it(gateway: FakeGateway, tmp_path: Path, capsys: Out) -> None:
    Image.new("L", (28, 28)).save(tmp_path / "a.png")
    assert main(["classify", str(tmp_path / "a.png"), "--url", gateway.url]) == 0
    assert "28x28" in capsys.readouterr().out


@pytest.mark.parametrize("where", ["at import", "when called"])
def test_a_missing_extra_is_named_with_its_remedy(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    missing = "import tensorflow_that_is_not_installed.lite"
    lines = [missing, "def run(argv): return 0"] if where == "at import" else ["def run(argv):", f"    {missing}"]
    use_verb(monkeypatch, tmp_path, "\n".join(lines))

    assert main(["grow"]) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "headway grow needs the Python module 'tensorflow_that_is_not_installed', which is not installed; "
        "install it with: pip install 'headway[training]'"
    )


def test_a_missing_module_of_our_own_is_a_bug_and_not_blamed_on_an_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_verb(monkeypatch, tmp_path, "import headway_client.nonsense")
    with pytest.raises(ModuleNotFoundError, match="nonsense"):
        main(["grow"])


def test_the_exit_code_is_the_verbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_verb(monkeypatch, tmp_path, "def run(argv): return len(argv)")
    assert main(["grow", "a", "b", "c"]) == 3


def use_verb(monkeypatch: pytest.MonkeyPatch, folder: Path, program: str) -> None:
    """Let `headway grow` be that program, with a function `run`."""
    name = f"verb_of_{folder.name}"
    (folder / f"{name}.py").write_text(program)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(cli, "VERBS", (cli.Verb("grow", name, "run", "grow", "training"),))


def test_ctrl_c_exits_130_without_a_traceback(gateway: FakeGateway) -> None:
    # Reading standard input, which stays open, is where it waits.
    command = [sys.executable, "-u", "-m", "headway_client.cli", "classify", "-", "--url", gateway.url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not gateway.seen:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait() == 130


@pytest.mark.parametrize("arguments", [["--help"], ["classify", "--help"]])
def test_a_reader_that_goes_away_is_no_traceback(arguments: list[str]) -> None:
    # Unbuffered output would fail at the first write already, where argparse ignores it.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        run = subprocess.run(
            [sys.executable, "-m", "headway_client.cli", *arguments],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=environment,
        )
    assert (run.returncode, run.stderr) == (141, "")


def test_python_m_and_a_user_error_show_no_traceback(tmp_path: Path) -> None:
    run = headway("classify", "nowhere.png", cwd=tmp_path)
    assert run.returncode == 2
    assert run.stderr == "headway classify: nowhere.png: there is no such file; check the path\n"
