"""What becomes a request and what does not, whatever pieces it comes in."""

import pytest

from headway_serving.core.errors import InvalidRequest, Overloaded
from headway_serving.gateway.requests.errors import PayloadTooLarge, RequestTimeout
from headway_serving.gateway.server.reading import HEAD_SECONDS, MOST_HEAD_BYTES, MOST_HEADERS
from tests.unit.serving.gateway.server.scripted_intake import Client, ScriptedIntake

HEAD = b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nX-Name: Value\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
WHOLE = HEAD + b"Content-Length: 4\r\n\r\nbody"


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.mark.parametrize("sent", [WHOLE, CHUNKED + b"2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n"], ids=["length", "chunks"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 1000])
def test_a_request_is_the_same_in_whatever_pieces_it_comes(client: Client, sent: bytes, size: int) -> None:
    for start in range(0, len(sent), size):
        client.send(sent[start : start + size])
    request = client.answer()
    assert (request.method, request.target, request.read()) == (b"POST", b"/a?b=c", b"body")
    assert request.values[b"x-name"] == b"Value"
    assert client.intake.held == 0


def test_names_with_underscores_are_dropped(client: Client) -> None:
    """WSGI writes - as _: Content_Length would be taken for Content-Length by every application behind it."""
    client.send(WHOLE.replace(b"X-Name", b"Content_Length"))
    request = client.answer()
    assert b"content_length" not in request.values
    assert request.values[b"content-length"] == b"4"
    assert len(request.headers) == 2


BODIES = [b"Content-Length: 4\r\n\r\nbody", b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", b"\r\n"]


@pytest.mark.parametrize("body", BODIES, ids=["length", "chunks", "none"])
@pytest.mark.parametrize("upgrade", [b"h2c", b"websocket", b"TLS/1.0"])
@pytest.mark.parametrize("size", [1, 11, 10_000])
def test_an_upgrade_is_ignored(client: Client, upgrade: bytes, body: bytes, size: int) -> None:
    asks = HEAD + b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAA\r\nUpgrade: " + upgrade + b"\r\n"
    sent, found = asks + body + WHOLE + asks + body, []
    for start in range(0, len(sent), size):
        client.send(sent[start : start + size])
        while client.working:
            found.append(client.answer().read())
    own = b"body" if b"body" in body else b""
    assert found == [own, b"body", own]
    assert client.statuses() == [200] * 3


REFUSED = {
    "no HTTP": (b"\x00\x01\x02\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "an unknown version": (b"GET / HTTP/9.9\r\n\r\n", 400),
    "an authority": (b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "no path": (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a space in a name": (HEAD + b"Bad Header: x\r\n\r\n", 400),
    "two lengths": (HEAD + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\n", 400),
    "no number": (HEAD + b"Content-Length: abc\r\n\r\n", 400),
    "a negative length": (HEAD + b"Content-Length: -1\r\n\r\n", 400),
    "length and chunks": (HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "an unknown coding": (HEAD + b"Transfer-Encoding: xchunked\r\n\r\n", 400),
    "a coding before chunked": (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 400),
    "chunked twice": (HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "too long a line": (b"GET /" + b"a" * 2 * MOST_HEAD_BYTES, 414),
    "too long a line, complete": (b"GET /" + b"a" * 2 * MOST_HEAD_BYTES + b" HTTP/1.1\r\n\r\n", 414),
    "too long a header": (HEAD + b"X-Much: " + b"a" * 500_000, 431),
    "too long a first header": (b"GET / HTTP/1.1\r\nX-Much: " + b"a" * 500_000, 431),
    "too many headers": (HEAD + b"X-Much: a\r\n" * (MOST_HEADERS + 1), 431),
}


@pytest.mark.parametrize(("sent", "status"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("size", [1000, 65_536, 10**7])
def test_what_is_no_request_is_refused_at_once_and_is_the_last(
    client: Client, sent: bytes, status: int, size: int
) -> None:
    for start in range(0, len(sent), size):
        client.send(sent[start : start + size])
    assert client.statuses() == [status]
    assert b"connection: close" in client.sent
    client.send(WHOLE)
    assert not client.working


def test_too_long_a_header_behind_another_request_is_told_as_what_it_is(client: Client) -> None:
    client.send(WHOLE + b"GET / HTTP/1.1\r\nX-Much: ")
    client.answer()
    client.send(b"a" * 500_000)
    assert client.statuses() == [200, 431]


BROKEN = {
    "no size": b"size\r\nbody",
    "no line break": b"4\r\nbodyX",
    "a negative size": b"-4\r\nbody\r\n",
    "an endless size": b"f" * 100,
    "trailers without end": b"0\r\n" + b"X-T: a\r\n" * 1000,
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_body_whose_framing_is_broken_is_told_so_at_once(client: Client, broken: bytes) -> None:
    client.send(CHUNKED + b"2\r\nxx\r\n" + broken)
    with pytest.raises(InvalidRequest, match="framing is broken"):
        client.answer().read()
    assert client.statuses() == [200]
    assert b"connection: close" in client.sent
    assert client.intake.held == 0


def test_trailers_are_read_and_dropped(client: Client) -> None:
    client.send(CHUNKED + b"4\r\nbody\r\n0\r\nX-Name: Other\r\nX-Trailer: a\r\n\r\n" + WHOLE)
    request = client.answer()
    assert (request.read(), request.values[b"x-name"]) == (b"body", b"Value")
    assert b"x-trailer" not in request.values
    assert client.answer().read() == b"body"


@pytest.mark.parametrize("length", [b"1001", b"9" * 18, b"9" * 19])
def test_too_large_a_body_is_refused_before_it_comes_and_dropped_when_it_does(client: Client, length: bytes) -> None:
    client.send(HEAD + b"Content-Length: " + length + b"\r\n\r\n" + b"x" * 500)
    with pytest.raises(PayloadTooLarge, match="more than 1,000 bytes"):
        client.answer().read()
    assert client.intake.held == 0
    if length == b"1001":
        client.send(b"x" * 501 + WHOLE)
        assert client.answer().read() == b"body"


def test_too_large_a_body_in_chunks_is_refused_when_it_is_too_large(client: Client) -> None:
    client.send(CHUNKED + b"400\r\n" + b"x" * 1023)
    with pytest.raises(PayloadTooLarge):
        client.answer().read()
    assert b"connection: close" in client.sent


def test_leading_zeros_do_not_make_a_length_large(client: Client) -> None:
    client.send(HEAD + b"Content-Length: " + b"0" * 5000 + b"4\r\n\r\nbody")
    assert client.answer().read() == b"body"


def test_bodies_that_find_no_room_are_refused() -> None:
    client = Client(ScriptedIntake(max_held=600))
    client.send(HEAD + b"Content-Length: 900\r\n\r\n" + b"x" * 500)
    client.send(b"x" * 400)
    with pytest.raises(Overloaded):
        client.answer().read()
    assert client.intake.held == 0


def test_a_body_that_does_not_come_is_told_so(client: Client) -> None:
    client.send(WHOLE[:-1])
    client.wait(4.9)
    assert not client.working
    client.wait(0.2)
    with pytest.raises(RequestTimeout, match="within the request's 5 s"):
        client.answer().read()
    assert client.intake.held == 0


def test_a_head_that_does_not_come_ends_the_connection(client: Client) -> None:
    client.send(b"POST /a HT")
    client.wait(HEAD_SECONDS - 0.1)
    client.send(b"TP/1.1\r\nX-Slow: ")
    assert not client.is_closed()
    client.wait(0.2)
    assert client.is_closed()


@pytest.mark.parametrize(
    ("target", "read"),
    [(b"/a?b#c", b"/a?b"), (b"http://host:8080/a", b"/a"), (b"HTTP://host", b"/"), (b"https://h?q", b"/?q")],
)
def test_a_target_is_read_in_each_of_its_forms(client: Client, target: bytes, read: bytes) -> None:
    client.send(WHOLE.replace(b"/a?b=c", target))
    assert client.answer().target == read
