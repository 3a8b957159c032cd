"""JSON documents as responses, written in one way."""

import json
from collections.abc import Mapping
from typing import Any

from flask import Response


def json_response(body: Mapping[str, Any], status: int = 200, mimetype: str = "application/json") -> Response:
    """A document with its keys in the order given and its texts readable, ending in a line break."""
    # Half a surrogate pair, which no UTF-8 has, becomes the escape that JSON has for it.
    return Response(
        json.dumps(body, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n", status, mimetype=mimetype
    )
