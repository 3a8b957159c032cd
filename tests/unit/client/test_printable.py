"""Nothing that a label or a file name says is obeyed by a terminal."""

import pytest

from headway_client.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, ä and 数字", "plain text, ä and 数字"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("two\nlines\r\tmore", r"two\nlines\r\tmore"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\x9b31m", r"\x9b31m"),
    ],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
