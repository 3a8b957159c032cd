"""What of a request is read, rule by rule; every endpoint asks the same functions."""

import pytest

from headway_serving.core.errors import InvalidRequest
from headway_serving.gateway.requests.errors import UnsupportedMediaType
from headway_serving.gateway.requests.grammar import (
    RequestLimits,
    origin_form,
    refuse_content_encoding,
    timeout_ms,
    version_number,
    whole_number,
)

LIMITS = RequestLimits(max_body_bytes=1000, max_images=3, timeout_ms=500, max_timeout_ms=2000)


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("7", 7), ("007", 7), ("9" * 18, 10**18 - 1), ("0" * 5000 + "12", 12)]
    + [(text, None) for text in ("", "-1", "+1", "1.0", "1_0", " 1", "1e3", "٣", "²", "9" * 19, "9" * 5000)],
    ids=lambda value: str(value)[:20],
)
def test_a_whole_number_is_ascii_digits_of_at_most_eighteen(text: str, number: int | None) -> None:
    assert whole_number(text) == number


@pytest.mark.parametrize(
    ("target", "read"),
    [
        (b"/", b"/"),
        (b"/a?b=c", b"/a?b=c"),
        (b"/a?b=c#d", b"/a?b=c"),
        (b"//double", b"//double"),
        (b"http://host", b"/"),
        (b"http://host:80/a", b"/a"),
        (b"HTTPS://host/a#b", b"/a"),
        (b"http://host?q", b"/?q"),
        (b"*", None),
        (b"host:80", None),
        (b"ftp://host/a", None),
        (b"", None),
    ],
)
def test_a_target_is_a_path_or_an_address_of_http(target: bytes, read: bytes | None) -> None:
    assert origin_form(target) == read


@pytest.mark.parametrize(
    ("text", "milliseconds"), [("1", 1), ("2000", 2000), ("2001", None), ("0", None), ("", None), ("soon", None)]
)
def test_a_time_is_from_one_millisecond_to_the_limit(text: str, milliseconds: int | None) -> None:
    assert timeout_ms(text, LIMITS) == milliseconds


def test_a_version_is_a_number() -> None:
    assert (version_number(None), version_number("12")) == (None, 12)
    for text in ("", "two", "-1", "9" * 30):
        with pytest.raises(InvalidRequest, match="is not a version number; write a number, as in /versions/3"):
            version_number(text)


class Headers:
    """A request view of one header."""

    path, query_string = "/", b""
    args: dict[str, str] = {}  # noqa: RUF012  # never changed

    def __init__(self, encoding: str | None) -> None:
        self._encoding = encoding

    @property
    def headers(self) -> "Headers":
        return self

    def get(self, name: str) -> str | None:
        return self._encoding if name == "Content-Encoding" else None


@pytest.mark.parametrize("encoding", [None, "", "identity", "Identity", " identity "])
def test_a_body_as_it_is_is_read(encoding: str | None) -> None:
    refuse_content_encoding(Headers(encoding))


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "identity, gzip", "x" * 1000])
def test_a_compressed_body_is_refused_with_what_to_do(encoding: str) -> None:
    with pytest.raises(UnsupportedMediaType, match="send the body as it is, without Content-Encoding"):
        refuse_content_encoding(Headers(encoding))
