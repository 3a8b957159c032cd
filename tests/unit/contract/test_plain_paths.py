"""Whatever a folder is called, what is written under its plain path lies in it."""

import os
from pathlib import Path

import pytest

from headway_contract.plain_paths import is_plain, plain_path


@pytest.mark.parametrize("name", ["models", "mo dels", "mod-e.ls_2", "m\N{LATIN SMALL LETTER O WITH DIAERESIS}dels"])
def test_a_plain_path_stays_what_it_is(tmp_path: Path, name: str) -> None:
    with plain_path(tmp_path / name) as path:
        assert path == tmp_path / name


@pytest.mark.parametrize("name", ["models[2]", "mo]del", "mo\\dels", "mod*ls", "mod?ls", os.fsdecode(b"\xe9")])
def test_others_are_reached_by_a_link_that_is_gone_afterwards(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        (tmp_path / name).mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    monkeypatch.chdir(tmp_path)
    with plain_path(Path(name)) as path:
        assert is_plain(path)
        monkeypatch.chdir("/")
        (path / "file").write_text("here")
    assert (tmp_path / name / "file").read_text() == "here"
    assert not path.parent.exists()


def test_a_folder_for_temporary_files_of_such_a_name_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "[x]").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "[x]"))
    with plain_path(tmp_path / "[x]") as path:
        assert is_plain(path)
