"""A child process that is started again when it dies, stopped with all that it has started, and ended with its parent.

The parent may be killed (``kill -9``) and then stops nothing. On Linux the kernel kills the child in that moment,
whatever program it is; elsewhere it lives on, and the port that it holds says so to the next parent.
"""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

_log = logging.getLogger("headway.serve")

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 10.0
_HEALTHY_SECONDS = 30.0
"""A child that lived this long is started again at once; one that dies sooner waits twice as long each time."""

_PR_SET_PDEATHSIG = 1


class ManagedProcess:
    """One child in a process group of its own, so that a terminal's Ctrl-C reaches only the supervisor."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], stderr: int | None = None
    ) -> None:
        """``stderr``: the descriptor that is its standard error; None: ours."""
        self.name, self._stderr = name, stderr
        self._command = list(command)
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._pause = 0.0
        self._start_again_at: float | None = None
        self.restarts = 0

    def start(self) -> None:
        """Start the child, from the thread that lives as long as this process. Raises OSError if it cannot be run."""
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            stderr=self._stderr,
            start_new_session=True,
            preexec_fn=_end_with_parent(),  # noqa: PLW1509  # calls two functions of C, and takes no lock
        )
        self._started_at = time.monotonic()
        self._start_again_at = None

    def exit_code(self) -> int | None:
        """The exit code of a child that has ended, else None."""
        return None if self._process is None else self._process.poll()

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def revive(self) -> None:
        """Start the child again if it has ended, after a pause that grows while it keeps dying; never blocks."""
        code = self.exit_code()
        if code is None:
            return
        now = time.monotonic()
        if self._start_again_at is None:
            # What the child has started must not outlive it: it would hold the port.
            self._signal_group(signal.SIGKILL)
            lived_well = now - self._started_at > _HEALTHY_SECONDS
            self._pause = 0.0 if lived_well else min(max(_FIRST_PAUSE_SECONDS, self._pause * 2), _LONGEST_PAUSE_SECONDS)
            self._start_again_at = now + self._pause
            _log.warning("the %s ended with %s; starting it again", self.name, _described(code))
        if now >= self._start_again_at:
            try:
                self.start()
                self.restarts += 1
            except OSError as error:
                # A program that is being replaced at this moment will be there in a while.
                _log.error("the %s cannot be started: %s; trying again", self.name, error)
                self._start_again_at = now + _LONGEST_PAUSE_SECONDS

    def stop(self, grace_seconds: float) -> None:
        """Ask the child to end, wait up to ``grace_seconds`` for it to finish its work, then end it."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(grace_seconds)
            except subprocess.TimeoutExpired:
                _log.warning("the %s did not end within %g s; killing it", self.name, grace_seconds)
        self._signal_group(signal.SIGKILL)
        self._process.wait()

    def _signal_group(self, number: int) -> None:
        assert self._process is not None
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return


def _end_with_parent() -> Callable[[], None] | None:
    """What the child runs before its program: a request to the kernel that the program inherits."""
    if sys.platform != "linux":
        return None
    # Found before the fork: after it, a lock that another thread held would never be released.
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            # It died before the request was made.
            os._exit(1)

    return ask


def _described(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
