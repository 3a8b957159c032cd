"""Answers as they stand on the wire."""

import pytest

from headway_serving.gateway.requests.exchange import Answer
from headway_serving.gateway.server.answer_bytes import DateLine, answer_bytes


def lines(data: bytes) -> list[bytes]:
    return data.partition(b"\r\n\r\n")[0].split(b"\r\n")


def test_an_answer_has_its_length_a_date_and_its_own_headers() -> None:
    data = answer_bytes(Answer(404, [("X-Name", "Übung")], b"abc"), DateLine(), closes=False, to_head=False)
    status, date, name, length = lines(data)
    assert (status, name, length) == (
        b"HTTP/1.1 404 Not Found",
        "X-Name: Übung".encode("latin-1"),
        b"content-length: 3",
    )
    assert date.startswith(b"date: ")
    assert date.endswith(b" GMT")
    assert data.endswith(b"\r\n\r\nabc")


def test_the_last_answer_says_so() -> None:
    data = answer_bytes(Answer(200, [], b""), DateLine(), closes=True, to_head=False)
    assert b"connection: close" in lines(data)


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_has_no_length(status: int) -> None:
    data = answer_bytes(Answer(status, [], b"ignored"), DateLine(), closes=False, to_head=False)
    assert data.endswith(b"\r\n\r\n")
    assert b"content-length" not in data


def test_a_status_that_nobody_has_named_is_sent_as_it_is() -> None:
    data = answer_bytes(Answer(299, [], b""), DateLine(), closes=False, to_head=False)
    assert lines(data)[0] == b"HTTP/1.1 299 "
