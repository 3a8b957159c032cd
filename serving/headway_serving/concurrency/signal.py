"""What code waits for until other code sets it: in a thread of its own, or on an event loop without blocking it."""

import asyncio
import threading

from headway_serving.concurrency.event_loop import running_loop, wait_for


class Signal:
    """Set once. For the one who has made it to wait for, and for anybody to set."""

    __slots__ = ("_event", "loop")

    def __init__(self) -> None:
        self.loop = running_loop()
        self._event: asyncio.Future[bool] | threading.Event = (
            threading.Event() if self.loop is None else self.loop.create_future()
        )

    def wait(self, timeout: float) -> bool:
        """Wait until it is set, ``timeout`` seconds at most; whether it is."""
        if isinstance(self._event, threading.Event):
            return self._event.wait(timeout)
        assert self.loop is not None
        alarm = self.loop.call_later(timeout, self._end, False)
        try:
            return wait_for(self._event)
        finally:
            alarm.cancel()

    def set(self) -> None:
        """Let the one who waits go on; from any thread."""
        if isinstance(self._event, threading.Event):
            self._event.set()
        elif self.loop is running_loop():
            self._end(True)
        # On a closed loop no request waits any more.
        elif self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._end, True)

    def _end(self, is_set: bool) -> None:
        assert not isinstance(self._event, threading.Event)
        if not self._event.done():
            self._event.set_result(is_set)
