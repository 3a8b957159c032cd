import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from headway_serving.commands.top import main
from tests.support.ports import free_port


class Gateway(BaseHTTPRequestHandler):
    """Answers one request more at each look; its token is ``secret``."""

    looks = 0

    def do_GET(self) -> None:
        if self.headers.get("Authorization") != "Bearer secret":
            self.send_error(401)
            return
        Gateway.looks += 1
        labels = 'model="m\u202e",version="1",arm="stable"'
        body = (
            f'headway_build_info{{process="p",version="1"}} 1\nheadway_route_weight{{{labels}}} 1\n'
            f'headway_requests_total{{{labels},code="ok"}} {100 * Gateway.looks}\n'
        ).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Gateway) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_table_has_a_line_for_a_version(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADWAY_URL", url)
    monkeypatch.setenv("HEADWAY_TOKEN", "secret")
    assert main(["--once", "--interval", "0.2"]) == 0
    shown = capsys.readouterr().out
    assert "1 of 1 gateways" in shown
    assert "100 %" in shown
    assert "\u202e" not in shown


def test_a_gateway_that_is_away_is_named_and_the_others_are_shown(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADWAY_TOKEN", "secret")
    away = f"http://127.0.0.1:{free_port()}"
    assert main(["--once", "--interval", "0.2", "--url", url, "--url", away]) == 1
    shown = capsys.readouterr().out
    assert "1 of 2 gateways" in shown
    assert f"NOT REACHED {away}: " in shown
    assert main(["--once", "--interval", "0.2", "--json", "--url", url, "--url", away]) == 1
    document = json.loads(capsys.readouterr().out)
    assert [each["problem"] is None for each in document["gateways"]] == [True, False]
    (version,) = document["versions"]
    assert version["requests"] > 100


def test_a_gateway_that_asks_for_a_token_says_so(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HEADWAY_TOKEN", raising=False)
    assert main(["--once", "--interval", "0.2", "--url", url]) == 1
    assert "set HEADWAY_TOKEN" in capsys.readouterr().out


@pytest.mark.parametrize("interval", ["0", "nan", "x", "-1"])
def test_an_interval_that_cannot_be_is_refused(interval: str) -> None:
    with pytest.raises(SystemExit):
        main(["--once", "--interval", interval])
