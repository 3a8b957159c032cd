"""The REST port under many connections, slow clients, and a stop."""

import concurrent.futures
import http.client
import json
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.modelserver.conformance.server_under_test import EMBEDDED, ServerUnderTest
from tests.integration.modelserver.repository_files import config_list
from tests.support.waiting import eventually

PREDICT = "/v1/models/half:predict"
ROWS = json.dumps({"instances": [[1.0], [2.0]]})


@pytest.fixture
def server(repository: Path, saved_models: Path, tmp_path: Path) -> Iterator[ServerUnderTest]:
    (tmp_path / "models" / "spin").mkdir(parents=True)
    (tmp_path / "models" / "spin" / "1").symlink_to(saved_models / "spin")
    (tmp_path / "models" / "half").symlink_to(repository / "half")
    config = tmp_path / "models.config"
    config.write_text(config_list(tmp_path / "models", "half", "spin"))
    flags = ["--rest_api_num_threads=2", "--shutdown_grace_seconds=60"]
    with ServerUnderTest(EMBEDDED, f"--model_config_file={config}", *flags) as running:
        yield running.wait_until_ready()


def connect(server: ServerUnderTest) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=60)


def ask(connection: http.client.HTTPConnection, path: str = PREDICT, body: str = ROWS) -> tuple[int, bytes]:
    connection.request("POST", path, body)
    reply = connection.getresponse()
    return reply.status, reply.read()


def test_many_connections_are_answered_by_few_threads(server: ServerUnderTest) -> None:
    def talk(_number: int) -> set[tuple[int, bytes]]:
        connection = connect(server)
        answers = {ask(connection) for _ in range(10)}
        connection.close()
        return answers

    with concurrent.futures.ThreadPoolExecutor(100) as clients:
        answers = set().union(*clients.map(talk, range(100)))
    assert answers == {(200, b'{\n    "predictions": [[2.5], [3.0]\n    ]\n}')}


def test_clients_that_send_slowly_or_nothing_hold_up_nobody(server: ServerUnderTest) -> None:
    idle = [socket.create_connection(("127.0.0.1", server.rest_port)) for _ in range(20)]
    for number, client in enumerate(idle):
        client.sendall(b"POST /v1/models/half:predict HTTP/1.1\r\nContent-Length: 50\r\n\r\n{"[: 10 + 5 * number])
    connection = connect(server)
    assert ask(connection)[0] == 200
    connection.close()
    for client in idle:
        client.close()


def test_a_stop_lets_running_requests_end_and_refuses_new_ones(server: ServerUnderTest) -> None:
    before = connect(server)
    assert ask(before)[0] == 200
    with concurrent.futures.ThreadPoolExecutor(1) as client:
        running = client.submit(ask, connect(server), "/v1/models/spin:predict", json.dumps({"inputs": 300_000}))
        time.sleep(0.3)  # the request is sent; if it ended already, the test shows less but still holds
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: not listening(server), "the port to close")
        assert running.result(timeout=60) == (200, b'{\n    "outputs": 300000\n}')
    assert server.exit_status() == 0


def test_a_stop_cuts_off_what_exceeds_the_grace_period(repository: Path, saved_models: Path, tmp_path: Path) -> None:
    (tmp_path / "spin").mkdir()
    (tmp_path / "spin" / "1").symlink_to(saved_models / "spin")
    flags = ["--model_name=spin", f"--model_base_path={tmp_path / 'spin'}", "--shutdown_grace_seconds=1"]
    with ServerUnderTest(EMBEDDED, *flags) as server, concurrent.futures.ThreadPoolExecutor(1) as client:
        server.wait_until_ready()
        endless = json.dumps({"inputs": 2_000_000_000})
        running = client.submit(ask, connect(server), "/v1/models/spin:predict", endless)
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        assert server.exit_status() == 0
        assert isinstance(running.exception(timeout=60), OSError | http.client.HTTPException)


def listening(server: ServerUnderTest) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", server.rest_port)) == 0


BODY = ROWS.encode()
FRAMINGS = {
    "a length": (f"Content-Length: {len(BODY)}\r\n", BODY, 200),
    "the same length twice": (f"Content-Length: {len(BODY)}\r\n" * 2, BODY, 200),
    "two lengths": (f"Content-Length: {len(BODY)}\r\nContent-Length: 3\r\n", BODY, 400),
    "no number": ("Content-Length: abc\r\n", BODY, 400),
    "chunks": ("Transfer-Encoding: Chunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY), 200),
    "chunks and a length": (
        f"Transfer-Encoding: chunked\r\nContent-Length: {len(BODY)}\r\n",
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
        400,
    ),
    "an unknown coding": ("Transfer-Encoding: xchunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY), 400),
    "broken chunks": ("Transfer-Encoding: chunked\r\n", b"no chunk\r\n", 400),
    "an upgrade": (f"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: {len(BODY)}\r\n", BODY, 200),
    "underscores": (f"Content-Length: {len(BODY)}\r\nContent_Length: abc\r\n", BODY, 200),
}


@pytest.mark.parametrize("half_closes", [False, True], ids=["stays", "half-closes"])
def test_a_bodys_framing_is_read_in_one_way_or_refused_at_once(server: ServerUnderTest, *, half_closes: bool) -> None:
    for name, (lines, body, status) in FRAMINGS.items():
        with socket.create_connection(("127.0.0.1", server.rest_port), timeout=60) as connection:
            connection.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode() + body)
            if half_closes:
                connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(65536)
        assert answer.startswith(f"HTTP/1.1 {status} ".encode()), (name, answer)
