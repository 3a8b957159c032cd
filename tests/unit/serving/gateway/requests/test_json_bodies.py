"""JSON is parsed whole or refused, and refused before it is parsed when it has too many parts."""

import pytest

from headway_serving.core.errors import InvalidRequest
from headway_serving.gateway.requests.json_bodies import parse_json


def test_a_document_of_few_values_is_parsed_however_long_its_texts_are() -> None:
    text = "a" * 5_000_000
    assert parse_json(f'{{"images": [{{"b64": "{text}"}}]}}'.encode(), 10) == {"images": [{"b64": text}]}


@pytest.mark.parametrize("body", [b"[0" + b",0" * 10 + b"]", b"[" * 11, b'{"a":' * 11, b"[" + b"[]," * 9])
def test_a_document_of_too_many_values_is_refused(body: bytes) -> None:
    with pytest.raises(
        InvalidRequest, match="the JSON holds more than 10 values; send less at once, and pictures as files"
    ):
        parse_json(body, 10)


@pytest.mark.parametrize("body", [b"", b"x", b"[1,", b"\xff\xfe\xfd", b"[" * 100_000, b"1" * 10_000])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="the body is not JSON"):
        parse_json(body, 1_000_000)
