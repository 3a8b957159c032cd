"""Real child processes: started again when they die, and stopped with everything they have started."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from headway_serving.operations.managed_process import ManagedProcess
from tests.support.waiting import eventually

# Writes "<its own pid> <pid of a child of its own>" to the file given, then lives on.
PARENT = """
import os, pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
file = pathlib.Path(sys.argv[1])
file.with_suffix(".new").write_text(f"{os.getpid()} {child.pid}")
file.with_suffix(".new").rename(file)
time.sleep(600)
"""
GRACEFUL = """
import pathlib, signal, sys, time
file = pathlib.Path(sys.argv[1])
def finish(*_):
    time.sleep(0.2)
    file.write_text("finished its work")
    sys.exit(0)
signal.signal(signal.SIGTERM, finish)
file.write_text("ready")
while True:
    time.sleep(600)
"""
DEAF = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).write_text("ready")
time.sleep(600)
"""

Manage = Callable[..., ManagedProcess]


@pytest.fixture
def note(tmp_path: Path) -> Path:
    """The file that a child writes to."""
    return tmp_path / "note"


@pytest.fixture
def manage(note: Path) -> Iterator[Manage]:
    managed = []

    def manage(script: str) -> ManagedProcess:
        child = ManagedProcess("child", [sys.executable, "-c", script, str(note)], dict(os.environ))
        managed.append(child)
        return child

    yield manage
    for child in managed:
        child.stop(grace_seconds=0.0)


def pids(note: Path) -> tuple[int, int]:
    eventually(note.exists, "the child has started")
    parent, grandchild = note.read_text().split()
    return int(parent), int(grandchild)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_killed_child_is_started_again_without_its_left_overs(manage: Manage, note: Path) -> None:
    child = manage(PARENT)
    child.start()
    parent, grandchild = pids(note)
    note.unlink()
    os.kill(parent, signal.SIGKILL)

    def revived() -> bool:
        child.revive()
        return note.exists()

    eventually(revived, "the child runs again")
    assert gone(grandchild)
    new_parent, new_grandchild = pids(note)
    assert {new_parent, new_grandchild}.isdisjoint({parent, grandchild})
    assert child.exit_code() is None


def test_a_child_that_dies_young_is_not_started_again_at_once(manage: Manage, caplog: pytest.LogCaptureFixture) -> None:
    child = manage("raise SystemExit(3)")
    child.start()
    eventually(lambda: child.exit_code() is not None, "the child has ended")
    child.revive()
    assert child.exit_code() == 3
    assert "the child ended with exit code 3; starting it again" in caplog.text


def test_a_child_that_lives_is_left_alone(manage: Manage, note: Path) -> None:
    child = manage(PARENT)
    child.start()
    parent, grandchild = pids(note)
    child.revive()
    assert child.exit_code() is None
    assert not gone(parent)
    assert not gone(grandchild)


def test_stopping_ends_what_the_child_has_started(manage: Manage, note: Path) -> None:
    child = manage(PARENT)
    child.start()
    _, grandchild = pids(note)
    child.stop(grace_seconds=30)
    assert child.exit_code() == -signal.SIGTERM
    eventually(lambda: gone(grandchild), "the grandchild has ended")


def test_stopping_waits_for_work_to_finish(manage: Manage, note: Path) -> None:
    child = manage(GRACEFUL)
    child.start()
    eventually(lambda: note.exists() and note.read_text() == "ready", "the child listens")
    child.stop(grace_seconds=30)
    assert child.exit_code() == 0
    assert note.read_text() == "finished its work"


def test_a_child_that_ignores_the_request_is_killed(
    manage: Manage, note: Path, caplog: pytest.LogCaptureFixture
) -> None:
    child = manage(DEAF)
    child.start()
    eventually(lambda: note.exists() and note.read_text() == "ready", "the child ignores SIGTERM")
    child.stop(grace_seconds=0.3)
    assert child.exit_code() == -signal.SIGKILL
    assert "did not end within 0.3 s; killing it" in caplog.text


def test_a_child_that_never_started_can_be_stopped(manage: Manage) -> None:
    child = manage(DEAF)
    child.stop(grace_seconds=30)
    assert child.exit_code() is None


def test_a_program_that_cannot_be_run_is_told_at_start(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nothing"):
        ManagedProcess("child", [str(tmp_path / "nothing")], {}).start()


def test_a_child_does_not_outlive_a_parent_that_is_killed(note: Path) -> None:
    """Not even one that ignores every request to end."""
    supervisor = (
        "import os, sys, time\n"
        "from headway_serving.operations.managed_process import ManagedProcess\n"
        "ManagedProcess('child', [sys.executable, '-c', sys.argv[1], sys.argv[2]], dict(os.environ)).start()\n"
        "time.sleep(600)"
    )
    deaf = DEAF.replace('"ready"', "str(__import__('os').getpid())")
    parent = subprocess.Popen([sys.executable, "-c", supervisor, deaf, str(note)])
    try:
        eventually(lambda: note.exists() and note.read_text() != "", "the child runs")
        child = int(note.read_text())
        assert not gone(child)
    finally:
        parent.kill()
        parent.wait()
    eventually(lambda: gone(child), "the child has ended with its parent")
