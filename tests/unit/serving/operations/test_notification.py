"""Somebody is told how a rollout ended, by a web hook or a command; nothing depends on it."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from headway_serving.operations.notification import check_target, notify
from tests.support.ports import free_port

EVENT = {"event": "held", "model": "digits", "why": "zu wenig Verkehr, 5 % für 2"}


def test_a_command_gets_the_event_on_its_input(tmp_path: Path) -> None:
    script = tmp_path / "told.py"
    script.write_text("import sys, pathlib\npathlib.Path(sys.argv[1]).write_bytes(sys.stdin.buffer.read())\n")
    assert notify(f"{sys.executable} {script} {tmp_path / 'event.json'}", EVENT) is None
    assert json.loads((tmp_path / "event.json").read_text(encoding="utf-8")) == EVENT


@pytest.mark.parametrize("command", ["cat >> /tmp/told", "grep held | mail me", ""])
def test_a_command_for_a_shell_is_refused_before_it_is_needed(command: str) -> None:
    with pytest.raises(ValueError, match="is run without a shell"):
        check_target(command)


def test_any_other_command_or_address_will_do() -> None:
    for target in ("http://127.0.0.1:1/a>b", "sh -c 'cat >> /tmp/told'", "mail -s '5 > 4' me"):
        assert check_target(target) == target


def test_a_web_hook_gets_a_post() -> None:
    told: list[object] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the library's name
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert notify(f"http://127.0.0.1:{server.server_address[1]}/hook", EVENT) is None
        thread.join()
    assert told == [EVENT]


def test_what_cannot_be_told_is_said_and_harms_nothing() -> None:
    for target in ("/no/such/command", f"{sys.executable} -c 'raise SystemExit(3)'", "'unclosed", "",
                   f"http://127.0.0.1:{free_port()}/"):  # fmt: skip
        problem = notify(target, EVENT)
        assert problem is not None
        assert problem.startswith(f"--notify {target}: ")
