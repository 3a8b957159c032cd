"""What clients do through HTTP, on a gateway process: upgrades, half-closes, broken framing, too many connections."""

import base64
import contextlib
import json
import os
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from werkzeug.test import EnvironBuilder

from tests.integration.gateway.gateway_under_test import CLASSIFY, as_parts, picture
from tests.integration.gateway.live_gateway import LiveGateway, live_gateway, problem_in, response_on
from tests.support.waiting import eventually

MIXES = int(os.environ.get("HEADWAY_PIPELINED_MIXES", "200"))
"""How many; the acceptance of a release takes 5000."""

INFER = "/v2/models/digits/infer"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    folder = tmp_path_factory.mktemp("faults")
    with live_gateway(folder, REQUEST_TIMEOUT_MS=20_000, MODEL_SERVER_REST="http://127.0.0.1:1") as running:
        yield running


def form() -> tuple[str, bytes]:
    request = EnvironBuilder(method="POST", **as_parts(picture(3))).get_request()
    return request.content_type or "", request.get_data()


def document(name: str) -> bytes:
    encoded = base64.b64encode(picture(3)).decode()
    if name == "images":
        return json.dumps({"images": [{"b64": encoded}]}).encode()
    return json.dumps({"inputs": [{"name": "images", "datatype": "BYTES", "shape": [1], "data": [encoded]}]}).encode()


def request(
    method: str, path: str, kind: str = "", body: bytes = b"", extra: str = "", *, chunked: bool = False
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x"]
    lines += [f"Content-Type: {kind}"] if kind else []
    if chunked:
        lines.append("Transfer-Encoding: chunked")
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    elif body:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + f"\r\n{extra}\r\n").encode() + body


EVERY_FORM = {
    "a picture": ("POST", CLASSIFY, "image/png", picture(3)),
    "a form": ("POST", CLASSIFY, *form()),
    "JSON": ("POST", CLASSIFY, "application/json", document("images")),
    "several models": ("POST", "/v1/classify?model=digits", "image/png", picture(3)),
    "infer": ("POST", INFER, "application/json", document("inputs")),
    "models": ("GET", "/v1/models", "", b""),
}


def told_once(connection: socket.socket, count: int) -> list[int]:
    """The statuses of so many answers, in their order."""
    statuses = []
    with connection.makefile("rb") as stream:
        for _ in range(count):
            statuses.append(int(stream.readline().split()[1]))
            length = 0
            while line := stream.readline().strip():
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            stream.read(length)
    return statuses


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
@pytest.mark.parametrize("asked", EVERY_FORM.values(), ids=EVERY_FORM)
def test_an_upgrade_changes_nothing(gateway: LiveGateway, asked: tuple[str, str, str, bytes], *, chunked: bool) -> None:
    """As curl --http2 asks for it, and Java's HttpClient by default."""
    upgrade = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
    method, path, kind, body = asked
    sent = request(method, path, kind, body, upgrade, chunked=chunked and bool(body))
    with gateway.connect() as connection:
        connection.sendall(sent + request("GET", "/livez") + sent)
        assert told_once(connection, 3) == [200, 200, 200]


@pytest.mark.parametrize("name", ["Content_Length", "content_type", "Transfer_Encoding", "X_Request_Timeout_Ms"])
@pytest.mark.parametrize("asked", EVERY_FORM.values(), ids=EVERY_FORM)
def test_a_header_with_underscores_is_no_other_header(
    gateway: LiveGateway, asked: tuple[str, str, str, bytes], name: str
) -> None:
    method, path, kind, body = asked
    with gateway.connect() as connection:
        connection.sendall(request(method, path, kind, body, f"{name}: abc\r\n"))
        assert told_once(connection, 1) == [200]


@pytest.mark.parametrize("asked", EVERY_FORM.values(), ids=EVERY_FORM)
def test_a_client_that_ends_its_side_gets_its_answer(gateway: LiveGateway, asked: tuple[str, str, str, bytes]) -> None:
    for _ in range(20):
        with gateway.connect() as connection:
            connection.sendall(request(*asked))
            connection.shutdown(socket.SHUT_WR)
            assert told_once(connection, 1) == [200]
            assert connection.recv(1) == b""


def test_clients_that_leave_early_are_no_errors_of_the_gateway(gateway: LiveGateway) -> None:
    sent = request("POST", CLASSIFY, "image/png", picture(3))
    for length in (3, 60, len(sent) - 3, len(sent)):
        for _ in range(25):
            with gateway.connect() as connection:
                connection.sendall(sent[:length])
    many = request("POST", CLASSIFY, *form())
    for _ in range(25):
        with gateway.connect() as connection:
            connection.sendall(many * 3)
    assert gateway.ready()
    log = gateway.log.read_text()
    assert "ERROR" not in log
    assert "Traceback" not in log


BROKEN = {
    "no chunk": (b"Transfer-Encoding: chunked\r\n\r\nno chunk\r\n", 400),
    "a chunk too long": (b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 400),
    "an unknown coding": (b"Transfer-Encoding: xchunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n", 400),
    "a thousand trailers": (b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X-T: a\r\n" * 1000 + b"\r\n", 400),
    "a large header": (b"X-Much: " + b"a" * 500_000 + b"\r\n\r\n", 431),
    "many headers": (b"X-Much: a\r\n" * 200 + b"\r\n", 431),
}


@pytest.mark.parametrize("path", [CLASSIFY, "/v1/classify?model=digits", INFER, "/v1/models/digits:predict"])
@pytest.mark.parametrize(("rest", "status"), BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_told_at_once(gateway: LiveGateway, path: str, rest: bytes, status: int) -> None:
    began = time.monotonic()
    with gateway.connect() as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n".encode() + rest)
        answer = response_on(connection)
    assert int(answer.split(b" ", 2)[1]) == status
    assert b"connection: close" in answer.lower()
    # Far below the time of the request: nobody has waited for it.
    assert time.monotonic() - began < 15


def test_a_length_that_is_no_number_is_told(gateway: LiveGateway) -> None:
    for path in (CLASSIFY, "/v1/models", "/metrics"):
        answer = gateway.raw(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n".encode())
        assert problem_in(answer) == (400, "invalid_request")


def a_mix(numbers: random.Random, mix: int) -> tuple[bytes, list[tuple[int, str]]]:
    """Requests of every kind, good and bad, chunked or not, and the answers that must come, in their order."""
    kinds = [(*each, 200) for each in EVERY_FORM.values()]
    kinds += [("POST", CLASSIFY, "image/png", b"no picture", 415), ("GET", "/nowhere", "", b"", 404)]
    sent, expected = b"", []
    for number in range(numbers.randint(2, 12)):
        method, path, kind, body, status = numbers.choice(kinds)
        name = f"mix-{mix}-{number}"
        extra = f"X-Request-Id: {name}\r\n" + numbers.choice(["", "", "Connection: Upgrade\r\nUpgrade: h2c\r\n"])
        sent += request(method, path, kind, body, extra, chunked=bool(body) and numbers.random() < 0.3)
        expected.append((status, name))
    return sent, expected


@pytest.mark.timeout(1800)
def test_mixed_requests_without_waiting_are_answered_in_their_order(gateway: LiveGateway) -> None:
    """Pictures, forms and pages: on the loop's thread and in others, in whatever pieces they come."""
    numbers = random.Random(1)
    for mix in range(MIXES):
        sent, expected = a_mix(numbers, mix)
        with gateway.connect() as connection, connection.makefile("rb") as stream:
            cut = numbers.randrange(len(sent))
            connection.sendall(sent[:cut])
            connection.sendall(sent[cut:])
            assert [answer_in(stream) for _ in expected] == expected


def answer_in(stream: BinaryIO) -> tuple[int, str]:
    """Status and request id of the next answer."""
    status, headers = int(stream.readline().split()[1]), {}
    while line := stream.readline().strip():
        key, _, value = line.decode().partition(": ")
        headers[key.lower()] = value
    stream.read(int(headers["content-length"]))
    return status, headers["x-request-id"]


def test_connections_beyond_what_may_be_open_are_told_so_and_pictures_then_answered(tmp_path: Path) -> None:
    """Without a bound, the first picture met a process without file descriptors, which gRPC does not survive."""
    good = request("POST", CLASSIFY, "image/png", picture(3))
    with live_gateway(tmp_path, descriptors=200) as gateway:
        refused = 0
        with contextlib.ExitStack() as connections:
            for _ in range(300):
                connection = connections.enter_context(gateway.connect())
                connection.sendall(request("GET", "/livez"))
                answer = response_on(connection)
                if b" 503 " in answer:
                    refused += 1
                    assert problem_in(answer) == (503, "overloaded")
                    assert b"retry-after: " in answer.lower()
            assert 100 < refused < 300
            # Those that are open go on.
            connections.enter_context(contextlib.closing(gateway.connect()))
        assert gateway.process.poll() is None
        eventually(gateway.ready, "connections are closed")
        with gateway.connect() as connection:
            connection.sendall(good)
            assert told_once(connection, 1) == [200]
