"""A function called again and again on its own thread, without busy waiting."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)


class PeriodicTask:
    """Calls ``function`` at the start, then every ``period_seconds`` and whenever ``nudge`` is called.

    A period of None means only at the start and on nudges. An exception is logged and ends nothing.
    """

    def __init__(self, function: Callable[[], None], *, period_seconds: float | None, name: str) -> None:
        self._function = function
        self._period = period_seconds
        self._changed = threading.Condition()
        self._nudged = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; the first call follows at once."""
        self._thread.start()

    def nudge(self) -> None:
        """Have the next call made now instead of at the end of the period."""
        with self._changed:
            self._nudged = True
            self._changed.notify()

    def stop(self) -> None:
        """Have no further call made; one that is running ends by itself."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def _run(self) -> None:
        while not self._stopping:
            self._nudged = False
            try:
                self._function()
            except Exception:
                logger.exception("%s failed and will be tried again", self._thread.name)
            with self._changed:
                self._changed.wait_for(lambda: self._nudged or self._stopping, timeout=self._period)
