"""JSON as TensorFlow Serving's REST API reads and writes it; its parser is RapidJSON, whose error texts are known.

Beyond standard JSON: NaN, Inf, Infinity and their negatives are numbers, of duplicate keys the first counts, bytes
after the document are not looked at, and a string may hold bytes that are not UTF-8 (kept as Python's surrogate
escapes).
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headway_serving.modelserver.errors import StatusError, invalid_argument
from headway_serving.modelserver.rest import json_scanner

SHOWN_BYTES = 256
"""No more of a value is shown in an error's text."""

INDENT = "    "

_LEAST, _MOST = -(1 << 63), (1 << 64) - 1
"""What RapidJSON keeps as a whole number; others are doubles."""

_SPACE = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_PERHAPS_TOO_BIG = re.compile(r"[eE]\+?[0-9]{3}|[0-9]{300}")
_TYPE_NAMES = {type(None): "Null", dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}
_LITERALS = ("null", "true", "false", "NaN", "Infinity")
_TEXTS = {
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Invalid control character at": "Invalid encoding in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\uXXXX escape": "Incorrect hex digit after \\u escape in string.",
}


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object that ``body`` begins with. Raises StatusError INVALID_ARGUMENT if it does not."""
    if not body:
        raise invalid_argument("JSON Parse error: The document is empty")
    text = body.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    start = _end_of_space(text)
    if start == len(text):
        raise _parse_error("The document is empty.", text, start)
    try:
        value = _value(text, start)
    except json.JSONDecodeError as error:
        raise _translated(error, text) from error
    except json_scanner.TooDeep as error:
        raise invalid_argument("JSON Parse error: The document is nested too deeply") from error
    except _TooBig as error:
        raise _parse_error("Number too big to be stored in double.", text, text.find(error.number)) from error
    if not isinstance(value, dict):
        raise format_error(value, "Is not object")
    return value


def _value(text: str, start: int) -> Any:
    decoder = _STRICT_DECODER if _PERHAPS_TOO_BIG.search(text) else _DECODER
    try:
        return decoder.raw_decode(text, start)[0]
    except json.JSONDecodeError as error:
        if not text.startswith(("Inf", "-Inf"), error.pos):
            raise
    except RecursionError:
        pass
    return json_scanner.scan(text, start, make_object=_first_wins, whole=_whole_in_range, fraction=_in_range)


def to_bytes(text: str) -> bytes:
    """Return the bytes of a string that ``parse_object`` has read.

    Raises StatusError INVALID_ARGUMENT for half a surrogate pair, which only an escape sequence can have written.
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise invalid_argument("JSON Parse error: The surrogate pair in string is invalid.") from error


def to_body(text: str) -> bytes:
    """Return the bytes of a reply; bytes that are no UTF-8 stay as they came, half a surrogate pair becomes "?"."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def type_name(value: Any) -> str:
    """Return RapidJSON's name of a value's type, such as Number; of a bool its value."""
    return str(value) if isinstance(value, bool) else _TYPE_NAMES[type(value)]


def shown(value: Any) -> str:
    """Return a value as it is shown in an error's text: JSON, an array on one line and an object's members on several.

    It ends with the first token that reaches 256 bytes.
    """
    texts, size = [], 0
    for token in _tokens(value, 0):
        texts.append(token)
        size += len(token.encode("utf-8", "surrogatepass"))
        if size >= SHOWN_BYTES:
            break
    return "".join(texts)


def _tokens(value: Any, depth: int) -> Iterator[str]:
    """Yield the tokens of a value inside ``depth`` containers, each with what separates it from the one before."""
    if isinstance(value, list):
        yield "["
        for place, element in enumerate(value):
            yield from _after(", " if place else "", _tokens(element, depth + 1))
        yield "]"
    elif isinstance(value, dict):
        yield "{"
        for place, (key, element) in enumerate(value.items()):
            yield f"{',' if place else ''}\n{INDENT * (depth + 1)}{quoted(key)}"
            yield from _after(": ", _tokens(element, depth + 1))
        yield f"\n{INDENT * depth}}}" if value else "}"
    elif isinstance(value, str):
        yield quoted(value)
    elif isinstance(value, float) or (isinstance(value, int) and not _LEAST <= value <= _MOST):
        yield decimals(np.array([float(value)]))[0]
    else:
        yield json.dumps(value)


def _after(separator: str, tokens: Iterator[str]) -> Iterator[str]:
    yield separator + next(tokens)
    yield from tokens


def format_error(value: Any, text: str) -> StatusError:
    """Return the error of a JSON value that has another form than ``text`` asks for."""
    return invalid_argument(f"JSON Value: {shown(value)} {text}")


def quoted(text: str | bytes) -> str:
    """Return a JSON string; bytes that are not UTF-8 stay surrogate escapes."""
    decoded = text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else text
    return json.dumps(decoded, ensure_ascii=False)


def decimals(values: NDArray[Any]) -> list[str]:
    """Return float32 or float64 ``values`` of shape [n] as JSON numbers.

    Six significant digits if they are enough to read the value back, else 9 (float32) or 17 (float64); whole
    numbers end in .0, and what is not finite is NaN, Infinity or -Infinity.
    """
    full = 9 if values.dtype == np.float32 else 17
    exact = values.tolist()
    short = [f"{value:.6g}" for value in exact]
    same = np.array([float(text) for text in short], values.dtype) == values
    texts = [text if kept else f"{value:.{full}g}" for text, kept, value in zip(short, same, exact, strict=True)]
    return [_decimal(text, value) for text, value in zip(texts, exact, strict=True)]


def single_line(texts: Sequence[str], count: int, shape: Sequence[int]) -> list[str]:
    """Return the JSON texts of ``count`` arrays of ``shape`` that the values ``texts`` make up, one after the other."""
    grouped = list(texts)
    for axis in range(len(shape) - 1, -1, -1):
        size = shape[axis]
        arrays = count * math.prod(shape[:axis])
        grouped = [f"[{', '.join(grouped[i * size : (i + 1) * size])}]" for i in range(arrays)]
    return grouped


def many_lines(texts: Sequence[str], shape: Sequence[int], depth: int) -> str:
    """Return the JSON text of one array, a value a line; ``depth`` is how many containers are open around it."""
    grouped = list(texts)
    for axis in range(len(shape) - 1, -1, -1):
        count, size = math.prod(shape[:axis]), shape[axis]
        outer = INDENT * (depth + axis)
        grouped = [_lines(grouped[i * size : (i + 1) * size], outer) for i in range(count)]
    return grouped[0]


def _lines(items: Sequence[str], outer: str) -> str:
    if not items:
        return "[]"
    return "[\n" + ",\n".join(f"{outer}{INDENT}{item}" for item in items) + f"\n{outer}]"


def _decimal(text: str, value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return text if "." in text or "e" in text else f"{text}.0"


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    found.clear()
    for key, value in pairs:
        found.setdefault(key, value)
    return found


class _TooBig(Exception):
    """A number beyond the range of a double, as it was written."""

    def __init__(self, number: str) -> None:
        super().__init__(number)
        self.number = number


def _in_range(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise _TooBig(number)
    return value


def _whole_in_range(number: str) -> int | float:
    # Python reads no integer of more than 4300 digits; far fewer are a double anyway.
    return int(number) if len(number) < 300 else _in_range(number)


_DECODER = json.JSONDecoder(object_pairs_hook=_first_wins)
_STRICT_DECODER = json.JSONDecoder(object_pairs_hook=_first_wins, parse_float=_in_range, parse_int=_whole_in_range)


def _end_of_space(text: str) -> int:
    found = _SPACE.match(text)
    return found.end() if found else 0


def _parse_error(reason: str, text: str, position: int) -> StatusError:
    """Return the error at a character's position; clients get the offset in bytes."""
    offset = len(text[:position].encode("utf-8", "surrogateescape"))
    return invalid_argument(f"JSON Parse error: {reason} at offset: {offset}")


def _translated(error: json.JSONDecodeError, text: str) -> StatusError:
    message, position = error.msg, error.pos
    if message.startswith("Unterminated string"):
        return _parse_error("Missing a closing quotation mark in string.", text, len(text))
    if message == "Expecting ',' delimiter":
        return _delimiter_error(text, position)
    if message == "Expecting value":
        return _parse_error("Invalid value.", text, position + _begun_value(text[position : position + 9]))
    reason = next((ours for theirs, ours in _TEXTS.items() if message.startswith(theirs)), "Invalid value.")
    return _parse_error(reason, text, position)


def _begun_value(text: str) -> int:
    """Return how many characters of a value RapidJSON takes before it sees that it is none."""
    sign = text.startswith("-")
    rest = text[sign:]
    equal = (list(takewhile(bool, map(operator.eq, rest, literal))) for literal in _LITERALS)
    return sign + max(map(len, equal))


def _delimiter_error(text: str, position: int) -> StatusError:
    after = text[position : position + 1]
    if text[position - 1 : position].isdigit() and after in {".", "e", "E"}:
        part = "fraction part" if after == "." else "exponent"
        return _parse_error(f"Miss {part} in number.", text, position + 1)
    if _innermost(text[:position]) == "{":
        return _parse_error("Missing a comma or } after an object member.", text, position)
    return _parse_error("Missing a comma or ] after an array element.", text, position)


def _innermost(text: str) -> str:
    """Return the bracket that is open at the end of valid JSON that was cut off."""
    opened: list[str] = []
    for bracket in re.findall(r"[\[\]{}]", _STRING.sub("", text)):
        if bracket in "[{":
            opened.append(bracket)
        else:
            opened.pop()
    return opened[-1]
