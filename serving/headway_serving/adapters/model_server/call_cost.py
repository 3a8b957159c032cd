"""What a call to a model costs: a part that is fixed, and a part for each row; and how many rows a call may have.

Theory of operation. A call over a slow network, or to a GPU, takes long whatever it carries; one to a large network on
this machine takes as long as its rows. Which it is, one size of call cannot tell: ten rows in 50 ms may be 5 ms each or
50 ms for anything. So the seconds of calls are kept by their size, in powers of two, for as long as they are new, and

* where two sizes are known, what a row adds is the difference between the smallest and the largest, and a call may have
  as many rows as add ``target_seconds``, whatever it costs beside. What is fixed cannot be saved by small calls;
* where one size is known, its rows may be all that it costs;
* of much larger calls than were seen nothing is known: a call may have at most twice the rows of the largest, and if
  one size is known and its calls are short, it may have so many (exploring). Then two sizes are known.
"""

import time
from collections.abc import Callable

MEMORY_SECONDS = 3.0
"""For how long a size's seconds count after its last call: servers get busy, and networks slow."""

_SMOOTHING = 0.2
_NEVER = float("-inf")


class CallCost:
    """Learns from calls. One thread or several: a race loses one measurement, which does no harm."""

    def __init__(self, most_rows: int, target_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """``most_rows`` in one call, whatever it costs; ``target_seconds`` that the rows of a call may add."""
        self._most, self._target, self._clock = most_rows, target_seconds, clock
        sizes = most_rows.bit_length() + 1
        self._rows = [0.0] * sizes
        self._seconds = [0.0] * sizes
        self._measured_at = [_NEVER] * sizes
        self.max_rows = most_rows
        """Rows that one call may have now."""
        self.row_seconds = 0.0
        """What a row adds to a call, as far as that is known."""

    def measured(self, rows: int, seconds: float) -> None:
        """Learn from a call of so many rows that took so long."""
        now, size = self._clock(), rows.bit_length()
        if size >= len(self._rows):
            return
        weight = _SMOOTHING if now - self._measured_at[size] <= MEMORY_SECONDS else 1.0
        self._rows[size] += weight * (rows - self._rows[size])
        self._seconds[size] += weight * (seconds - self._seconds[size])
        self._measured_at[size] = now
        known = [each for each, at in enumerate(self._measured_at) if now - at <= MEMORY_SECONDS]
        self.max_rows = max(1, min(self._most, self._bound(known)))

    def _bound(self, known: list[int]) -> int:
        smallest, largest = known[0], known[-1]
        rows, seconds = self._rows[largest], self._seconds[largest]
        least = 0.0
        if smallest == largest:
            self.row_seconds = seconds / rows  # at most
            least = 2 * rows if rows < 2 or seconds <= self._target else 0.0
            if self.row_seconds * self._most <= self._target:
                return self._most
        else:
            self.row_seconds = max(0.0, seconds - self._seconds[smallest]) / (rows - self._rows[smallest])
        bound = self._target / max(self.row_seconds, self._target / self._most)
        return int(max(least, min(bound, 2 * rows)))
