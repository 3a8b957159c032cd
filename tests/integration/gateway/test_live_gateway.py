"""The gateway as a process: its admin port, bodies that do not arrive, what is no HTTP, and its log."""

import base64
import contextlib
import json
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from headway_contract.durable_files import write_atomically
from headway_contract.preprocessing import encode_png
from tests.fakes.scripted_models import Fault, scripted_version
from tests.integration.gateway.gateway_under_test import CLASSIFY, picture
from tests.integration.gateway.live_gateway import (
    COMMAND,
    LiveGateway,
    environment_of,
    live_gateway,
    problem_in,
    response_on,
)
from tests.support.ports import free_port
from tests.support.waiting import eventually

PNG = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    """With an admin port, two threads and little time for a request."""
    with live_gateway(
        tmp_path_factory.mktemp("live"), ADMIN_PORT=free_port(), THREADS=2, REQUEST_TIMEOUT_MS=1500,
        MAX_REQUEST_TIMEOUT_MS=2000, MAX_BODY_BYTES=200_000, ACCESS_LOG="true", LOG_LEVEL="debug",
    ) as running:  # fmt: skip
        yield running


@pytest.fixture(scope="module")
def gateway_of_large_bodies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with live_gateway(tmp_path_factory.mktemp("large")) as running:
        yield running


def classify(gateway: LiveGateway, **headers: str) -> httpx.Response:
    return httpx.post(gateway.url + CLASSIFY, content=picture(3), headers={**PNG, **headers}, timeout=30)


def test_the_metrics_are_on_the_admin_port_alone(gateway: LiveGateway) -> None:
    assert httpx.get(f"{gateway.url}/metrics").json()["code"] == "not_found"
    page = httpx.get(f"http://127.0.0.1:{gateway.admin_port}/metrics")
    assert page.status_code == 200
    assert "headway_build_info" in page.text
    assert httpx.get(f"http://127.0.0.1:{gateway.admin_port}/v1/models").json()["code"] == "not_found"


def head(length: int, extra: str = "", kind: str = "image/png") -> bytes:
    return (f"POST {CLASSIFY} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n"
            f"{extra}\r\n").encode()  # fmt: skip


def answer_to(connection: socket.socket, trickle: bytes | None) -> bytes:
    """What comes back while one byte follows the other, or none does."""
    stopping = threading.Event()

    def send() -> None:
        while trickle and not stopping.wait(0.2):
            try:
                connection.sendall(trickle)
            except OSError:
                return

    sender = threading.Thread(target=send)
    sender.start()
    try:
        return response_on(connection)
    finally:
        stopping.set()
        sender.join()


@pytest.mark.parametrize(
    ("opening", "trickle"),
    [
        (head(1000), b"x"),
        (head(1000), None),
        (head(1000) + b"\x89PNG", None),
        (head(1000).replace(b"Content-Length: 1000", b"Transfer-Encoding: chunked"), b"1\r\nx\r\n"),
        (head(1000).replace(b"image/png", b"multipart/form-data; boundary=b"), b"x"),
        (head(1000).replace(b"image/png", b"application/json"), b"x"),
        # A good request before it on the same connection: it is answered before this one comes.
        (head(len(picture(3))) + picture(3) + head(1000), None),
    ],
    ids=["trickle", "stall", "stall in the body", "chunks", "form", "JSON", "second request"],
)
def test_a_body_that_does_not_arrive_gets_408_and_holds_no_thread(
    gateway: LiveGateway, opening: bytes, trickle: bytes | None
) -> None:
    connections = [gateway.connect() for _ in range(2)]  # as many as there are threads
    try:
        for connection in connections:
            good, _, bad = opening.rpartition(b"POST")
            if good:
                connection.sendall(good)
                assert b" 200 " in response_on(connection)
            connection.sendall(b"POST" + bad)
        for connection in connections:
            assert problem_in(answer_to(connection, trickle)) == (408, "request_timeout")
        eventually(lambda: classify(gateway).status_code == 200, "the threads are free again")
    finally:
        for connection in connections:
            connection.close()


def test_a_body_that_does_not_arrive_after_a_pipelined_request_gets_408(gateway: LiveGateway) -> None:
    """Sent without waiting for the answer before it."""
    with gateway.connect() as connection:
        connection.sendall(head(len(picture(3))) + picture(3) + head(1000))
        assert b" 200 " in response_on(connection)
        assert problem_in(response_on(connection)) == (408, "request_timeout")
        assert connection.recv(65536) == b"", "what comes later is no request"


def test_many_slow_bodies_and_quick_pictures_do_not_meet(gateway: LiveGateway) -> None:
    with contextlib.ExitStack() as open_connections:
        for _ in range(50):
            connection = open_connections.enter_context(gateway.connect())
            connection.sendall(head(1000) + b"x")
        answers = [classify(gateway).status_code for _ in range(20)]
    assert answers == [200] * 20


def test_a_connection_on_which_a_request_begins_and_does_not_go_on_is_ended(gateway: LiveGateway) -> None:
    openings = (b"P", b"POST /v1", b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    with contextlib.ExitStack() as open_connections:
        connections = [open_connections.enter_context(gateway.connect()) for _ in openings]
        for connection, opening in zip(connections, openings, strict=True):
            connection.sendall(opening)
        assert [connection.recv(65536) for connection in connections] == [b"", b"", b""]


def test_bodies_together_are_bounded(tmp_path: Path) -> None:
    large = head(100_000) + b"x" * 60_000
    with live_gateway(tmp_path, MAX_HELD_BYTES=100_000) as gateway:
        with gateway.connect() as first:
            first.sendall(large)
            with gateway.connect() as second:
                second.sendall(large)
                answer = response_on(second)
            assert problem_in(answer) == (503, "overloaded")
            assert b"retry-after: 1" in answer.lower()
        eventually(lambda: httpx.post(gateway.url + CLASSIFY, content=b"x" * 90_000, headers=PNG).status_code == 415,
                   "there is room again")  # fmt: skip


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\x00\x01\x02\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nBad Header: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\rb\r\n\r\n", 400),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Much: a\r\n" * 200 + b"\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Much: " + b"a" * 200_000, 431),
        (b"GET /" + b"a" * 200_000, 414),
    ],
    ids=range(11),
)
def test_what_is_no_http_is_refused_by_the_server(gateway: LiveGateway, request_bytes: bytes, status: int) -> None:
    answer = gateway.raw(request_bytes)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer
    codes = {400: "invalid_request", 414: "uri_too_long", 431: "headers_too_large"}
    assert problem_in(answer) == (status, codes[status])
    assert gateway.ready()


def test_a_body_over_the_limit_is_refused_without_being_read(gateway: LiveGateway) -> None:
    with gateway.connect() as connection:
        connection.sendall(head(10**12) + b"x" * 1000)
        answer = response_on(connection)
    assert problem_in(answer) == (413, "payload_too_large")


def test_bodies_that_come_after_their_refusal_are_not_taken_for_requests_under_way(gateway: LiveGateway) -> None:
    large = 250_000
    with contextlib.ExitStack() as open_connections:
        for _ in range(40):
            connection = open_connections.enter_context(gateway.connect())
            connection.sendall(head(large) + b"x" * 1000)
            assert problem_in(response_on(connection)) == (413, "payload_too_large")
            connection.sendall(b"x" * (large - 1000))
        # On one of them, so that all before it was read.
        connection.sendall(head(len(picture(3))) + picture(3))
        assert b" 200 " in response_on(connection)


def test_a_length_of_thousands_of_digits_is_a_number_like_any_other(gateway: LiveGateway) -> None:
    """Python refuses to read one, and no part of the gateway may fall over that."""
    body = picture(3)
    for kind in (b"image/png", b"multipart/form-data; boundary=b", b"application/json"):
        with gateway.connect() as connection:
            digits = b"0" * 5000 + str(len(body)).encode()
            opening = head(7).replace(b"image/png", kind).replace(b"Length: 7", b"Length: " + digits)
            connection.sendall(opening + body)
            answer = response_on(connection)
        assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 400")), answer


def test_nobody_writes_lines_into_the_log(gateway: LiveGateway) -> None:
    forged = "2026-01-01 00:00:00,000 INFO forged"
    escape, separator = "\x1b[2J", "\u2028"
    before = gateway.log.read_text()
    for text in (f"x\n{forged}", f"x\r\n{forged}", f"{escape}{separator}{forged}"):
        quoted = "".join(f"%{byte:02x}" for byte in text.encode())
        for path in (f"/v1/models/{quoted}:classify", f"/v1/models/digits/labels/{quoted}:classify", f"/{quoted}"):
            httpx.post(gateway.url + path, content=picture(3), headers=PNG)
    classify(gateway, **{"X-Request-Id": f"x {forged}", "X-Routing-Key": forged, "traceparent": forged})
    eventually(lambda: gateway.log.read_text().count("headway.access") >= 7, "the log is written")
    written = gateway.log.read_text()[len(before) :]
    assert "forged" not in written
    for line in written.rstrip("\n").split("\n"):
        assert line.isprintable()
    answers = [json.loads(line.partition("headway.access ")[2]) for line in written.split("\n") if "access " in line]
    assert {answer["code"] for answer in answers} <= {"ok", "model_not_found", "label_not_found"}


def test_a_request_id_that_could_forge_a_header_is_replaced(gateway: LiveGateway) -> None:
    for text in ("a b", "a\tb", 'a"b', "ü", "x" * 129, "<script>"):
        answer = gateway.raw(
            b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Request-Id: " + text.encode() + b"\r\nConnection: close\r\n\r\n"
        )
        (header,) = [line for line in answer.split(b"\r\n") if line.lower().startswith(b"x-request-id")]
        assert header.partition(b": ")[2].isalnum()


def refused(folder: Path, **settings: object) -> str:
    environment = environment_of(folder, "127.0.0.1:1", free_port(), **settings)
    run = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 2
    assert "Traceback" not in run.stderr
    return run.stderr


def test_a_port_that_is_taken_is_told_at_the_start(tmp_path: Path, gateway: LiveGateway) -> None:
    taken = gateway.port
    assert f"HEADWAY_ADMIN_PORT={taken}: 127.0.0.1:{taken} cannot be used" in refused(tmp_path, ADMIN_PORT=taken)
    assert f"HEADWAY_PORT={taken}: 127.0.0.1:{taken} cannot be used" in refused(tmp_path, PORT=taken)


def test_a_tokens_file_that_cannot_be_used_is_told_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    assert f"tokens file {path} cannot be read" in refused(tmp_path, TOKENS_FILE=path)
    path.write_text("{}")
    assert f"tokens file {path} is refused" in refused(tmp_path, TOKENS_FILE=path)


def test_a_token_that_is_taken_out_opens_nothing_and_a_stop_is_clean(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    token = {"name": "a", "scopes": ["classify", "admin"]}
    digest = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"  # of: secret
    path.write_text(json.dumps({"schema": 1, "tokens": [{**token, "sha256": digest}]}))
    admin_port = free_port()
    with live_gateway(tmp_path, TOKENS_FILE=path, ADMIN_PORT=admin_port, ROUTES_POLL_SECONDS=0.05) as gateway:
        known = {"Authorization": "Bearer secret"}
        metrics = f"http://127.0.0.1:{admin_port}/metrics"
        assert classify(gateway).status_code == httpx.get(metrics).status_code == 401
        assert classify(gateway, **known).status_code == httpx.get(metrics, headers=known).status_code == 200
        write_atomically(path, b'{"schema": 1, "tokens": []}')
        eventually(lambda: classify(gateway, **known).status_code == 401, "the change is followed")
        assert httpx.get(metrics, headers=known).status_code == 401
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(30) == 0
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", admin_port))
    log = gateway.log.read_text()
    assert "Traceback" not in log
    assert "secret" not in log


def test_more_pictures_than_can_be_answered_are_refused_and_counted(tmp_path: Path) -> None:
    """Forty clients without a pause, one picture of 5 ms at a time, and a queue that may stand for 20 ms at most."""
    slow = {1: scripted_version(fault=Fault.SLOW)}
    with (
        live_gateway(tmp_path, versions=slow, MAX_IN_FLIGHT=1, QUEUE_TARGET_MS=1) as gateway,
        contextlib.ExitStack() as stack,
    ):
        connections = [stack.enter_context(gateway.connect()) for _ in range(40)]
        request = head(len(picture(3)), "X-Request-Id: mine\r\n") + picture(3)
        refused = []
        for connection in connections:
            connection.sendall(request)
        for _ in range(20):
            for connection in connections:
                answer = response_on(connection)
                refused += [answer] if b" 503 " in answer else []
                connection.sendall(request)
        answers = [response_on(connection) for connection in connections]
        refused += [answer for answer in answers if b" 503 " in answer]
        assert 0 < len(refused) < 21 * 40
        for answer in refused:
            assert problem_in(answer) == (503, "overloaded")
            assert b"\r\nretry-after: 1\r\n" in answer.lower()
            assert b"\r\nx-request-id: mine\r\n" in answer.lower()
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["request_id"] == "mine"
        page = httpx.get(f"{gateway.url}/metrics").text
        counted = [
            line for line in page.splitlines() if 'code="overloaded"' in line and "headway_requests_total" in line
        ]
        assert sum(float(line.rpartition(" ")[2]) for line in counted) == len(refused)
        # Each connection goes on, whatever it was told before.
        for connection in connections:
            connection.sendall(request)
            while b" 503 " in response_on(connection):
                connection.sendall(request)


def test_a_thousand_connections_with_a_digit_each_are_all_answered(tmp_path: Path) -> None:
    with live_gateway(tmp_path) as gateway, contextlib.ExitStack() as stack:
        connections = [stack.enter_context(gateway.connect()) for _ in range(1000)]
        request = head(len(picture(3))) + picture(3)
        for connection in connections:
            connection.sendall(request)
        assert all(b" 200 " in response_on(connection) for connection in connections)


def test_health_is_there_while_more_json_waits_than_there_are_threads(tmp_path: Path) -> None:
    body = as_json(*[large_picture()] * 8)
    request = head(len(body), kind="application/json") + body
    with live_gateway(tmp_path, THREADS=2) as gateway, contextlib.ExitStack() as stack:
        connections = [stack.enter_context(gateway.connect()) for _ in range(12)]
        for connection in connections:
            connection.sendall(request)
        assert httpx.get(gateway.url + "/livez", timeout=30).status_code == 200
        waiting = [each for each in connections if not select.select([each], [], [], 0)[0]]
        assert waiting, "more was asked than is answered by now"
        assert all(b" 200 " in response_on(connection) for connection in connections)


def test_a_post_that_waits_for_a_thread_is_answered_when_its_time_is_over(tmp_path: Path) -> None:
    versions = {1: scripted_version(), 2: scripted_version(fault=Fault.HANGS)}
    body = as_json(picture(3))
    hanging = head(len(body), kind="application/json").replace(b"digits:", b"digits/versions/2:") + body
    hurried = head(len(body), "X-Request-Timeout-Ms: 300\r\n", kind="application/json") + body
    with live_gateway(tmp_path, versions=versions, THREADS=1) as gateway, gateway.connect() as first:
        first.sendall(hanging)
        with gateway.connect() as second:
            time.sleep(0.2)
            second.sendall(hurried)
            asked = time.monotonic()
            assert problem_in(response_on(second)) == (503, "overloaded")
            assert time.monotonic() - asked < 5
        assert b" 504 " in response_on(first)


def large_picture() -> bytes:
    return encode_png(np.random.default_rng(0).integers(0, 255, (1000, 1000, 1), np.uint8))


def as_json(*pictures: bytes) -> bytes:
    return json.dumps({"images": [{"b64": base64.b64encode(each).decode()} for each in pictures]}).encode()


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (large_picture(), "image/png", 200),
        (b"x" * 1_000_000, "image/png", 415),
        (as_json(large_picture(), b"x" * 1_000_000), "application/json", 200),
        (as_json(b"x" * 1_000_000), "application/json", 415),
        (as_json(large_picture())[:-1], "application/json", 400),
    ],
    ids=["good", "bad", "one of two", "bad as JSON", "bad JSON"],
)
def test_memory_of_large_pictures_is_given_back_at_once(
    gateway_of_large_bodies: LiveGateway, body: bytes, kind: str, status: int
) -> None:
    """Python would find a cycle that holds one only after thousands of requests."""
    with httpx.Client(timeout=30) as client:

        def send(count: int) -> None:
            for _ in range(count):
                url = gateway_of_large_bodies.url + CLASSIFY
                assert client.post(url, content=body, headers={"Content-Type": kind}).status_code == status

        send(20)
        before = gateway_of_large_bodies.memory()
        send(100)
        assert gateway_of_large_bodies.memory() < before + 50_000_000
