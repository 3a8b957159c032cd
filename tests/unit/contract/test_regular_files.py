"""A pipe, a device or a socket in the place of a file is refused at once; regular files are read, through links too."""

import os
import socket
from pathlib import Path

import pytest

from headway_contract.regular_files import followed, read_regular_file


def test_a_file_is_read_through_links(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_regular_file(tmp_path / "link") == b"content"


def test_what_would_block_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    for name in ("pipe", "zeros"):
        with pytest.raises(OSError, match="not a regular file") as refused:
            read_regular_file(tmp_path / name)
        assert refused.value.filename == str(tmp_path / name)


def test_folders_sockets_and_absent_files_are_the_operating_systems_errors(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="Is a directory"):
        read_regular_file(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_regular_file(tmp_path / "absent")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "socket"))
        with pytest.raises(OSError, match="No such device"):
            read_regular_file(tmp_path / "socket")


def test_a_path_is_followed_to_what_need_not_be_there_and_not_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    assert followed(tmp_path / "link") == tmp_path.resolve() / "file"
    (tmp_path / "one").symlink_to("other")
    (tmp_path / "other").symlink_to("one")
    with pytest.raises(OSError, match="a link that leads to itself") as refused:
        followed(tmp_path / "one")
    assert refused.value.filename == str(tmp_path / "one")
