"""Log lines that nobody can forge: whatever text a record holds, it is one line. As text for people, or as JSON."""

import json
import logging
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from headway_serving.adapters.logs.fields import Fields

_Error = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def utc(seconds: float) -> str:
    """Unix time as RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class OneLineFormatter(logging.Formatter):
    """Writes what cannot be printed (line breaks of every alphabet, terminal codes, marks of direction) as escapes.

    A line that begins with a time is a record of ours; those of a traceback begin with ``  | ``.
    """

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        """The record's time in UTC."""
        return utc(record.created)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the name of the method overridden
        """The record's own line."""
        return escaped(super().formatMessage(record))

    def formatException(self, ei: _Error) -> str:  # noqa: N802  # the name of the method overridden
        """The traceback, every line of it set in."""
        return "\n".join(f"  | {escaped(line)}" for line in super().formatException(ei).split("\n"))


class JsonFormatter(logging.Formatter):
    """Writes one JSON object a line, of ASCII characters alone.

    ``time`` (UTC), ``level``, ``process``, ``logger`` and ``message``, or instead of that what the record says by name
    (:class:`Fields`); ``exception``: a traceback.
    """

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """The record as its line."""
        said: dict[str, Any] = {
            "time": utc(record.created),
            "level": logging.getLevelName(record.levelno).lower(),
            "process": self._process,
            "logger": record.name,
        }
        if isinstance(record.msg, Fields):
            said.update(record.msg.members)
        else:
            said["message"] = record.getMessage()
        repeats = getattr(record, "repeats", 0)
        if repeats:
            said["repeats"] = repeats
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            said["stack"] = record.stack_info
        return json.dumps(said, default=str)


def escaped(text: str) -> str:
    """The text with everything that cannot be printed as ``\\n``, ``\\x1b`` or ``\\u2028``."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
