"""Log lines that nobody can forge: whatever text a record holds, it is one line, and its traceback is set in below."""

import logging
from types import TracebackType

_Error = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class OneLineFormatter(logging.Formatter):
    """Writes what cannot be printed (line breaks of every alphabet, terminal codes, marks of direction) as escapes.

    A line that begins with a time is a record of ours; those of a traceback begin with ``  | ``.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the name of the method overridden
        """The record's own line."""
        return escaped(super().formatMessage(record))

    def formatException(self, ei: _Error) -> str:  # noqa: N802  # the name of the method overridden
        """The traceback, every line of it set in."""
        return "\n".join(f"  | {escaped(line)}" for line in super().formatException(ei).split("\n"))


def escaped(text: str) -> str:
    """The text with everything that cannot be printed as ``\\n``, ``\\x1b`` or ``\\u2028``."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
