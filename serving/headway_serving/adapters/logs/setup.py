"""How a process of ours logs: everything to stderr, as text for people or as one JSON object a line."""

import atexit
import logging
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from headway_serving.adapters.logs.formats import JsonFormatter, OneLineFormatter
from headway_serving.adapters.logs.repeats import RepeatLimit
from headway_serving.adapters.logs.stderr_lines import StderrLines

FORMAT = "HEADWAY_LOG_FORMAT"
JSON = "json"

GATEWAY_LINE = "%(asctime)s %(levelname)s %(name)s %(message)s"

OTHERS = frozenset({
    "HEADWAY_URL", "HEADWAY_TOKEN", "HEADWAY_CACHE_DIR", "HEADWAY_DATA_DIR", "HEADWAY_BENCH_DIR", "HEADWAY_FUZZ_SEED",
    "HEADWAY_FUZZ_SECONDS", "HEADWAY_FUZZ_BODIES", "HEADWAY_SPLIT_KEYS", "HEADWAY_TFSERVING_BINARY",
    "HEADWAY_PIPELINED_MIXES",
})  # fmt: skip
"""Variables that other commands, and tests, read."""

_log = logging.getLogger("headway")


class LogLines(logging.StreamHandler):  # type: ignore[type-arg]  # of whichever stream
    """Writes records, and counts them by level. ``counts``: those that were kept back too."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.counts: Counter[str] = Counter()
        self._limit = RepeatLimit(self.emit)
        atexit.register(self._limit.flush)

    def handle(self, record: logging.LogRecord) -> bool:
        """Write a record, unless it repeats too often."""
        self.counts[logging.getLevelName(record.levelno).lower()] += 1
        return bool(super().handle(record)) if self._limit.filter(record) else False


def configure(process: str, *, as_json: bool, level: str, line: str = GATEWAY_LINE) -> LogLines:
    """Have this process log. ``line``: the format of a line of text; ``process``: what it is called in JSON.

    As JSON, uncaught exceptions, Python's warnings and what C and C++ code writes to descriptor 2 are records too.
    """
    handler = LogLines(StderrLines().out if as_json else sys.stderr)
    handler.setFormatter(JsonFormatter(process) if as_json else OneLineFormatter(line))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=as_json)
    logging.captureWarnings(capture=True)
    # Pillow tells what it finds in users' pictures.
    logging.getLogger("PIL").setLevel(logging.ERROR)
    if as_json:
        sys.excepthook = _uncaught
        threading.excepthook = _uncaught_in_thread
    return handler


def wants_json(environment: Mapping[str, str]) -> bool:
    """Whether the environment asks for JSON; whoever reads all settings refuses what is neither."""
    return environment.get(FORMAT) == JSON


def unknown_variables(environment: Mapping[str, str], known: Iterable[str], prefix: str = "HEADWAY_") -> list[str]:
    """What to say of each variable with our prefix that nobody reads: most are misspelt."""
    names, remarks = sorted({*known, *OTHERS}), []
    for name in sorted(environment):
        if name.startswith(prefix) and name not in names:
            # Without the prefix, which would make every name resemble every other.
            near = get_close_matches(name.removeprefix(prefix), [each.removeprefix(prefix) for each in names], n=1)
            meant = f"; is {prefix}{near[0]} meant?" if near else ""
            remarks.append(f"{name} is no setting and is ignored{meant}")
    return remarks


def _uncaught(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    if issubclass(kind, KeyboardInterrupt):
        _log.critical("interrupted")
    else:
        _log.critical("uncaught exception", exc_info=(kind, error, trace))


def _uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None:
        trace = (arguments.exc_type, arguments.exc_value, arguments.exc_traceback)
        _log.critical(
            "uncaught exception in thread %s", arguments.thread.name if arguments.thread else "?", exc_info=trace
        )
