"""SIGTERM and SIGINT as an event that threads can wait for."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Termination:
    """Waits for the two signals on a thread of its own.

    They are blocked everywhere else, so that no lock is ever held by an interrupted handler. Create it on the
    main thread before any other thread starts: threads inherit the blocking.
    """

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._lock = threading.Lock()
        self._actions: list[Callable[[], None]] = []
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        threading.Thread(target=self._run, name="termination", daemon=True).start()

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self._requested.is_set()

    def wait(self) -> None:
        """Return when a signal has come."""
        self._requested.wait()

    def on_request(self, action: Callable[[], None]) -> None:
        """Have ``action`` called when a signal comes, or now if one came already."""
        with self._lock:
            self._actions.append(action)
            come = self.requested
        if come:
            action()

    def _run(self) -> None:
        signal.sigwait(_SIGNALS)
        with self._lock:
            self._requested.set()
            actions = list(self._actions)
        for action in actions:
            action()
