"""An intake that does as a test says, and a client's view of a connection without I/O."""

import re
from dataclasses import dataclass, field

from headway_serving.gateway.requests.exchange import Answer
from headway_serving.gateway.server.answer_bytes import DateLine
from headway_serving.gateway.server.connection import Connection, Control, Decision, Send, Work
from headway_serving.gateway.server.reading import Request

OK = Answer(200, [("X-Answer", "yes")], b"fine")


@dataclass
class ScriptedIntake:
    """``refuses``: targets that are refused at their heads; ``held``: bytes of bodies that are counted now."""

    max_body_bytes: int = 1000
    max_held: int = 10_000
    refuses: set[bytes] = field(default_factory=set)
    held: int = 0
    answered: list[int] = field(default_factory=list)

    def refusal(self, request: Request) -> Answer | None:
        return Answer(503, (), b"no room") if request.target in self.refuses else None

    def problem(self, status: int, detail: str) -> Answer:
        return Answer(status, (), detail.encode())

    def body_seconds(self, _: Request) -> float:
        return 5.0

    def count_answer(self, status: int) -> None:
        self.answered.append(status)

    def hold(self, size: int) -> bool:
        if self.held + size > self.max_held:
            return False
        self.held += size
        return True

    def release(self, size: int) -> None:
        self.held -= size


class Client:
    """What a client and the server around it see: answers that were sent, requests to work on, what else was decided.

    ``now`` is the clock. Requests wait in ``working`` until :meth:`answer`.
    """

    def __init__(self, intake: ScriptedIntake | None = None) -> None:
        self.intake = intake or ScriptedIntake()
        self.now = 0.0
        self.connection = Connection(self.intake, DateLine(), self.now)
        self.sent = b""
        self.working: list[Request] = []
        self.controls: list[Control] = []

    def send(self, data: bytes) -> None:
        self._carry_out(self.connection.received(data, self.now))

    def end_input(self) -> None:
        self._carry_out(self.connection.input_ended(self.now))

    def answer(self, answer: Answer = OK) -> Request:
        """Answer the request that is worked on."""
        (request,) = self.working
        self.working.clear()
        self._carry_out(self.connection.answered(answer, self.now))
        return request

    def writable(self, writable: bool) -> None:
        self._carry_out(self.connection.writable(self.now, writable=writable))

    def drain(self) -> None:
        self._carry_out(self.connection.drain(self.now))

    def wait(self, seconds: float) -> None:
        """Let time pass, and tell the connection when its deadline is over, as the server's ticks do."""
        self.now += seconds
        if self.connection.deadline is not None and self.connection.deadline <= self.now:
            self._carry_out(self.connection.expired(self.now))

    def statuses(self) -> list[int]:
        """Of all answers so far."""
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", self.sent)]

    def is_closed(self) -> bool:
        return Control.CLOSE in self.controls or Control.ABORT in self.controls

    def _carry_out(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            if isinstance(decision, Send):
                self.sent += decision.data
            elif isinstance(decision, Work):
                self.working.append(decision.request)
            else:
                self.controls.append(decision)
        assert len(self.working) <= 1, "one request is worked on at a time"
