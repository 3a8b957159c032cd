"""Log lines: whatever text comes in, one record is one line, and a traceback cannot pass for a record."""

import logging
import sys

import pytest

from headway_serving.gateway.requests.log_lines import OneLineFormatter

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
