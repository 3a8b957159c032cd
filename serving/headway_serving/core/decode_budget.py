"""What decoding may take of the memory: one budget, shared by all requests.

Theory. What a picture takes is estimated from its header (``headway_contract.decoding.decode_cost``) and reserved
before anything is decoded; who finds no room waits for it, within its own time. Pictures are of two kinds. Small ones
(a sixteenth of the budget at most: photos, scaled as they are decoded) take milliseconds; large ones take seconds, and
somebody may send many. So large ones are decoded a few at a time, leave an eighth of the budget to small ones, and
each kind waits in its own line, in the order of arrival: nobody with a photo waits behind them. What would never fit
is refused at once.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from headway_contract.errors import ImageTooLarge
from headway_serving.core.admission import Signal
from headway_serving.core.errors import Overloaded

_SMALL_SHARE, _RESERVED_SHARE = 16, 8


@dataclass(eq=False, slots=True)
class _Waiting:
    needed: int
    signal: Signal
    started: bool = False


class DecodeBudget:
    """Bytes that are shared by the pictures being decoded. Safe for use by many threads and on an event loop."""

    def __init__(self, most_bytes: int, most_large: int, signal: Callable[[], Signal] = threading.Event) -> None:
        """``most_large``: how many large pictures are decoded at a time; ``signal`` makes what one waits for."""
        self._most, self._most_large, self._signal = most_bytes, most_large, signal
        self._lock = threading.Lock()
        self._used = self._large = 0
        self._lines: dict[bool, deque[_Waiting]] = {False: deque(), True: deque()}

    @property
    def used(self) -> int:
        """Bytes that are reserved now."""
        return self._used

    def is_large(self, needed: int) -> bool:
        """Whether a picture of so many bytes is one of those that are decoded a few at a time."""
        return needed > self._most // _SMALL_SHARE

    def reserved(self, needed: int, time_left: Callable[[], float]) -> "_Reserved":
        """A block in which so many bytes may be used; entering it waits for them.

        ``time_left``: seconds that the request has, more than 0; raises when there are none. Entering raises
        ``ImageTooLarge`` for what never fits, and :class:`Overloaded` if the time ends before there is room.
        """
        return _Reserved(self, needed, time_left)

    def take(self, needed: int, time_left: Callable[[], float]) -> None:
        """Wait for so many bytes. Raises as :meth:`reserved`."""
        large, room = self.is_large(needed), self._most - self._most // _RESERVED_SHARE
        if needed > room:
            raise ImageTooLarge(
                f"decoding the picture takes up to {needed:,} bytes of memory; at most {room:,} are used here "
                "(HEADWAY_MAX_DECODE_BYTES); send it smaller, or as JPEG"
            )
        seconds = time_left()
        with self._lock:
            if not self._lines[large] and self._fits(needed, large):
                self._start(needed, large)
                return
            waiting = _Waiting(needed, self._signal())
            self._lines[large].append(waiting)
        waiting.signal.wait(seconds)
        with self._lock:
            if waiting.started:
                return
            self._lines[large].remove(waiting)
        raise Overloaded(
            "the pictures that are decoded now fill the gateway's memory; try again in a moment", 1.0, "memory"
        )

    def give_back(self, needed: int) -> None:
        """End the use of bytes that were taken; those who find room now go on."""
        called = []
        with self._lock:
            self._used -= needed
            self._large -= self.is_large(needed)
            for large, line in self._lines.items():
                while line and self._fits(line[0].needed, large):
                    waiting = line.popleft()
                    waiting.started = True
                    self._start(waiting.needed, large)
                    called.append(waiting)
        for each in called:
            each.signal.set()

    def _fits(self, needed: int, large: bool) -> bool:
        if not large:
            return self._used + needed <= self._most
        return self._large < self._most_large and self._used + needed <= self._most - self._most // _RESERVED_SHARE

    def _start(self, needed: int, large: bool) -> None:
        self._used += needed
        self._large += large


class _Reserved:
    __slots__ = ("_budget", "_needed", "_time_left")

    def __init__(self, budget: DecodeBudget, needed: int, time_left: Callable[[], float]) -> None:
        self._budget, self._needed, self._time_left = budget, needed, time_left

    def __enter__(self) -> None:
        self._budget.take(self._needed, self._time_left)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._budget.give_back(self._needed)
