"""Of what is said again and again, the first few are written, and then how many there were more."""

import logging

from headway_serving.adapters.logs.repeats import MOST, SECONDS, UNLIMITED, RepeatLimit


class Log:
    def __init__(self) -> None:
        self.now, self.lines = 0.0, list[str]()
        self.limit = RepeatLimit(lambda record: self.lines.append(record.getMessage()), lambda: self.now)

    def say(self, message: str, *arguments: object, name: str = "headway") -> None:
        record = logging.LogRecord(name, logging.WARNING, "", 1, message, arguments, None)
        if self.limit.filter(record):
            self.lines.append(record.getMessage())


def test_repeats_are_counted_and_told_when_their_time_is_over() -> None:
    log = Log()
    for number in range(MOST + 41):
        log.say("the model server is away: %s", number)
    log.say("another thing")
    assert len(log.lines) == MOST + 1
    log.now = SECONDS + 2
    log.say("yet another")
    assert log.lines[-2:] == [f"the model server is away: {MOST + 40} (said 41 times more)", "yet another"]
    log.say("the model server is away: %s", 1)
    assert log.lines[-1] == "the model server is away: 1"


def test_what_is_kept_back_is_told_at_the_end() -> None:
    log = Log()
    for _ in range(MOST + 2):
        log.say("again")
    log.limit.flush()
    assert log.lines[-1] == "again (said 2 times more)"


def test_the_access_log_is_whole() -> None:
    log = Log()
    for _ in range(5 * MOST):
        log.say("line", name=UNLIMITED)
    assert len(log.lines) == 5 * MOST
