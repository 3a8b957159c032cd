"""A process that logs as JSON: whatever writes to its standard error, each line is an object."""

import json
import subprocess
import sys

from headway_serving.adapters.logs.setup import unknown_variables, wants_json

PROGRAM = r"""
import ctypes, logging, os, sys, threading, warnings
from headway_serving.adapters.logs.setup import configure
handler = configure("gateway", as_json=True, level="info")
logging.getLogger("headway").info("refused: %s", "x\n{\"forged\": 1}\u2028\x1b[31m")
logging.getLogger("uvicorn.error").warning("from a library")
warnings.warn("old habits")
os.write(2, b"2026-11-28 13:00:00.0: E tensorflow/core/x.cc:1] no GPU\n\nE0000 00:00:1 grpc said\n")
ctypes.CDLL(None).perror(b"from C")
print("a library prints", file=sys.stderr)
os.write(2, b'{"time": "now", "message": "of a child"}\n{not json}\n\xff\xfe\n')
os.system("echo a child says >&2")
try:
    raise ValueError("bad\nname")
except ValueError:
    logging.getLogger("headway").exception("failed")
def fail():
    raise RuntimeError("in a thread")
thread = threading.Thread(target=fail, name="worker")
thread.start(); thread.join()
logging.getLogger("counts").info("%s", handler.counts["error"])
os.write(2, b"without an end")
raise KeyError("uncaught")
"""


def test_everything_on_standard_error_is_one_object_a_line() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 1
    assert run.stdout == ""
    assert run.stderr.isascii()
    lines = [json.loads(line) for line in run.stderr.splitlines()]
    assert all(isinstance(line, dict) and "message" in line and line["time"] for line in lines)
    by_message = {line["message"]: line for line in lines}
    forged = by_message['refused: x\n{"forged": 1}\u2028\x1b[31m']
    assert (forged["level"], forged["process"], forged["logger"]) == ("info", "gateway", "headway")
    assert forged["time"].endswith("Z")
    assert by_message["from a library"]["level"] == "warning"
    assert any("old habits" in message for message in by_message)
    assert by_message["2026-11-28 13:00:00.0: E tensorflow/core/x.cc:1] no GPU"]["level"] == "error"
    assert by_message["E0000 00:00:1 grpc said"]["level"] == "error"
    assert any(message.startswith("from C") for message in by_message)
    for told in ("a library prints", "{not json}", "a child says", "without an end"):
        assert by_message[told]["logger"] == "stderr"
    assert by_message["of a child"] == {"time": "now", "message": "of a child"}
    assert "ValueError: bad\nname" in by_message["failed"]["exception"]
    assert "in a thread" in by_message["uncaught exception in thread worker"]["exception"]
    assert "KeyError: 'uncaught'" in by_message["uncaught exception"]["exception"]


def test_a_variable_that_nobody_reads_is_named_with_the_nearest_that_somebody_does() -> None:
    environment = {"HEADWAY_PROT": "1", "HEADWAY_XYZZY_9": "1", "HEADWAY_URL": "x", "HEADWAY_PORT": "1", "PATH": ""}
    assert unknown_variables(environment, ["HEADWAY_PORT", "HEADWAY_HOST"]) == [
        "HEADWAY_PROT is no setting and is ignored; is HEADWAY_PORT meant?",
        "HEADWAY_XYZZY_9 is no setting and is ignored",
    ]


def test_json_is_asked_for_by_its_name() -> None:
    assert wants_json({"HEADWAY_LOG_FORMAT": "json"})
    assert not wants_json({"HEADWAY_LOG_FORMAT": "text"})
    assert not wants_json({})
