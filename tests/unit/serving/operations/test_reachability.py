"""A wrong address is told within 3 s, whatever is there: nobody, a silent port, something else."""

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from headway_serving.operations.reachability import Unreachable, check_reachable
from tests.integration.gateway.scripted_model_server import serving
from tests.support.ports import free_port


class Page(BaseHTTPRequestHandler):
    """``/livez`` as a gateway has it under ``/gateway``, nothing elsewhere."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/gateway/livez" else 404)
        self.end_headers()
        self.wfile.write(b"ok\n")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def web() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_those_that_answer_are_no_problem(web: int) -> None:
    with httpx.Client() as http, serving({}, as_content=True) as (target, _):
        check_reachable([f"http://127.0.0.1:{web}/gateway"], [target], http)


def problem(gateway: str, model_server: str) -> str:
    began = time.monotonic()
    with httpx.Client() as http, pytest.raises(Unreachable) as raised:
        check_reachable([gateway], [model_server], http)
    assert time.monotonic() - began < 3
    return str(raised.value)


def test_nobody_listens() -> None:
    port = free_port()
    said = problem(f"http://127.0.0.1:{port}", f"127.0.0.1:{port}")
    assert f"--gateway http://127.0.0.1:{port}: no gateway answers at" in said
    assert f"--model-server 127.0.0.1:{port}: no model server answers there" in said


def test_a_name_without_address() -> None:
    said = problem("dns+http://nowhere.invalid:80", "dns:///nowhere.invalid:8500")
    assert "--gateway dns+http://nowhere.invalid:80: the name has no address" in said
    assert "--model-server dns:///nowhere.invalid:8500: no model server answers there" in said


def test_something_else_listens(web: int) -> None:
    said = problem(f"http://127.0.0.1:{web}", f"127.0.0.1:{web}")
    assert "is no Headway gateway (/livez: 404)" in said
    assert "no model server answers there" in said


def test_a_port_that_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        said = problem(f"http://127.0.0.1:{port}", f"127.0.0.1:{port}")
    assert "timed out" in said
    assert "no answer within 2 s" in said


def test_what_is_no_url_is_told() -> None:
    assert "protocol" in problem("127.0.0.1:8080", f"127.0.0.1:{free_port()}")
