"""Base64 as clients write it: plain, wrapped in lines, or as a data URL."""

import base64
import binascii
import re

_DATA_URL = re.compile(rb"data:([^,]{0,200}),", re.IGNORECASE)
_LINE_BREAKS = b" \t\r\n"


def decoded(text: str | bytes) -> bytes:
    """The bytes that base64 stands for; a data URL's (RFC 2397) as well, whatever type it names.

    Raises ValueError, whose text says what is wrong.
    """
    # ValueError of encode(): base64 is ASCII.
    data = (text.encode("ascii") if isinstance(text, str) else text).lstrip(_LINE_BREAKS)
    if data[:5].lower() == b"data:":
        found = _DATA_URL.match(data)
        if found is None or not found[1].lower().replace(b" ", b"").endswith(b";base64"):
            raise ValueError("a data URL of a picture is data:image/png;base64,...")
        data = data[found.end() :]
    try:
        return base64.b64decode(data.translate(None, _LINE_BREAKS), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
