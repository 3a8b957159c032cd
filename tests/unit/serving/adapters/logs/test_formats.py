"""Log lines: whatever text comes in, one record is one line, and a traceback cannot pass for a record."""

import json
import logging
import sys

import pytest

from headway_serving.adapters.logs.fields import Fields
from headway_serving.adapters.logs.formats import JsonFormatter, OneLineFormatter

FORGED = "x\n2026-01-01 00:00:00,000 ERROR headway forged"
FORMATTER = OneLineFormatter("%(levelname)s %(message)s")


def line_of(message: str, *arguments: object, error: bool = False) -> str:
    info = sys.exc_info() if error else None
    return FORMATTER.format(logging.LogRecord("headway", logging.ERROR, __file__, 1, message, arguments, info))


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (FORGED, "x\\n2026-01-01"),
        ("a\r\nb", "a\\r\\nb"),
        ("\x1b[2J\x07", "\\x1b[2J\\x07"),
        ("a\u2028b\u2029c\x85d", "a\\u2028b\\u2029c\\x85d"),
        ("\u202egnp.txt", "\\u202egnp.txt"),
        ("\udcff", "\\udcff"),
        ("Größe 字", "Größe 字"),
    ],
)
def test_a_text_of_a_client_stays_in_its_line(text: str, written: str) -> None:
    for line in (line_of("refused: %s", text), line_of("refused: " + text.replace("%", "%%"))):
        assert line.splitlines() == [line]
        assert line.startswith("ERROR refused: ")
        assert written in line
        assert line.isprintable()


def test_a_traceback_is_set_in_whatever_its_error_says() -> None:
    try:
        raise ValueError(f"bad name {FORGED}\x1b[31m\u2028")
    except ValueError:
        first, *rest = line_of("request %s failed", "abc", error=True).splitlines()
    assert first == "ERROR request abc failed"
    assert rest
    assert all(line.startswith("  | ") and line.isprintable() for line in rest)
    assert any("ValueError: bad name x" in line for line in rest)


def test_a_json_line_has_its_fields_and_its_traceback_inside() -> None:
    formatter = JsonFormatter("gateway")
    record = logging.LogRecord("headway.access", logging.INFO, __file__, 1, Fields({"code": "ok", "ms": 1.5}), (), None)
    record.created = 1_764_331_200.1239
    assert json.loads(formatter.format(record)) == {
        "time": "2025-11-28T12:00:00.123Z", "level": "info", "process": "gateway", "logger": "headway.access",
        "code": "ok", "ms": 1.5,
    }  # fmt: skip
    try:
        raise ValueError(FORGED)
    except ValueError:
        broken = logging.LogRecord("headway", logging.ERROR, __file__, 1, FORGED + "\u2028", (), sys.exc_info())
    line = formatter.format(broken)
    assert line.isprintable()
    assert line.isascii()
    assert f"ValueError: {FORGED}" in json.loads(line)["exception"]


def test_a_line_of_text_has_its_time_in_utc() -> None:
    record = logging.LogRecord("headway", logging.INFO, __file__, 1, "said", (), None)
    record.created = 1_764_331_200.1239
    line = OneLineFormatter("%(asctime)s %(message)s").format(record)
    assert line == "2025-11-28T12:00:00.123Z said"
