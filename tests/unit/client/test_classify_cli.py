"""`headway classify`: exit codes, output, and one bad file among good ones."""

import io
import json
import os
import pty
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from headway_client.classify_cli import main
from tests.unit.client.client_fake_gateway import FakeGateway


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, made the current one, with two pictures and a text file."""
    Image.new("L", (28, 28)).save(tmp_path / "a.png")
    Image.new("RGB", (3, 2)).save(tmp_path / "longer.png")
    (tmp_path / "text.png").write_text("not a picture")
    monkeypatch.chdir(tmp_path)
    return tmp_path


Out = pytest.CaptureFixture[str]


def test_a_line_for_each_image_in_aligned_columns(gateway: FakeGateway, pictures: Path, capsys: Out) -> None:
    assert main(["a.png", "longer.png", "--url", gateway.url]) == 0

    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "a.png       28x28      98.75 %   cat 1.00 %, elephant 0.25 %",
        "longer.png  3x2        98.75 %   cat 1.00 %, elephant 0.25 %",
    ]
    assert err == ""


def test_json_is_one_object_a_line(gateway: FakeGateway, pictures: Path, capsys: Out) -> None:
    assert main(["a.png", "longer.png", "--json", "--top-k", "1", "--url", gateway.url]) == 0

    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first == {
        "path": "a.png",
        "model": "digits",
        "version": 2,
        "arm": "stable",
        "predictions": [{"label": "28x28", "score": 0.9875}],
        "request_id": "req-made-here",
    }
    assert second["path"] == "longer.png"


def test_a_bad_image_is_named_and_does_not_stop_the_others(gateway: FakeGateway, pictures: Path, capsys: Out) -> None:
    assert main(["a.png", "text.png", "longer.png", "--url", gateway.url]) == 1

    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == ["a.png", "longer.png"]
    assert err.startswith("headway classify: text.png: This is no picture; send a PNG or JPEG. [415 unsupported_image]")
    assert len(err.splitlines()) == 1


def test_a_missing_file_is_wrong_usage_and_does_not_stop_the_others(
    gateway: FakeGateway, pictures: Path, capsys: Out
) -> None:
    assert main(["nowhere.png", "a.png", ".", "--url", gateway.url]) == 2

    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == ["a.png"]
    assert "nowhere.png: there is no such file" in err
    assert ".: is a folder" in err


def test_a_missing_file_alone_needs_no_gateway(pictures: Path, capsys: Out) -> None:
    assert main(["nowhere.png", "--url", "http://127.0.0.1:1"]) == 2
    assert "nowhere.png" in capsys.readouterr().err


def test_options_reach_the_gateway(gateway: FakeGateway, pictures: Path) -> None:
    pinned = ["a.png", "--model", "digits", "--version", "1", "--min-confidence", "0.5", "--timeout", "3"]
    assert main([*pinned, "--url", gateway.url]) == 0
    assert main(["a.png", "--label", "stable", "--url", gateway.url]) == 0

    by_version, by_label = (seen for seen in gateway.seen if seen.method == "POST")
    assert by_version.path == "/v1/models/digits/versions/1:classify"
    assert by_version.query == {"min_confidence": "0.5"}
    assert by_version.headers["x-request-timeout-ms"] == "3000"
    assert by_label.path == "/v1/models/digits/labels/stable:classify"


def test_nothing_above_the_minimum_confidence_is_said(gateway: FakeGateway, pictures: Path, capsys: Out) -> None:
    assert main(["a.png", "--min-confidence", "1", "--url", gateway.url]) == 0
    assert capsys.readouterr().out == "a.png  no class reached the minimum confidence\n"


def test_the_url_comes_from_the_environment(
    gateway: FakeGateway, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWAY_URL", gateway.url)
    assert main(["a.png"]) == 0
    assert gateway.seen


def test_standard_input_is_a_dash(gateway: FakeGateway, pictures: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "headway_client.cli", "classify", "-", "--url", gateway.url],
        input=(pictures / "longer.png").read_bytes(),
        capture_output=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, b"")
    assert run.stdout.decode().split()[:2] == ["-", "3x2"]


@pytest.mark.parametrize("name", ["nosuch", "a b"])
def test_an_unknown_model_is_said_once(gateway: FakeGateway, pictures: Path, capsys: Out, name: str) -> None:
    assert main(["a.png", "longer.png", "--model", name, "--url", gateway.url]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "model_not_found" in line


def test_several_models_are_named_when_none_was_chosen(gateway: FakeGateway, pictures: Path, capsys: Out) -> None:
    gateway.models["letters"] = [1]
    assert main(["a.png", "--url", gateway.url]) == 1
    assert "digits, letters" in capsys.readouterr().err


def test_a_gateway_that_is_not_there_is_said_once(gateway: FakeGateway, pictures: Path, capsys: Out) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    assert main(["a.png", "longer.png", "--url", url]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"cannot reach {url}" in line


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a.png", "--version", "1", "--label", "stable"],
        ["a.png", "--version", "one"],
        ["a.png", "--top-k", "0"],
        ["a.png", "--min-confidence", "1.5"],
        ["a.png", "--min-confidence", "nan"],
        ["a.png", "--timeout", "0"],
        ["a.png", "--timeout", "inf"],
        ["a.png", "--nonsense"],
    ],
)
def test_wrong_usage_exits_2_with_the_usage(arguments: list[str], pictures: Path, capsys: Out) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: headway classify" in capsys.readouterr().err


def test_a_url_that_is_none_is_wrong_usage(pictures: Path, capsys: Out) -> None:
    assert main(["a.png", "--url", "localhost:8080"]) == 2
    assert "http://HOST:PORT" in capsys.readouterr().err


def test_a_file_name_that_is_no_utf8_can_be_shown(gateway: FakeGateway, pictures: Path) -> None:
    name = b"caf\xe9.png"
    (pictures / os.fsdecode(name)).write_bytes((pictures / "a.png").read_bytes())
    run = subprocess.run(
        [
            sys.executable.encode(),
            b"-m",
            b"headway_client.cli",
            b"classify",
            name,
            b"--url",
            gateway.url.encode(),
        ],
        capture_output=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, b"")
    assert run.stdout.startswith(b"caf\\xe9.png ")


@pytest.mark.parametrize(("no_color", "dimmed"), [(None, True), ("1", False)])
def test_runners_up_are_dim_on_a_terminal_only(
    gateway: FakeGateway, pictures: Path, no_color: str | None, dimmed: bool
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    if no_color:
        environment["NO_COLOR"] = no_color
    ours, theirs = pty.openpty()
    with io.FileIO(ours, "r") as terminal:
        command = [sys.executable, "-m", "headway_client.cli", "classify", "a.png", "--url", gateway.url]
        subprocess.run(command, stdout=theirs, env=environment, check=True)
        line = terminal.read(1000).decode()
        os.close(theirs)
    assert ("\x1b[2mcat 1.00 %, elephant 0.25 %\x1b[0m" in line) is dimmed
    assert line.startswith("a.png  28x28")


def test_file_names_are_printed_with_control_characters_escaped(
    gateway: FakeGateway, pictures: Path, capsys: Out
) -> None:
    evil = "a\x1b[2J\u202e.png"
    (pictures / "a.png").rename(pictures / evil)
    assert main([evil, "mis\x1bsing.png", "--url", gateway.url]) == 2
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    assert r"a\x1b[2J\u202e.png" in out
    assert r"mis\x1bsing.png" in err
