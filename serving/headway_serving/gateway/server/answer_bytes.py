"""Whole HTTP answers as bytes."""

from email.utils import formatdate
from http import HTTPStatus

from headway_serving.gateway.requests.exchange import Answer

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_STATUS_LINES = {int(status): f"HTTP/1.1 {int(status)} {status.phrase}\r\n" for status in HTTPStatus}
_WITHOUT_BODY = frozenset({204, 304})


class DateLine:
    """The line with the date (RFC 9110, 6.6.1); ``line`` is as old as the last :meth:`refresh`."""

    def __init__(self) -> None:
        self.refresh()

    def refresh(self) -> None:
        """Make it that of now."""
        self.line = f"date: {formatdate(usegmt=True)}\r\n"


def answer_bytes(answer: Answer, date: DateLine, *, closes: bool, to_head: bool) -> bytes:
    """The answer as it is sent. ``closes``: it is the last one.

    ``to_head``: the request was a HEAD, so there is no body, and its length is what the answer's headers say.
    """
    status = answer.status
    lines = "".join([f"{name}: {value}\r\n" for name, value in answer.headers])
    last = "connection: close\r\n" if closes else ""
    length = "" if to_head or status in _WITHOUT_BODY else f"content-length: {len(answer.body)}\r\n"
    line = _STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n"
    head = f"{line}{date.line}{lines}{last}{length}\r\n".encode("latin-1")
    return head if to_head or status in _WITHOUT_BODY else head + answer.body
