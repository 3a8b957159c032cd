"""How many records of one kind are written: a few in a while, and then how many there were more.

A fault that happens to every request would else fill the disk, and hide the line that says why.
"""

import logging
import threading
import time
from collections.abc import Callable

MOST = 20
"""Records of one kind (logger, level and the message before its arguments are filled in) that are written ..."""

SECONDS = 10.0
"""... in so many seconds; the others are counted."""

UNLIMITED = "headway.access"
"""Every line of this logger is another event."""

_MOST_KINDS = 1000


class _Kind:
    __slots__ = ("began", "last", "said", "unsaid")

    def __init__(self, began: float) -> None:
        self.began, self.said, self.unsaid = began, 0, 0
        self.last: logging.LogRecord | None = None


class RepeatLimit(logging.Filter):
    """Keeps back what repeats; ``emit`` writes a record past it. Safe for use by many threads."""

    def __init__(self, emit: Callable[[logging.LogRecord], None], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._emit, self._clock = emit, clock
        self._lock = threading.Lock()
        self._kinds: dict[tuple[str, int, str], _Kind] = {}
        self._look_at = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written."""
        if record.name == UNLIMITED:
            return True
        now = self._clock()
        with self._lock:
            over = self._over(now) if now >= self._look_at or len(self._kinds) > _MOST_KINDS else []
            kind = self._kinds.setdefault((record.name, record.levelno, str(record.msg)), _Kind(now))
            is_said = kind.said < MOST
            if is_said:
                kind.said += 1
            else:
                kind.unsaid += 1
                kind.last = record
        self._tell(over)
        return is_said

    def flush(self) -> None:
        """Say what was kept back until now."""
        with self._lock:
            over, self._kinds = list(self._kinds.values()), {}
        self._tell(over)

    def _over(self, now: float) -> list[_Kind]:
        self._look_at = now + 1.0
        over = [key for key, kind in self._kinds.items() if now - kind.began >= SECONDS]
        return [self._kinds.pop(key) for key in over]

    def _tell(self, kinds: list[_Kind]) -> None:
        for kind in kinds:
            record = kind.last
            if record is not None:
                text = f"{record.getMessage()} (said {kind.unsaid} times more)"
                told = logging.LogRecord(record.name, record.levelno, record.pathname, record.lineno, text, (), None)
                told.repeats = kind.unsaid
                self._emit(told)
