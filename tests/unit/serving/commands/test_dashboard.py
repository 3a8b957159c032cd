import json
from pathlib import Path

import pytest

from headway_serving.commands.dashboard import main


def test_without_a_name_the_boards_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out.split() == ["models", "rollout", "service"]


def test_a_board_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["service"]) == 0
    assert json.loads(capsys.readouterr().out)["uid"] == "headway-service"


def test_all_boards_are_written(tmp_path: Path) -> None:
    assert main(["--out", str(tmp_path / "boards")]) == 0
    assert sorted(path.name for path in (tmp_path / "boards").iterdir()) == [
        "models.json",
        "rollout.json",
        "service.json",
    ]


def test_what_is_no_board_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["speed"]) == 2
    assert capsys.readouterr().err == (
        "headway dashboard: there is no board 'speed'; there are models, rollout, service\n"
    )


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["--out", str(tmp_path / "file")]) == 2
    assert "cannot be written" in capsys.readouterr().err
