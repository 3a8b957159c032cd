"""What libraries of C and C++ write to file descriptor 2, and programs that are started, as log records.

TensorFlow, gRPC and the C library know nothing of Python's logging. Descriptor 2 becomes a pipe; a thread reads it and
makes a record of each line; the records are written to what descriptor 2 was. A line that is a JSON object already, as
a child with the same format writes, is passed on as it is. A process that is killed, or that C++ code aborts, may leave
its very last lines in the pipe.
"""

import atexit
import json
import logging
import os
import re
import sys
import threading
from typing import TextIO

_log = logging.getLogger("stderr")

_READ_BYTES = 65536
_OURS = '{"time": "2'
_LONGEST_LINE = 16384
_CLOSE_SECONDS = 2.0
_LETTER = re.compile(r"^(?:[\d-]+ [\d:.]+: )?([IWEF])[ \d]")
_LEVELS = {"I": logging.INFO, "W": logging.WARNING, "E": logging.ERROR, "F": logging.CRITICAL}


class StderrLines:
    """Reads descriptor 2. ``out``: where records are to be written instead."""

    def __init__(self) -> None:
        """Put the pipe in place, and begin to read it. Raises OSError if there is no descriptor left."""
        sys.stderr.flush()
        self._kept = os.dup(2)
        self.out: TextIO = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
        self._reading, writing = os.pipe()
        os.dup2(writing, 2)
        os.close(writing)
        self._thread = threading.Thread(target=self._read, name="stderr-lines", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def close(self) -> None:
        """Take the pipe away; what is in it is written first, as far as nobody else holds it open."""
        if self._kept < 0:
            return
        sys.stderr.flush()
        os.dup2(self._kept, 2)
        os.close(self._kept)
        self._kept = -1
        self._thread.join(_CLOSE_SECONDS)

    def _read(self) -> None:
        rest = b""
        while piece := os.read(self._reading, _READ_BYTES):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                self._take(line)
            if len(rest) > _LONGEST_LINE:
                self._take(rest)
                rest = b""
        self._take(rest)

    def _take(self, line: bytes) -> None:
        text = line.decode("utf-8", "backslashreplace").rstrip()
        if not text:
            return
        if is_object(text):
            self.out.write(f"{text}\n")
        else:
            found = _LETTER.match(text)
            _log.log(_LEVELS[found.group(1)] if found else logging.INFO, "%s", text)


def is_object(text: str) -> bool:
    """Whether a line is a JSON object. One that begins and ends as ours do is taken for one unread."""
    if not text.startswith("{"):
        return False
    if text.startswith(_OURS) and text.endswith("}"):
        return True
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
