"""Turns, pauses and the end of a connection, from bytes in to decisions out."""

import pytest

from headway_serving.gateway.requests.exchange import Answer
from headway_serving.gateway.server.connection import LINGER_SECONDS, Control
from headway_serving.gateway.server.reading import KEEP_ALIVE_SECONDS
from tests.unit.serving.gateway.server.scripted_intake import Client, ScriptedIntake


def post(target: str = "/a", body: bytes = b"body", extra: str = "") -> bytes:
    return f"POST {target} HTTP/1.1\r\nHost: x\r\n{extra}Content-Length: {len(body)}\r\n\r\n".encode() + body


def get(target: str = "/g", extra: str = "") -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: x\r\n{extra}\r\n".encode()


@pytest.fixture
def client() -> Client:
    return Client()


def test_a_request_is_worked_on_and_its_answer_is_sent(client: Client) -> None:
    client.send(post())
    request = client.answer()
    assert (request.method, request.target, request.read()) == (b"POST", b"/a", b"body")
    head, _, body = client.sent.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\ndate: ")
    assert head.endswith(b"X-Answer: yes\r\ncontent-length: 4")
    assert body == b"fine"
    assert not client.is_closed()


def test_requests_sent_without_waiting_are_worked_on_one_after_the_other(client: Client) -> None:
    client.send(post("/1") + get("/2") + post("/3"))
    assert client.controls == [Control.PAUSE], "nothing more is read while requests wait"
    assert [client.answer().target for _ in range(3)] == [b"/1", b"/2", b"/3"]
    assert client.controls == [Control.PAUSE, Control.RESUME]
    assert client.statuses() == [200, 200, 200]


def test_a_refusal_waits_for_the_answers_before_it() -> None:
    client = Client(ScriptedIntake(refuses={b"/full"}))
    client.send(post("/1") + post("/full") + post("/3"))
    assert client.sent == b""
    client.answer(Answer(201, (), b""))
    assert client.statuses() == [201, 503]
    client.answer()
    assert client.statuses() == [201, 503, 200]
    assert not client.is_closed()


def test_the_time_of_what_is_not_read_stands_still(client: Client) -> None:
    """A picture that waits in the socket while the one before it is worked on does not come too late."""
    client.send(post("/1") + post("/2") + post("/3")[:-1])
    client.wait(1000)
    client.answer()
    client.answer()
    client.wait(1)
    client.send(post("/3")[-1:])
    assert client.answer().read() == b"body"
    assert client.statuses() == [200, 200, 200]


def test_a_client_that_asks_for_the_end_gets_it_with_its_answer(client: Client) -> None:
    client.send(post(extra="Connection: close\r\n"))
    client.answer()
    assert client.statuses() == [200]
    assert b"connection: close" in client.sent
    assert client.controls == [Control.CLOSE]


def test_what_a_client_sends_behind_its_last_request_is_dropped(client: Client) -> None:
    client.send(post(extra="Connection: close\r\n") + post("/more"))
    client.answer()
    assert client.statuses() == [200]
    assert client.controls == [Control.END_WRITING]
    assert not client.working


def test_http_1_0_ends_with_its_answer(client: Client) -> None:
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    client.answer()
    assert client.controls == [Control.CLOSE]


@pytest.mark.parametrize("sent", [post(), get(), post() + get()])
def test_a_client_that_ends_its_side_gets_all_its_answers(client: Client, sent: bytes) -> None:
    client.send(sent)
    client.end_input()
    while client.working:
        client.answer()
    assert client.statuses() == [200] * (sent.count(b"HTTP/1.1"))
    assert client.is_closed()


def test_a_client_that_ends_its_side_between_requests_is_let_go(client: Client) -> None:
    client.send(get())
    client.answer()
    client.end_input()
    assert client.controls == [Control.CLOSE]


def test_what_ends_within_a_body_is_answered_and_counted(client: Client) -> None:
    client.send(post()[:-1])
    client.end_input()
    with pytest.raises(Exception, match="ended before the body"):
        client.answer().read()
    assert client.is_closed()


def test_what_ends_within_a_head_is_told_so(client: Client) -> None:
    client.send(b"POST /a HT")
    client.end_input()
    assert client.statuses() == [400]
    assert client.is_closed()


def test_after_a_body_that_failed_the_client_gets_to_read_the_answer(client: Client) -> None:
    """Closed at once, the system would reset the connection, with the answer on its way."""
    client.send(
        post(extra="Transfer-Encoding: chunked\r\n").replace(b"Content-Length: 4\r\n", b"") + b"\r\nno chunk\r\n"
    )
    client.answer()
    assert client.controls == [Control.END_WRITING]
    client.send(b"what still comes is dropped" * 1000)
    assert client.controls == [Control.END_WRITING]
    client.wait(LINGER_SECONDS + 0.1)
    assert client.controls == [Control.END_WRITING, Control.CLOSE]


def test_a_client_that_does_not_read_is_asked_to_wait_and_then_left(client: Client) -> None:
    client.send(post("/1") + post("/2"))
    client.writable(False)
    client.answer()
    assert not client.working, "no further answer for who takes none"
    client.writable(True)
    assert client.answer().target == b"/2"
    client.writable(False)
    client.wait(KEEP_ALIVE_SECONDS + 1)
    assert client.controls[-1] is Control.ABORT


def test_an_idle_connection_is_closed_and_a_busy_one_is_not(client: Client) -> None:
    client.send(post())
    client.wait(10 * KEEP_ALIVE_SECONDS)
    assert not client.is_closed()
    client.answer()
    client.wait(KEEP_ALIVE_SECONDS - 1)
    assert not client.is_closed()
    client.wait(2)
    assert client.controls == [Control.CLOSE]


def test_a_server_that_stops_answers_what_has_begun_and_says_that_it_is_the_last(client: Client) -> None:
    client.send(post("/1")[:-1])
    client.drain()
    client.send(post("/1")[-1:] + post("/2"))
    client.answer()
    client.answer()
    assert client.statuses() == [200, 200]
    assert client.sent.count(b"connection: close") == 1
    assert b"connection: close" in client.sent.rpartition(b"HTTP/1.1 200")[2]
    assert client.is_closed()


def test_a_server_that_stops_lets_idle_connections_go(client: Client) -> None:
    client.drain()
    assert client.controls == [Control.CLOSE]


@pytest.mark.parametrize("when", ["body", "queue", "work"])
def test_a_client_that_is_gone_leaves_nothing_counted(client: Client, when: str) -> None:
    client.send({"body": post()[:-1], "queue": post("/1") + post("/2"), "work": post()}[when])
    assert client.intake.held > 0
    client.connection.lost()
    if client.working:
        client.answer()
    assert client.intake.held == 0
    assert client.sent == b""


def test_the_answer_to_head_has_no_body(client: Client) -> None:
    client.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n" + get())
    client.answer(Answer(200, [("Content-Length", "4")], b""))
    client.answer()
    assert client.sent.count(b"fine") == 1
    assert client.sent.lower().count(b"content-length: 4") == 2


def test_a_body_that_is_asked_for_first_is_asked_for_in_its_turn(client: Client) -> None:
    head, body = post("/2", extra="Expect: 100-continue\r\n").split(b"\r\n\r\n")
    client.send(post("/1") + head + b"\r\n\r\n")
    assert client.sent == b""
    client.answer()
    assert client.sent.endswith(b"HTTP/1.1 100 Continue\r\n\r\n")
    client.send(body)
    assert client.answer().read() == b"body"


def test_a_body_that_is_asked_for_first_is_not_asked_for_if_it_is_refused() -> None:
    client = Client(ScriptedIntake(refuses={b"/full"}))
    client.send(post("/full", extra="Expect: 100-continue\r\n").removesuffix(b"body"))
    assert client.statuses() == [503]
    assert b"connection: close" in client.sent
