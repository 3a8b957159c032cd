"""One client's connection, without I/O: bytes in, decisions out (as h11 does it).

Rules

1. Every complete request is answered, in the order in which they came; one is worked on at a time.
2. Nothing is read while requests wait for their turn, or while the client does not take its answers.
3. What cannot become a request (no HTTP, too large a head, broken framing, a body that does not come) is answered as
   soon as that is known and its turn is there, and is the last.
4. All that waits is bounded: a head in bytes, headers and seconds; a body in bytes and seconds; all bodies together
   (:class:`Intake`); an idle connection, and a client that does not read, in seconds.
5. ``Upgrade`` is ignored, as a server may (RFC 9110, 7.8): the request is answered as any other.

Theory of operation. Two things go on side by side: *reading* (:mod:`.reading`) puts complete requests on a queue, and
*answering* takes them from it, one after the other. Reading is paused while anything waits; its time then stands still,
because what does not come is not the client's fault. When reading is CLOSED and all is answered, the connection is
closed. Where the client may still be sending then, only the writing side ends, and what comes is read and dropped for
``LINGER_SECONDS``: a system that closes with unread input resets the connection, and the client may lose the answer
that it has not read yet.
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum

from headway_serving.gateway.requests.exchange import Answer
from headway_serving.gateway.server.answer_bytes import DateLine, answer_bytes
from headway_serving.gateway.server.reading import KEEP_ALIVE_SECONDS, Intake, Reading, Ready, Request, RequestReader

LINGER_SECONDS = 2.0
"""How long what still comes is read and dropped after the last answer."""


@dataclass(frozen=True, slots=True)
class Send:
    """Write these bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Work:
    """Have this request answered, then call ``Connection.answered``."""

    request: Request


class Control(Enum):
    """What else is to be done: with reading, with the writing side, and with the connection."""

    PAUSE = "read no more for now"
    RESUME = "read again"
    END_WRITING = "nothing more will be sent"
    CLOSE = "close, when all is written"
    ABORT = "close at once"


Decision = Send | Work | Control


class Connection:
    """The state of one connection. Each method returns what is to be done, in order.

    ``now`` is the time on the monotonic clock, seconds.
    """

    def __init__(self, intake: Intake, date: DateLine, now: float) -> None:
        self._intake, self._date = intake, date
        self._queue: deque[Request | Ready] = deque()
        self._reader = RequestReader(intake, self._queue, now)
        self._out: list[Decision] = []
        self._working: Request | None = None
        self._paused = self._blocked = self._gone = False
        # Whether the client has ended its side, and whether we have ended ours.
        self._input_ended = self._output_ended = False
        self._write_by: float | None = None

    @property
    def deadline(self) -> float | None:
        """When :meth:`expired` is to be called, on the clock of ``now``; None for never."""
        if self._gone:
            return None
        reader = self._reader
        waits_for_us = self._paused or (reader.state in (Reading.IDLE, Reading.CLOSED) and not self._idle())
        read_by = None if waits_for_us else reader.read_by
        return min((each for each in (read_by, self._write_by) if each is not None), default=None)

    def received(self, data: bytes, now: float) -> list[Decision]:
        """The client has sent something."""
        self._reader.received(data, now)
        return self._decisions(now)

    def input_ended(self, now: float) -> list[Decision]:
        """The client sends no more; it may still read (a half-close)."""
        self._reader.input_ended(now)
        self._input_ended = True
        return self._decisions(now)

    def answered(self, answer: Answer, now: float) -> list[Decision]:
        """The request that was to be worked on has this answer."""
        request, self._working = self._working, None
        assert request is not None
        self._intake.release(request.held)
        if self._gone:
            return []
        self._send(answer, is_last=request.is_last, to_head=request.method == b"HEAD")
        if self._reader.state is Reading.IDLE:
            self._reader.allow_time(now)
        return self._decisions(now)

    def writable(self, now: float, *, writable: bool) -> list[Decision]:
        """The client takes its answers again, or does not."""
        self._blocked = not writable
        self._write_by = None if writable else now + KEEP_ALIVE_SECONDS
        return self._decisions(now)

    def expired(self, now: float) -> list[Decision]:
        """The deadline has passed."""
        if self._write_by is not None and self._write_by <= now:
            return [Control.ABORT]
        if self._output_ended:
            self._reader.read_by = None
            return [Control.CLOSE]
        self._reader.expired(now)
        return self._decisions(now)

    def drain(self, now: float) -> list[Decision]:
        """The server stops: what has begun is answered, and its answer is the last."""
        self._reader.draining = True
        if self._reader.state is Reading.IDLE and self._idle():
            self._reader.state = Reading.CLOSED
            return self._decisions(now)
        return [Control.CLOSE] if self._output_ended else []

    def lost(self) -> None:
        """The connection is gone."""
        self._intake.release(sum(each.held for each in self._queue if isinstance(each, Request)))
        self._queue.clear()
        self._reader.lost()
        self._gone = True

    def _idle(self) -> bool:
        return self._working is None and not self._queue

    def _decisions(self, now: float) -> list[Decision]:
        """Begin what can begin now, and say what is to be done."""
        while self._queue and self._working is None and not (self._blocked or self._output_ended):
            first = self._queue.popleft()
            if isinstance(first, Request):
                self._working = first
                self._out.append(Work(first))
            elif first.answer is None:
                self._out.append(Send(first.data))
            else:
                self._send(first.answer, is_last=first.is_last, to_head=first.to_head)
        if self._reader.state is Reading.CLOSED and self._idle() and not self._output_ended:
            self._end_output(now)
        elif self._output_ended and self._input_ended:
            self._out.append(Control.CLOSE)
        if self._queue or self._blocked or self._paused:
            self._pause_or_resume(now)
        out, self._out = self._out, []
        return out

    def _send(self, answer: Answer, *, is_last: bool, to_head: bool) -> None:
        reader = self._reader
        is_last = is_last or (reader.draining and reader.state is Reading.IDLE and not self._queue)
        self._intake.count_answer(answer.status)
        self._out.append(Send(answer_bytes(answer, self._date, closes=is_last, to_head=to_head)))
        if is_last:
            reader.state = Reading.CLOSED
            self._queue.clear()

    def _end_output(self, now: float) -> None:
        """All is answered, and nothing more is read."""
        self._output_ended = True
        if (self._reader.unread or self._paused) and not self._input_ended:
            self._out.append(Control.END_WRITING)
            self._reader.read_by = now + LINGER_SECONDS
        else:
            self._out.append(Control.CLOSE)

    def _pause_or_resume(self, now: float) -> None:
        waits = (bool(self._queue) or self._blocked) and not self._output_ended
        if waits and not self._paused:
            self._paused = True
            self._out.append(Control.PAUSE)
        elif self._paused and not waits:
            self._paused = False
            self._out.append(Control.RESUME)
            self._reader.allow_time(now)
