"""One queue of requests: who is worked on now, who waits, and who is refused because too much is asked.

Rules

1. Up to ``limit`` rows (pictures) are worked on at the same time; whoever comes then waits. That is no refusal: a burst
   is a good queue, which empties by itself.
2. Whoever could not be answered within its time is refused when it comes.
3. A queue that *stands* is a bad one: it adds delay and no throughput. Then the queue sheds: those who have waited
   longer than the target are refused, and more until the wait is below it; and whoever comes is refused as long as the
   wait is above its share of half the target. So the others are answered in good time.
4. While the wait is above the target and the queue fills or sheds, the newest request is served first, so that not all
   are late; but one that has waited for half of its time (when shedding: for the target) goes before all newer ones.
5. Shedding ends when no request was refused for a second. If the wait is above the target again within an interval,
   shedding begins again at once.

Theory of operation. What tells a good queue from a bad one is the *shortest* wait within an interval (CoDel: Nichols
and Jacobson, ACM Queue 2012; RFC 8289). Here the wait is what a newcomer would have before it: rows that wait by rows
that are answered a second, which is known at once, where the time that somebody has waited is only known when it is
over. Time is cut into slots as long as the target, and of each the shortest wait is kept, for an interval of 20 slots
(CoDel's proportion: 5 and 100 ms).

=========  =======================================================  ===================================================
the queue  the shortest waits of its slots                          what is done
=========  =======================================================  ===================================================
empties    one is below the target, or they fall                    nothing: it was a burst
stands     all are above it for the interval, and about the same    shed (rule 3)
fills      they rise                                                nothing, it may be a burst, until a newcomer would
                                                                    need most of its time: then shed
=========  =======================================================  ===================================================

Clients that wait for their answers before they ask again make a queue that stands, as long as they are many: up to
``most`` requests are never too many. Serving the newest first under overload: Maurer, *Fail at Scale*, ACM Queue 2015.

How many are worked on (``limit``): as many as keep the calls to the model filled, which those who make them know
(``wanted`` of a request that has ended). More would only move the queue to where its order is fixed.
"""

import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from headway_serving.core.errors import Overloaded

INTERVAL_SLOTS = 20
"""Slots, each as long as the target, for which a queue must stand."""

_FILLING_SLOTS = 4
_STEADY = 0.85
"""The shortest of an interval's waits over the longest, from which on they count as about the same."""

_MOST_OF_ITS_TIME = 0.85
_RISE = 0.25
"""Of the target: a wait that is longer by so much than the shortest of the last slot is that of a queue that fills."""

_CALM_SECONDS = 1.0
_LEAST = 8
"""Rows that are worked on at the same time at least: decoding, the model and the answers overlap."""

_SMOOTHING = 0.2
_HALF = 0.5


@dataclass(frozen=True)
class QueueLimits:
    """``most``: rows worked on at the same time. ``target_seconds``: a wait that a standing queue may have.

    ``usual_seconds``: the time of a request that asks for none.
    """

    most: int = 96
    target_seconds: float = 0.25
    usual_seconds: float = 10.0


class Ticket:
    """A request in a queue. ``started``: it is worked on; ``refused``: it will not be.

    ``called`` is called once, when either becomes true of one that had to wait.
    """

    __slots__ = ("arrived", "called", "gone", "patience", "refused", "rows", "started")

    def __init__(self, rows: int, arrived: float, patience: float) -> None:
        self.rows, self.arrived, self.patience = rows, arrived, patience
        self.started = self.refused = self.gone = False
        self.called: Callable[[], None] = _nobody


def _nobody() -> None:
    pass


class RequestQueue:
    """The state machine above, without threads or a clock: ``now`` is the time on a monotonic clock, seconds.

    Methods that let others go on return their tickets; whoever calls them calls ``called`` of each.
    """

    def __init__(self, limits: QueueLimits, now: float) -> None:
        self._limits = limits
        self.limit = limits.most
        self.shedding = False
        self.serving = 0
        self.waiting = 0
        self._line: deque[Ticket] = deque()
        # Rows answered a second while some waited; None until that is known.
        self._rate: float | None = None
        self._sample_began, self._sample_rows, self._sample_busy = now, 0, False
        self._slot_ends, self._low = now + limits.target_seconds, 0.0
        self._lows: deque[float] = deque(maxlen=INTERVAL_SLOTS)
        self._refused_at = self._shed_until = -1e9

    @property
    def wait(self) -> float:
        """Seconds until all who wait now will be worked on, as far as that is known."""
        return self.waiting / self._rate if self.waiting and self._rate else 0.0

    def arrive(self, rows: int, time_left: float, share: float, now: float) -> tuple[Ticket, list[Ticket]]:
        """A request of so many rows comes: its ticket, which may be refused, and others that are refused now.

        ``share`` (0 to 1) of half the target is the wait up to which it is let in while the queue sheds.
        """
        ticket = Ticket(rows, now, _HALF * time_left)
        if not self._line and self.serving < self.limit:
            self._start(ticket)
            return ticket, []
        # The state changes only when a request comes or ends: bring it up to date first.
        refused = self._pass_time(now)
        if self.refuses(share, now) or self.wait > time_left:
            self._refused_at, ticket.refused = now, True
            return ticket, refused
        self._line.append(ticket)
        self.waiting += rows
        return ticket, refused

    def refuses(self, share: float, now: float) -> bool:
        """Whether a newcomer is refused now because the queue sheds."""
        if not self.sheds(now) or self.wait <= _HALF * share * self._limits.target_seconds:
            return False
        self._refused_at = now
        return True

    def sheds(self, now: float) -> bool:
        """Whether the queue still sheds (rule 5)."""
        if self.shedding and now - self._refused_at > _CALM_SECONDS:
            self.shedding, self._shed_until = False, self._refused_at + _CALM_SECONDS
        return self.shedding

    def is_free(self, share: float) -> bool:
        """Whether no request waits, and less than ``share`` of the limit is in use."""
        return not self._line and self.serving < max(1.0, share * self.limit)

    def leave(self, ticket: Ticket, now: float, wanted: int | None = None) -> list[Ticket]:
        """A request that was worked on has ended: those who go on now.

        ``wanted``: rows that should be worked on at the same time, as it has shown.
        """
        self.serving -= ticket.rows
        self._sample_rows += ticket.rows
        if wanted is not None:
            most = self._limits.most
            self.limit = min(most, max(_LEAST, wanted))
        # Before the rate of a stall is known: it says nothing about the wait in it.
        called = self._pass_time(now) if self._line else []
        if now - self._sample_began >= self._limits.target_seconds:
            self._end_sample(now)
        if not self._line:
            self._sample_busy, self._low = False, 0.0
            self.sheds(now)
            return called
        while self._line and self.serving < self.limit:
            called.append(self._next(now))
        return called

    def give_up(self, ticket: Ticket) -> None:
        """A request that waits goes away."""
        if not (ticket.started or ticket.refused or ticket.gone):
            ticket.gone = True
            self.waiting -= ticket.rows
            self._forget_gone()

    def overloaded(self, reason: str = "limit") -> Overloaded:
        """The error of a request that is refused now, with the seconds until those who wait will be worked on."""
        rows = self.serving + self.waiting
        return Overloaded(
            f"{rows} pictures are waiting or worked on, as many as can be in good time", self.wait, reason
        )

    def _start(self, ticket: Ticket) -> None:
        ticket.started = True
        self.serving += ticket.rows

    def _next(self, now: float) -> Ticket:
        """Who is worked on next (rule 4); taken from the line."""
        oldest = self._line[0]
        patience = self._limits.target_seconds if self.shedding else oldest.patience
        newest_first = self._is_too_long() and now - oldest.arrived < patience
        ticket = self._line.pop() if newest_first else self._line.popleft()
        self.waiting -= ticket.rows
        self._forget_gone()
        self._start(ticket)
        return ticket

    def _is_too_long(self) -> bool:
        target = self._limits.target_seconds
        before = self._lows[-1] if self._lows else 0.0
        return self.wait > target and (self.shedding or self.wait > before + _RISE * target)

    def _forget_gone(self) -> None:
        while self._line and self._line[0].gone:
            self._line.popleft()
        while self._line and self._line[-1].gone:
            self._line.pop()

    def _end_sample(self, now: float) -> None:
        """Learn how much is answered."""
        rate = self._sample_rows / (now - self._sample_began)
        if self._rate is None:
            # A first sample that took as long as this was a stall, or its model takes longer than anybody waits for.
            is_short = now - self._sample_began < INTERVAL_SLOTS * self._limits.target_seconds
            self._rate = rate if self._sample_busy and is_short else None
        elif self._sample_busy:
            self._rate += _SMOOTHING * (rate - self._rate)
        else:
            self._rate = max(self._rate, rate)
        self._sample_began, self._sample_rows, self._sample_busy = now, 0, bool(self._line)

    def _pass_time(self, now: float) -> list[Ticket]:
        """Keep the shortest wait of each slot; at a slot's end, see how the queue does: those who are refused then."""
        wait = self.wait
        if now < self._slot_ends:
            self._low = min(self._low, wait)
            return []
        target = self._limits.target_seconds
        self._lows.append(min(self._low, wait))
        # Nothing has happened in the slots that were skipped.
        skipped = min(INTERVAL_SLOTS, int((now - self._slot_ends) / target))
        self._lows.extend([wait] * skipped)
        self._slot_ends, self._low = now + target, wait
        if self.shedding or not (self._stands() or self._fills() or self._relapses(now)):
            return []
        self.shedding, self._refused_at = True, now
        return self._refuse_the_late(now)

    def _stands(self) -> bool:
        lowest = min(self._lows)
        return (
            len(self._lows) == INTERVAL_SLOTS
            and lowest > self._limits.target_seconds
            and lowest >= _STEADY * max(self._lows)
            and self.serving + self.waiting > self._limits.most
        )

    def _fills(self) -> bool:
        recent = list(self._lows)[-_FILLING_SLOTS:]
        return (
            len(recent) == _FILLING_SLOTS
            and min(recent) > self._limits.target_seconds
            and all(before < after for before, after in itertools.pairwise(recent))
            and recent[-1] > _MOST_OF_ITS_TIME * self._limits.usual_seconds
        )

    def _relapses(self, now: float) -> bool:
        target = self._limits.target_seconds
        return now - self._shed_until < INTERVAL_SLOTS * target and self._lows[-1] > target

    def _refuse_the_late(self, now: float) -> list[Ticket]:
        late = []
        for each in self._line:
            if each.gone:
                continue
            if now - each.arrived <= self._limits.target_seconds >= self.wait:
                break
            each.refused = True
            self.waiting -= each.rows
            late.append(each)
        self._line = deque(each for each in self._line if not (each.refused or each.gone))
        return late
