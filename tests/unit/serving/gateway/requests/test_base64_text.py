"""Base64 as clients write it."""

import base64

import pytest

from headway_serving.gateway.requests.base64_text import decoded

DATA = bytes(range(200))
TEXT = base64.b64encode(DATA).decode()


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        base64.encodebytes(DATA).decode(),
        TEXT[:70] + "\r\n" + TEXT[70:] + "\n",
        f"data:image/png;base64,{TEXT}",
        f"data:;base64,{TEXT}",
        f"DATA:image/svg+xml;charset=utf-8;BASE64,{TEXT}",
        f" \n data:image/png; base64,{TEXT}",
        TEXT.encode(),
    ],
    ids=["plain", "lines", "CR LF", "data URL", "without a type", "with parameters", "with spaces", "bytes"],
)
def test_it_is_read_plain_in_lines_and_as_a_data_url(text: str | bytes) -> None:
    assert decoded(text) == DATA


@pytest.mark.parametrize(
    "text", ["no base64!", TEXT + "=", TEXT[:-1] + "é", "data:image/png,%89PNG", "data:image/png;base64", "data:,"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        decoded(text)
