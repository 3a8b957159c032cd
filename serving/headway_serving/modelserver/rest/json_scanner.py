"""Reads JSON without recursion, for documents that Python's own reader gives up on.

Python's reader is written in C and ends where the nesting is as deep as the stack, and it does not know ``Inf``.
RapidJSON, which TensorFlow Serving reads with, knows it and keeps its own stack: what is nested in a key that
nobody looks at does not matter. This reader is some thirty times slower and used for nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from json import decoder
from typing import Any

MOST_LEVELS = 1_000_000
"""An open container takes memory; half of this many levels are known to occur."""

_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?P<fraction>\.[0-9]+)?(?P<exponent>[eE][-+]?[0-9]+)?")
_LITERALS: dict[str, Any] = {
    "null": None,
    "true": True,
    "false": False,
    "NaN": float("nan"),
    "Infinity": float("inf"),
    "-Infinity": float("-inf"),
    "Inf": float("inf"),
    "-Inf": float("-inf"),
}
# The longer ones first. RapidJSON takes what follows "Inf" for the rest of "Infinity" if it begins with an i.
_LITERAL = re.compile("null|true|false|NaN|-?Infinity|-?Inf(?!i)")

_read_string: Callable[[str, int, bool], tuple[str, int]] = vars(decoder)["scanstring"]
"""Python's own reader of a string, from the character after its quotation mark; returns where it ends, too."""

Pairs = list[tuple[str, Any]]


class TooDeep(Exception):
    """The document has more levels than ``MOST_LEVELS``."""


def scan(
    text: str,
    start: int,
    *,
    make_object: Callable[[Pairs], dict[str, Any]],
    whole: Callable[[str], Any],
    fraction: Callable[[str], Any],
) -> Any:
    """Return the value that begins at ``start``; ``make_object``, ``whole`` and ``fraction`` make objects and numbers.

    Raises json.JSONDecodeError with the texts of Python's reader, and TooDeep.
    """
    scanner = _Scanner(text, make_object, whole, fraction)
    return scanner.value(start)


class _Scanner:
    """The open containers of one document: lists, and the pairs of objects with the key whose value is read."""

    def __init__(self, text: str, make_object: Any, whole: Any, fraction: Any) -> None:
        self._text = text
        self._make_object, self._whole, self._fraction = make_object, whole, fraction
        self._open: list[list[Any]] = []
        self._keys: list[str | None] = []

    def value(self, position: int) -> Any:
        """Return the value at ``position``."""
        while True:
            position, value, complete = self._begin(position)
            while complete:
                if not self._open:
                    return value
                position, value, complete = self._add(value, position)

    def _begin(self, position: int) -> tuple[int, Any, bool]:
        """Return where reading goes on after the beginning of a value, the value, and whether it is complete."""
        text = self._text
        first = text[position : position + 1]
        if first == '"':
            value, end = _read_string(text, position + 1, True)
            return end, value, True
        if first in ("[", "{"):
            return self._open_container(first, position + 1)
        literal = _LITERAL.match(text, position)
        if literal:
            return literal.end(), _LITERALS[literal[0]], True
        number = _NUMBER.match(text, position)
        if number is None:
            raise json.JSONDecodeError("Expecting value", text, position)
        make = self._fraction if number["fraction"] or number["exponent"] else self._whole
        return number.end(), make(number[0]), True

    def _open_container(self, bracket: str, position: int) -> tuple[int, Any, bool]:
        if len(self._open) >= MOST_LEVELS:
            raise TooDeep
        position = self._after_space(position)
        if self._text.startswith("]" if bracket == "[" else "}", position):
            return position + 1, [] if bracket == "[" else self._make_object([]), True
        self._open.append([])
        self._keys.append(None)
        if bracket == "{":
            self._keys[-1], position = self._key(position)
        return position, None, False

    def _add(self, value: Any, position: int) -> tuple[int, Any, bool]:
        """Add ``value`` to the innermost container; return as ``_begin`` does, the container if it has ended."""
        key = self._keys[-1]
        self._open[-1].append(value if key is None else (key, value))
        position = self._after_space(position)
        after = self._text[position : position + 1]
        if after == ",":
            following = self._after_space(position + 1)
            if key is not None:
                self._keys[-1], following = self._key(following)
            return following, None, False
        if after != ("]" if key is None else "}"):
            raise json.JSONDecodeError("Expecting ',' delimiter", self._text, position)
        self._keys.pop()
        elements = self._open.pop()
        return position + 1, elements if key is None else self._make_object(elements), True

    def _key(self, position: int) -> tuple[str, int]:
        """Return the key at ``position`` and where its value begins."""
        if not self._text.startswith('"', position):
            raise json.JSONDecodeError("Expecting property name enclosed in double quotes", self._text, position)
        key, end = _read_string(self._text, position + 1, True)
        end = self._after_space(end)
        if not self._text.startswith(":", end):
            raise json.JSONDecodeError("Expecting ':' delimiter", self._text, end)
        return key, self._after_space(end + 1)

    def _after_space(self, position: int) -> int:
        found = _SPACE.match(self._text, position)
        return found.end() if found else position
