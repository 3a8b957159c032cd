"""Pictures on connections of a gateway process: in one piece, in many, one after the other and all at once."""

import json
import socket
from collections.abc import Iterator

import pytest

from tests.integration.gateway.gateway_under_test import CLASSIFY, picture
from tests.integration.gateway.live_gateway import LiveGateway, live_gateway
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with live_gateway(tmp_path_factory.mktemp("live")) as running:
        yield running


def post(digit: int, name: str, extra: str = "") -> bytes:
    body = picture(digit)
    return (
        f"POST {CLASSIFY} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nX-Request-Id: {name}\r\n{extra}"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def get(path: str, name: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nX-Request-Id: {name}\r\n\r\n".encode()


def answers(connection: socket.socket, count: int) -> list[tuple[int, dict[str, str], bytes]]:
    """So many answers, in their order: status, headers by lower-case name, body."""
    found = []
    with connection.makefile("rb") as stream:
        for _ in range(count):
            status = int(stream.readline().split()[1])
            headers = {}
            while line := stream.readline().strip():
                name, _, value = line.decode().partition(":")
                headers[name.lower()] = value.strip()
            found.append((status, headers, stream.read(int(headers["content-length"]))))
    return found


def label(answer: tuple[int, dict[str, str], bytes]) -> str:
    status, _, body = answer
    assert status == 200, body
    return str(json.loads(body)["results"][0]["predictions"][0]["label"])


def test_requests_sent_without_waiting_are_answered_in_their_order(gateway: LiveGateway) -> None:
    sent = [post(3, "a"), get("/livez", "b"), post(1, "c"), post(2, "d"), get("/nowhere", "e"), post(4, "f")]
    with gateway.connect() as connection:
        connection.sendall(b"".join(sent))
        found = answers(connection, len(sent))
    assert [headers["x-request-id"] for _, headers, _ in found] == list("abcdef")
    assert [status for status, _, _ in found] == [200, 200, 200, 200, 404, 200]
    assert [label(found[place]) for place in (0, 2, 3, 5)] == ["3", "1", "2", "4"]


@pytest.mark.parametrize("cut", [1, 30, -1, "head", "all"])
def test_a_picture_in_pieces_is_the_same_picture(gateway: LiveGateway, cut: int | str) -> None:
    whole = post(3, "whole")
    places = {"head": [whole.index(b"\r\n\r\n") + 4], "all": range(1, len(whole))}.get(str(cut)) or [int(cut)]
    with gateway.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        start = 0
        for place in [*places, len(whole)]:
            connection.sendall(whole[start:place])
            start = place if place >= 0 else len(whole) + place
        connection.sendall(post(2, "next"))
        found = answers(connection, 2)
    assert [label(each) for each in found] == ["3", "2"]


def test_both_ways_say_the_same_headers(gateway: LiveGateway) -> None:
    whole, changing = post(3, "same"), {"date", "server-timing"}
    with gateway.connect() as connection:
        connection.sendall(whole)
        in_one = answers(connection, 1)[0]
        connection.sendall(whole[:-1])
        connection.sendall(whole[-1:])
        in_two = answers(connection, 1)[0]
    assert in_one[1].keys() == in_two[1].keys()
    assert [(name, value) for name, value in sorted(in_one[1].items()) if name not in changing] == [
        (name, value) for name, value in sorted(in_two[1].items()) if name not in changing
    ]


def test_a_connection_ends_after_the_picture_if_the_client_says_so(gateway: LiveGateway) -> None:
    with gateway.connect() as connection:
        connection.sendall(post(3, "last", "Connection: close\r\n"))
        assert label(answers(connection, 1)[0]) == "3"
        assert connection.recv(1) == b""


def test_a_client_that_never_reads_fills_nobodys_memory(gateway: LiveGateway) -> None:
    many = b"".join(post(3, "x" * 100) for _ in range(200))
    before = gateway.memory()
    with gateway.connect() as connection:
        connection.settimeout(2)
        # The gateway stops reading what it cannot answer, and then nothing can be sent any more.
        with pytest.raises(TimeoutError):
            connection.sendall(2000 * many)
        assert gateway.memory() < before + 20_000_000
        with gateway.connect() as another:
            another.sendall(post(2, "other"))
            assert label(answers(another, 1)[0]) == "2"
    eventually(gateway.ready, "the gateway goes on")
