"""``write_atomically`` shows readers the old bytes or the new ones, and keeps the old ones when it fails."""

import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from headway_contract.durable_files import write_atomically


def test_it_makes_and_replaces_a_file(tmp_path: Path) -> None:
    path = tmp_path / "routes.json"
    for content in (b"first", b"", b"second, which is longer"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_other_users_can_read_the_file(tmp_path: Path) -> None:
    write_atomically(tmp_path / "routes.json", b"{}")
    assert stat.S_IMODE((tmp_path / "routes.json").stat().st_mode) == 0o644


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from headway_contract.durable_files import write_atomically

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_atomically(Path(sys.argv[1]), bytes(100_000))
except OSError as error:
    sys.exit(f"refused: {error.strerror}")
"""
"""Writes more than the process may: the operating system fails in the middle, as on a full disk."""


def test_a_write_that_fails_in_the_middle_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "routes.json"
    path.write_bytes(b"old")
    run = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=False)
    assert run.stderr.startswith("refused: ")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_target_that_cannot_be_replaced_stays_and_nothing_is_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "routes.json"
    (path / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="irectory"):
        write_atomically(path, b"new")
    assert list(tmp_path.iterdir()) == [path]
    assert (path / "inside").is_dir()


def test_a_missing_parent_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "absent" / "routes.json", b"{}")


def test_readers_never_see_a_part(tmp_path: Path) -> None:
    path = tmp_path / "routes.json"
    versions = [bytes([number]) * 50_000 for number in range(40)]
    write_atomically(path, versions[0])
    done = threading.Event()
    seen: list[bytes] = []

    def read() -> None:
        while not done.is_set():
            seen.append(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for content in versions:
            write_atomically(path, content)
    finally:
        done.set()
        reader.join()
    assert seen
    assert set(seen) <= set(versions)
