"""The rows of a ``:predict`` body, found without making values of them: text is cut, numbers stay as they were sent.

TensorFlow Serving's REST takes rows as ``instances`` (a list), or columns as ``inputs`` (a list, or one by name).
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

# Strings, lists without any list, object or string in them, and the signs of structure.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|\[[^\[\]{}"]*+\]|[\[\]{}:,]', re.DOTALL)
_OPENING, _CLOSING = b"[{", b"]}"

Place = tuple[int, int]
"""Where a piece of the body begins and ends."""


@dataclass(frozen=True)
class Rows:
    """The columns of a body: of each, the places of its rows, and that of the list that holds them."""

    body: bytes
    lists: Sequence[Place]
    rows: Sequence[Sequence[Place]]

    @property
    def count(self) -> int:
        """Rows of the longest column."""
        return max(map(len, self.rows), default=0)

    @property
    def can_be_divided(self) -> bool:
        """Whether every column has the same rows."""
        return len({len(each) for each in self.rows}) == 1

    def pieces(self, most: int) -> Iterator[bytes]:
        """The body again and again, each time with the next ``most`` rows."""
        for start in range(0, self.count, most):
            parts, at = [], 0
            for (begin, end), rows in zip(self.lists, self.rows, strict=True):
                own = rows[start : start + most]
                parts += [self.body[at:begin], b"[", self.body[own[0][0] : own[-1][1]], b"]"]
                at = end
            yield b"".join([*parts, self.body[at:]])


def rows_of(body: bytes) -> Rows:
    """The rows of a body; none where it is no JSON object with rows, which the model server will say."""
    found = _Columns(body)
    found.read()
    return Rows(body, found.lists, found.rows)


def joined(answers: Sequence[bytes]) -> bytes | None:
    """One answer of those to the pieces of a body, in their order; None if they are no answers that can be joined."""
    try:
        documents = [json.loads(answer) for answer in answers]
        (key,) = {name for document in documents for name in document}
        values = [document[key] for document in documents]
        if isinstance(values[0], dict):
            whole: Any = {name: [row for value in values for row in value[name]] for name in values[0]}
        else:
            whole = [row for value in values for row in value]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return json.dumps({key: whole}, ensure_ascii=False).encode()


class _Columns:
    """Goes through the tokens of a body once."""

    def __init__(self, body: bytes) -> None:
        self._body, self._tokens = body, _TOKEN.finditer(body)
        self.lists: list[Place] = []
        self.rows: list[list[Place]] = []

    def read(self) -> None:
        """Find the columns; what is no JSON ends it early."""
        first = next(self._tokens, None)
        if first is None or first[0] != b"{":
            return
        for key, value in self._members():
            if key == "instances" or (key == "inputs" and value[0] != b"{"):
                self._column(value)
            elif key == "inputs":
                for _, column in self._members():
                    self._column(column)
            else:
                self._skip(value)

    def _members(self) -> Iterator[tuple[str, re.Match[bytes]]]:
        """The keys of an object that has begun, and the first token of each value that is no number."""
        key, last = None, b'""'
        for token in self._tokens:
            sign = token[0]
            if sign == b"}":
                return
            if sign == b":":
                key = _text(last)
            elif sign == b",":
                key = None
            elif key is None:
                last = sign
            else:
                yield key, token
                key = None

    def _column(self, first: re.Match[bytes]) -> None:
        if not first[0].startswith(b"["):
            self._skip(first)
            return
        begin, end = first.span()
        if first[0] != b"[":  # a list of numbers
            places = [begin + 1 + found.start() for found in re.finditer(b",", first[0][1:-1])]
            self._add((begin, end), [begin + 1, *(place + 1 for place in places)], [*places, end - 1])
            return
        starts, ends, depth = [end], [], 1
        for token in self._tokens:
            sign = token[0]
            if sign in _OPENING:
                depth += 1
            elif sign in _CLOSING:
                depth -= 1
            elif sign == b"," and depth == 1:
                ends.append(token.start())
                starts.append(token.end())
            if depth == 0:
                self._add((begin, token.end()), starts, [*ends, token.start()])
                return

    def _add(self, place: Place, starts: Sequence[int], ends: Sequence[int]) -> None:
        rows = list(zip(starts, ends, strict=True))
        if rows and self._body[rows[0][0] : rows[-1][1]].strip():
            self.lists.append(place)
            self.rows.append(rows)

    def _skip(self, first: re.Match[bytes]) -> None:
        depth = 1 if first[0] in _OPENING else 0
        while depth and (token := next(self._tokens, None)) is not None:
            depth += (token[0] in _OPENING) - (token[0] in _CLOSING)


def _text(token: bytes) -> str:
    try:
        return str(json.loads(token))
    except ValueError:
        return ""
